"""Fill the tables of the documentation that follow from the code.

A table stands between `<!-- table: NAME -->` and `<!-- end -->` in a page of this folder. Run this
file when `tests/test_docs.py` says that a table is out of date.
"""

from __future__ import annotations

import io
import json
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from linvit_dsl import load
from linvit_dsl.check.functions import FUNCTIONS, REDUCTIONS
from linvit_dsl.check.recipe import AdamW, Data, HorizontalFlip, RandomCrop, Recipe, Schedule
from linvit_dsl.cli import main as main_of_linvit
from linvit_dsl.graph import limits
from linvit_dsl.graph.ir import Initializer, TensorType
from linvit_dsl.ops import ALL_OPS, Op
from linvit_dsl.ops.arithmetic import Arithmetic
from linvit_dsl.ops.initializers import INITIALIZERS

HERE = Path(__file__).resolve().parent
PAGES = ("language.md", "training.md", "reference.md", "architectures.md")

SIGNS = {
    name: f"a {sign} b" for name, sign in zip(("add", "sub", "mul", "div"), "+-*/", strict=True)
}
SIGNS |= {"neg": "-a", "pow": "a ^ exponent"}
"""Operators that are written as signs."""

KINDS = {
    "Dimension": "dim",
    "Odd": "odd dim",
    "Count": "whole ≥ 0",
    "Axis": "axis",
    "Index": "whole",
    "Sizes": "list[dim]",
    "Parts": "list of whole ≥ 0",
    "Real": "real",
    "Positive": "real > 0",
    "Probability": "0 ≤ real < 1",
    "Pair": "dim or (dim, dim)",
    "CountPair": "whole ≥ 0, or two",
    "Flag": "bool",
    "Pattern": "pattern",
    "Init": "init",
}
"""The annotation of an operator's static argument -> its kind, in words."""

SECTIONS: dict[str, type[BaseModel]] = {"data": Data, "optimizer": AdamW, "schedule": Schedule}
"""Fields of a recipe that are records of fields."""

FUNCTION_MEANINGS = {
    "ceil": ("x", "the next whole number, upwards"),
    "floor": ("x", "the next whole number, downwards"),
    "sqrt": ("x", "the exact root; E0305 if `x` is no square"),
    "log": ("x", "the natural logarithm; E0375 unless `x` is above 0"),
    "min": ("x, ...", "the smallest"),
    "max": ("x, ...", "the largest"),
    "len": ("list", "how many items"),
    "reverse": ("list", "the items, last first"),
    "zip": ("list, ...", "tuples of items at one place; the lists are equally long"),
    "enumerate": ("list", "pairs (place from 0, item)"),
}

INITIALIZER_MEANINGS = {
    "zeros": ("", "0; the default of `param` and `buffer`"),
    "constant": ("[value]", "`value`"),
    "normal": ("[std]", "N(0, std²)"),
    "trunc_normal": ("[std]", "N(0, std²) cut off at ±2, not at 2 std; `linear` takes std 0.02"),
    "xavier": ("", "uniform within √(6 / (fan_in + fan_out))"),
    "dirac": ("", "the identity: a convolution that copies its channels, an identity matrix"),
    "segment_means": (
        "",
        "each row averages its segment of the inputs; segments as equal as can be",
    ),
    "orthogonal_features": (
        "[redraw]",
        "Gaussian vectors, orthogonal within blocks; a `buffer` is drawn anew every `redraw` steps",
    ),
}

LIMIT_WORDS = {
    "FILE_BYTES": "bytes of a file",
    "TOTAL_BYTES": "bytes of a file and all that it imports",
    "FILES": "imported files",
    "IMPORT_DEPTH": "length of a chain of imports",
    "NESTING": "brackets open at one place",
    "EXPRESSION_DEPTH": "depth of an expression",
    "IDENTIFIER": "characters of a name",
    "INTEGER_DIGITS": "digits of a number in front of its point",
    "FRACTION_DIGITS": "digits behind it",
    "EXPONENT": "an exponent, up or down",
    "REPEAT": "iterations of one loop",
    "STEPS": "statements executed and items of lists made, in all models of a file together",
    "SWEEP_POINTS": "points of one sweep, before `where` drops some",
    "NODES": "operators of a model, loops unrolled",
    "DIMENSION": "size of one axis",
    "ELEMENTS": "elements of one tensor, without the batch",
    "PARAMETERS": "trained numbers of a model",
    "ERRORS": "findings reported for one file",
}


TOKENS = {65: (32, 4), 197: (224, 16), 1025: (128, 4)}
"""Patches and a class token -> the image and patch, in pixels, that make as many."""

MIXERS = {
    "softmax attention": "baseline:BaselineViT",
    "linear attention, split-relu features": "linear:LinearViT",
    "linear attention, relu features": "feature_maps:ReluViT",
    "ripple, 3 stages": "ripplevit:RippleViT",
    "ripple, 3 stages, all queries": "ripplevit:RippleViTFullQuery",
    "hydra, 4 branches": "hydravit:HydraViT",
    "Linformer, k = 64": "linformer:LinformerViT",
    "Performer, 64 features": "performer:PerformerViT",
    "Nystromformer, 32 landmarks": "nystromformer:NystromformerViT",
    "hybrid, windows of 4": "hybrid:HybridViT",
    "agent, 49 agents": "agent:AgentViT",
    "focused, with convolution": "flatten:FlattenViT",
    "Hydra by cosines": "hydra_cos:HydraCosineViT",
    "softmax, 1 head of keys": "grouped_query:GroupedQueryViT",
    "linear, 1 head of keys": "grouped_query:GroupedQueryLinearViT",
    "linear, rotary": "rope:RopeLinearViT",
}
"""Token mixers of the skeleton `std.vit`, all 384 channels wide."""
LAYERS = 12  # of each of them, all alike


def operators() -> Iterator[str]:
    """One row per operator: how it is written, what it does, and an example's shapes."""
    yield from _head("operator", "result", "example")
    for op in ALL_OPS:
        meaning = (op.__doc__ or "").splitlines()[0]
        # A class without words of its own on its static arguments inherits those of its base.
        own = vars(op.Attributes).get("__doc__") if op.Attributes.model_fields else None
        about = " ".join((own or "").split()) if not issubclass(op, Arithmetic) else ""
        yield _row(_code(_written(op)), f"{_escaped(meaning)} {about}".strip(), _example(op))


def functions() -> Iterator[str]:
    """One row per function of static expressions."""
    yield from _head("function", "result")
    for name in FUNCTIONS:
        arguments, meaning = FUNCTION_MEANINGS[name]
        yield _row(_code(f"{name}({arguments})"), meaning)


def initializers() -> Iterator[str]:
    """One row per initialiser."""
    yield from _head("initialiser", "weights start as")
    for name in INITIALIZERS:
        arguments, meaning = INITIALIZER_MEANINGS[name]
        yield _row(_code(f"{name}{arguments}"), meaning)


def limits_() -> Iterator[str]:
    """One row per limit."""
    yield from _head("at most", "of")
    for name, words in LIMIT_WORDS.items():
        yield _row(f"{getattr(limits, name):,}", words)


def recipe() -> Iterator[str]:
    """One row per field of a recipe, with what it may be."""
    yield from _head("field", "value", "default", "meaning")
    yield from _fields(Recipe, "")


def augmentations() -> Iterator[str]:
    """One row per static argument of an augmentation."""
    yield from _head("augmentation", "argument", "default", "meaning")
    for section in (RandomCrop, HorizontalFlip):
        (name,) = get_args(section.model_fields["name"].annotation)
        meaning = (section.__doc__ or "").splitlines()[0]
        for field, info in section.model_fields.items():
            if field != "name":
                words = f"{meaning} `{field}`: {info.description}."
                value = f"`{field}`, {_value(section, field, info)}"
                yield _row(_code(str(name)), value, _default(info), words)


def models() -> Iterator[str]:
    """One row per model of the shipped specs, by `linvit list`."""
    yield from _head("model", "input", "parameters", "MACs", "kept, bytes", "what it is")
    for row in _listed():
        name = f"[`{row['spec']}:{row['model']}`](../specs/{row['spec']}.vit)"
        costs = (f"{row[cost]:,}" for cost in ("params", "macs", "activation_bytes"))
        yield _row(name, "×".join(map(str, row["input"])), *costs, _escaped(row["doc"]))


def mixers() -> Iterator[str]:
    """One row per token mixer: multiply-adds and bytes of a layer at several numbers of tokens."""
    titles = (f"{what}, {n}" for what in ("MACs", "kept") for n in TOKENS)
    yield from _head("mixer", *titles)
    for words, model in MIXERS.items():
        costs = [_mixer_cost(model, *sizes) for sizes in TOKENS.values()]
        macs = (f"{macs / 1e6:.2f} M" for macs, _ in costs)
        kept = (f"{kept / 1e6:.2f} MB" for _, kept in costs)
        yield _row(words, *macs, *kept)


def _listed() -> list[dict[str, Any]]:
    """What `linvit list --format json` prints."""
    printed = io.StringIO()
    with redirect_stdout(printed):
        assert main_of_linvit(["list", "--format", "json"]) == 0
    return json.loads(printed.getvalue())


def _mixer_cost(model: str, image: int, patch: int) -> tuple[float, float]:
    """Multiply-adds of the mixer of one layer for one image, and the bytes it keeps."""
    spec, _, name = model.partition(":")
    cost = getattr(load(spec), name).cost(image=image, patch=patch)
    rows = [row for row in cost.walk() if re.fullmatch(r"layers\.[\d-]+\.attn", row.path)]
    kept = sum(row.activation_bytes for row in rows)
    return sum(row.macs for row in rows) / LAYERS, kept / LAYERS


TABLES: dict[str, Callable[[], Iterable[str]]] = {
    "operators": operators,
    "functions": functions,
    "initialisers": initializers,
    "limits": limits_,
    "recipe": recipe,
    "augmentations": augmentations,
    "models": models,
    "mixers": mixers,
}


def filled(page: str) -> str:
    """The page with all of its tables as they are now.

    Raises:
        KeyError: It has a table of an unknown name.
    """

    def table(found: re.Match[str]) -> str:
        return f"{found[1]}\n" + "\n".join(TABLES[found[2]]()) + "\n<!-- end -->"

    return re.sub(r"(<!-- table: (\w+) -->)\n.*?<!-- end -->", table, page, flags=re.DOTALL)


def _written(op: type[Op]) -> str:
    if op.name in SIGNS:
        return SIGNS[op.name]
    statics = ", ".join(_static(op, name) for name in op.Attributes.words())
    if "axes" in op.Attributes.model_fields:
        statics += ", axis = size, ..."
    tensors = {None: "a, ...", 0: "", 1: "x", 2: "a, b", 3: "q, k, v"}[op.arity]
    tensors += "".join(f", {name} = m" for name in op.keywords)
    return f"{op.name}[{statics}]({tensors})" if statics else f"{op.name}({tensors})"


def _static(op: type[Op], name: str) -> str:
    info = op.Attributes.model_fields[name]
    kind = _kind(op.Attributes, name, info)
    return f"{name}: {kind}" if info.is_required() else f"{name}: {kind} = {_literal(info.default)}"


def _kind(model: type[BaseModel], name: str, info: FieldInfo) -> str:
    written = next(
        str(base.__annotations__[name])
        for base in model.__mro__
        if name in getattr(base, "__annotations__", {})
    )
    if written.startswith("Literal"):
        return " or ".join(_literal(value) for value in get_args(info.annotation))
    return KINDS[written.removesuffix(" | None")]


def _example(op: type[Op]) -> str:
    example = next(iter(op.examples()))
    arguments = tuple(TensorType.of(*shape) for shape in example.shapes)
    results = op.types(example.attributes, arguments)
    taken, given = (", ".join(map(str, types)) for types in (arguments, results))
    word = SIGNS.get(op.name) or op.name + _given(op.Attributes, example.attributes)
    return f"{_code(word)}: {_code(f'{taken} -> {given}'.strip())}"


def _given(model: type[BaseModel], attributes: BaseModel) -> str:
    """The static arguments of an example, as one would write them."""
    given: list[str] = []
    for name, info in model.model_fields.items():
        value = getattr(attributes, name)
        if name == "axes":
            given += [f"{axis} = {size}" for axis, size in value]
        elif info.is_required():
            given.append(_literal(value))
        elif value != info.default:
            given.append(f"{name} = {_literal(value)}")
    return f"[{', '.join(given)}]" if given else ""


def _literal(value: object) -> str:
    match value:
        case None:
            return "none"
        case bool():
            return str(value).lower()
        case str():
            return value if value in REDUCTIONS else f'"{value}"'
        case (int() as rows, int() as columns) if rows == columns:
            return str(rows)
        case tuple():
            return f"[{', '.join(map(_literal, value))}]"
        case Initializer():
            arguments = ", ".join(f"{argument:g}" for argument in value.arguments)
            return f"{value.name}[{arguments}]" if arguments else value.name
        case _:
            return f"{value:g}" if isinstance(value, float) else str(value)


def _fields(section: type[BaseModel], prefix: str) -> Iterator[str]:
    for name, info in section.model_fields.items():
        if (inner := SECTIONS.get(prefix + name)) is not None:
            yield from _fields(inner, f"{prefix}{name}.")
            continue
        words = info.description or ""
        yield _row(_code(prefix + name), _value(section, name, info), _default(info), words)


def _value(section: type[BaseModel], name: str, info: FieldInfo) -> str:
    """What a field may be: its kind, then its bounds."""
    written = str(section.__annotations__[name])
    if written.startswith("Literal"):
        return ", ".join(f'`"{value}"`' for value in get_args(info.annotation))
    kinds = {
        "int": "whole number",
        "float": "number",
        "int | None": "whole number",
        "float | None": "number",
        "EpochCount": "epochs: `200ep` or `200`",
        "Period": "`10ep` or `500it`, above 0",
        "Duration": "`10ep` or `500it`",
        "tuple[Augmentation, ...]": "list of augmentations",
    }
    kind = kinds.get(written, "two numbers, 0 to below 1" if written.startswith("tuple") else "")
    signs = {"gt": ">", "ge": "≥", "lt": "<", "le": "≤"}
    bounds = [
        f"{sign} {_bound(value)}"
        for constraint in info.metadata
        for key, sign in signs.items()
        if (value := getattr(constraint, key, None)) is not None
    ]
    return ", ".join([kind, *bounds]) if written != "EpochCount" else kind


def _bound(value: float) -> str:
    if isinstance(value, int) and value >= 2**16:
        power = value.bit_length() - 1
        return f"2^{power}" if value == 2**power else f"{value:,}"
    return f"{value:g}"


def _default(info: FieldInfo) -> str:
    if info.is_required():
        return "required"
    value: object = info.default
    if value in (None, ()):
        return "none"
    return _code(str(value) if isinstance(value, BaseModel) else _literal(value))


def _escaped(text: str) -> str:
    """Text whose asterisks mean no emphasis."""
    return text.replace("*", "\\*")


def _code(text: str) -> str:
    return f"`{text}`" if text else ""


def _head(*titles: str) -> Iterator[str]:
    yield _row(*titles)
    yield _row(*("---" for _ in titles))


def _row(*cells: str) -> str:
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


def main() -> None:
    """Write the pages anew where a table changed."""
    for name in PAGES:
        path = HERE / name
        path.write_text(filled(path.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
