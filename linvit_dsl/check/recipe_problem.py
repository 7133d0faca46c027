"""Say what is wrong with a recipe in linvit's words.

pydantic reports a location with frames of its own in it (the tag of a union, the name of a
validator) and a sentence for programmers. Here the location is reduced to a path that exists in
what the user wrote, and the sentence is made from the type of the error.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, Literal, get_args

from pydantic import BaseModel
from pydantic_core import ErrorDetails

Path = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class RecipeProblem:
    """One thing wrong with a recipe.

    Attributes:
        kind: `unknown` (point at the key `loc`), `missing` (point at the section `loc`) or `value`
            (point at the value of `loc`).
        loc: path of the field in the values given: names of sections and fields, places in lists.
        message: the finding, in one sentence without a full stop.
        suggestion: what to do about it; empty when there is nothing better to say.
    """

    kind: Literal["unknown", "missing", "value"]
    loc: Path
    message: str
    suggestion: str = ""


_WANTED = {
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "finite_number": "a finite number",
    "string_type": "text in double quotes",
    "bool_type": "`true` or `false`",
    "tuple_type": "a list",
    "model_type": "a section `{ ... }`",
    "model_attributes_type": "a section `{ ... }`",
    "dict_type": "a section `{ ... }`",
}
_MEANT = {
    **dict.fromkeys(("learning_rate", "base_lr", "rate"), "lr"),
    **dict.fromkeys(("type", "dataset", "optimizer"), "name"),
    **dict.fromkeys(("batch_size", "bs"), "batch"),
    **dict.fromkeys(("wd", "decay"), "weight_decay"),
    **dict.fromkeys(("grad_clip", "max_norm", "clip_grad"), "clip"),
    **dict.fromkeys(("warmup_epochs", "warmup_steps"), "warmup"),
    **dict.fromkeys(("augmentation", "augmentations", "transforms"), "augment"),
}
"""What fields are called elsewhere."""
_BOUNDS = {
    "greater_than": ("gt", "greater than"),
    "greater_than_equal": ("ge", "at least"),
    "less_than": ("lt", "less than"),
    "less_than_equal": ("le", "at most"),
}


def describe(
    error: ErrorDetails, values: Mapping[str, Any], root: type[BaseModel]
) -> RecipeProblem:
    """Turn one of pydantic's errors into a problem of the recipe `values` of schema `root`."""
    kind, context = error["type"], error.get("ctx", {})
    loc = _path_in(values, error["loc"])
    if kind == "extra_forbidden":
        return _unknown(error["loc"], loc, root)
    if kind == "missing":
        return _missing(error["loc"], loc, root)
    if kind == "rule":
        field = context.get("field")
        loc = (*loc, *field.split(".")) if field else loc
        # A custom error's text is ours, written in recipe.py, so it may be shown.
        text = error["msg"]
        text = text if field else f"`{_name(loc)}`: {text}"
        return RecipeProblem("value", loc, text, context.get("help", ""))
    if kind in ("union_tag_invalid", "literal_error"):
        text = str(context.get("expected_tags") or context.get("expected"))
        given = context.get("tag", error["input"])
        return _choice(loc, given, tuple(re.findall(r"'([^']*)'", text)))
    return RecipeProblem("value", loc, _complaint(kind, context, error["input"], loc))


def _complaint(kind: str, context: Mapping[str, Any], given: object, loc: Path) -> str:
    if kind in _BOUNDS:
        key, words = _BOUNDS[kind]
        return f"`{_name(loc)}` must be {words} {context[key]}; it is {_show(given)}"
    if kind in ("too_short", "too_long"):
        words, key = ("at least", "min") if kind == "too_short" else ("at most", "max")
        wanted = _count(context[f"{key}_length"], "value")
        return f"`{_name(loc)}` takes {words} {wanted}; it has {context['actual_length']}"
    if kind == "union_tag_not_found":
        return f"an entry of `{_name(loc)}` is a name like `hflip`; this is {_show(given)}"
    wanted = _WANTED.get(kind)
    if wanted is None:
        return f"`{_name(loc)}` cannot be {_show(given)}"
    return f"`{_name(loc)}` must be {wanted}; it is {_show(given)}"


def _missing(raw: Path, loc: Path, root: type[BaseModel]) -> RecipeProblem:
    *section, name = raw
    if isinstance(name, int):
        return RecipeProblem("value", loc, f"`{_name(loc)}` has only {_count(name, 'value')}")
    purpose = _model_at(tuple(section), root).model_fields[name].description
    # Named by `raw`: an entry of a list goes by its tag there, which `loc` leaves out.
    message = f"{_place(tuple(section))} needs `{name}`"
    return RecipeProblem("missing", loc, message, f"`{name}` is {purpose}")


def _unknown(raw: Path, loc: Path, root: type[BaseModel]) -> RecipeProblem:
    name = str(raw[-1])
    sections = dict(_sections(root))
    here = _model_at(raw[:-1], root)
    near = get_close_matches(name, here.model_fields, 1)
    if (meant := _MEANT.get(name)) in here.model_fields:
        near = [meant]
    homes = [section for section, model in sections.items() if name in model.model_fields]
    if near:
        suggestion = f"did you mean `{near[0]}`?"
    elif homes:
        suggestion = f"`{name}` belongs to {homes[0] or 'the recipe itself'}"
    else:
        suggestion = f"its fields: {', '.join(here.model_fields)}"
    return RecipeProblem("unknown", loc, f"{_place(raw[:-1])} has no field `{name}`", suggestion)


def _choice(loc: Path, given: object, choices: tuple[str, ...]) -> RecipeProblem:
    near = get_close_matches(str(given), choices, 1, cutoff=0.5)
    suggestion = f"did you mean `{near[0]}`?" if near else f"choose from: {', '.join(choices)}"
    return RecipeProblem("value", loc, f"`{_name(loc)}` cannot be {_show(given)}", suggestion)


def _path_in(values: object, raw: Path) -> Path:
    """Keep the components of `raw` that lead somewhere in `values`; the others are pydantic's."""
    path: list[str | int] = []
    for component in raw:
        if isinstance(values, Mapping) and component in values:
            values = values[component]
        elif isinstance(values, list | tuple) and component in range(len(values)):
            values = values[int(component)]
        else:
            continue
        path.append(component)
    return tuple(path)


def _sections(root: type[BaseModel]) -> Iterator[tuple[str, type[BaseModel]]]:
    """The recipe itself under the name "", then its sections in order."""
    yield "", root
    for name, field in root.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield f"`{name}`", field.annotation


def _model_at(raw: Path, root: type[BaseModel]) -> type[BaseModel]:
    """The schema at a location of pydantic's, found by field names and union tags."""
    model = root
    for component in raw:
        if isinstance(component, int):
            continue
        field = model.model_fields.get(component)
        annotation = field.annotation if field else None
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            model = annotation
            continue
        tagged = {
            get_args(member.model_fields["name"].annotation)[0]: member for member in _tagged(root)
        }
        model = tagged.get(component, model)
    return model


def _tagged(root: type[BaseModel]) -> Iterator[type[BaseModel]]:
    """The members of every union in the schema that is told apart by `name`."""
    for _, section in _sections(root):
        for field in section.model_fields.values():
            yield from _members(field.annotation)


def _members(annotation: object) -> Iterator[type[BaseModel]]:
    for part in get_args(annotation):
        if isinstance(part, type) and issubclass(part, BaseModel):
            if "name" in part.model_fields:
                yield part
        else:
            yield from _members(part)


def _place(loc: Path) -> str:
    return f"`{_name(loc)}`" if loc else "the recipe"


def _name(loc: Path) -> str:
    """The last field name on a path: an entry of a list is named after its list."""
    return next((part for part in reversed(loc) if isinstance(part, str)), "recipe")


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _show(value: object) -> str:
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, Mapping):
        return "a section"
    if isinstance(value, list | tuple):
        return "a list"
    text = f'"{value}"' if isinstance(value, str) else str(value)
    return text if len(text) <= 40 else f"{text[:39]}…"
