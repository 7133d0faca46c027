"""Gives static arguments to blocks and operators: by position, by name, as offers, by inference."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING

from linvit_dsl.check.dimensions import as_dimension
from linvit_dsl.check.provenance import named, quote
from linvit_dsl.check.values import (
    BlockValue,
    Initializer,
    ModuleValue,
    Number,
    OperatorValue,
    Result,
    Static,
    Value,
    key_of,
    kind_of,
    show,
    wrong_kind,
)
from linvit_dsl.errors import Fix, Label, Span, SpecError, diagnose
from linvit_dsl.errors.suggest import nearest
from linvit_dsl.graph import limits
from linvit_dsl.graph.size import Poly
from linvit_dsl.ops.initializers import INITIALIZERS, needed
from linvit_dsl.syntax import ast

if TYPE_CHECKING:
    from linvit_dsl.check.expressions import Expressions

Given = tuple[Result, Span]
"""A static argument and where it is written."""


def bind_operator(
    target: OperatorValue, positional: list[Given], named_: dict[str, Given], span: Span
) -> OperatorValue:
    """An operator with more static arguments; unknown names go to its pattern axes if it has any.

    Raises:
        SpecError: E0304 given twice, E0311 too many, E0312 unknown.
    """
    fields = target.op.Attributes.words()
    free = [name for name in fields if name not in target.statics]
    if len(positional) > len(free):
        raise SpecError(
            diagnose("E0311", span, name=target.name, expected=len(fields), given=len(positional))
        )
    _disjoint(target.name, free[: len(positional)], named_)
    statics = dict(target.statics)
    for name, (value, _) in zip(free, positional, strict=False):
        statics[name] = _static(value, span)
    takes_axes = "axes" in target.op.Attributes.model_fields
    for name, (value, place) in named_.items():
        if name not in fields and not takes_axes:
            raise _unknown(target.name, name, fields, place)
        statics[name] = _static(value, place)
    return replace(target, statics=statics)


def bind_initializer(
    target: Initializer, positional: list[Given], named_: dict[str, Given], span: Span
) -> Initializer:
    """An initializer with its numbers.

    Raises:
        SpecError: E0304 given twice, E0311 too many or too few, E0312 unknown, E0336 not a number,
            or one that depends on the batch.
    """
    own = INITIALIZERS[target.name]
    _disjoint(target.name, list(own[: len(positional)]), named_)
    for name, (_, place) in named_.items():
        if name not in own:
            raise _unknown(target.name, name, own, place)
    given_ = [*positional, *(named_[name] for name in own if name in named_)]
    if not needed(target.name) <= len(given_) <= len(own):
        raise SpecError(
            diagnose("E0311", span, name=target.name, expected=len(own), given=len(given_))
        )
    arguments: list[float] = []
    for value, place in given_:
        if not isinstance(value, Number) or isinstance(value.value, Poly):
            told = kind_of(value) if not isinstance(value, Number) else f"{value}, the batch in it"
            problem = f"needs a number, not {told}"
            raise SpecError(diagnose("E0336", place, name=target.name, problem=problem))
        arguments.append(float(value.value))
    return Initializer(target.name, tuple(arguments))


def bind_block(
    target: BlockValue,
    positional: list[Given],
    named_: dict[str, Given],
    expression: ast.Statics,
) -> BlockValue:
    """A block with more static arguments.

    Raises:
        SpecError: E0304 given twice, E0311 too many, E0312 unknown.
    """
    own = [static.name.name for static in target.declaration.statics]
    free = [name for name in own if name not in target.statics]
    if len(positional) > len(free):
        raise SpecError(
            diagnose(
                "E0311", expression.span, name=target.name, expected=len(own), given=len(positional)
            )
        )
    _disjoint(target.name, free[: len(positional)], named_)
    statics, places = dict(target.statics), dict(target.places)
    how = f"from {quote(expression.span.text)}" if positional else ""
    for name, (value, place) in zip(free, positional, strict=False):
        statics[name] = given(_static(value, place), name, how, place)
        places[name] = place
    legal = accepts(target) if named_ else ()
    for name, (value, place) in named_.items():
        if name not in legal:
            raise _unknown(target.name, name, legal, place)
        statics[name] = given(_static(value, place), name, f"from {quote(place.text)}", place)
        places[name] = place
    return replace(target, statics=statics, places=places)


def offer(
    target: BlockValue, positional: list[Given], named_: dict[str, Given], span: Span
) -> BlockValue:
    """Static arguments for a block that came through a parameter.

    It takes those that it declares and has not been given.

    Raises:
        SpecError: E0314, offered by position.
    """
    if positional:
        raise SpecError(diagnose("E0314", span, name=target.parameter))
    legal = accepts(target)
    statics = dict(target.statics)
    for name, (value, place) in named_.items():
        if name in legal and name not in statics:
            statics[name] = given(_static(value, place), name, f"from {quote(place.text)}", place)
    return replace(target, statics=statics, offered=(*target.offered, *named_))


def accepts(block: BlockValue) -> tuple[str, ...]:
    """Names of the static parameters that a block takes; an alias also takes those of its block."""
    names: list[str] = []
    inner: object = block
    # A chain of aliases that is longer, or closed, is refused where it is applied.
    for _ in range(limits.NESTING):
        if not isinstance(inner, BlockValue):
            break
        names += [static.name.name for static in inner.declaration.statics]
        if isinstance(inner.declaration, ast.Block):
            break
        inner = _behind(inner.declaration, inner)
    return tuple(names)


def _behind(alias: ast.Alias, block: BlockValue) -> object:
    """What the value of an alias names, before its static arguments."""
    head: ast.Expression = alias.value
    while isinstance(head, ast.Statics | ast.Labelled):
        head = head.target
    if isinstance(head, ast.Name):
        return block.module.names.get(head.name)
    if isinstance(head, ast.Member) and isinstance(head.target, ast.Name):
        holder = block.module.names.get(head.target.name)
        if isinstance(holder, ModuleValue):
            return holder.module.names.get(head.name.name)
    return None


def given(value: Static, name: str, how: str, place: Span) -> Static:
    """The same value; a number remembers the parameter that it was given to."""
    if isinstance(value, Number):
        sources = (value.origin,) if value.origin.name else value.origin.operands
        return Number(value.value, named(name, value, how, place, *sources), value.division)
    return value


def bind_statics(
    scope: Expressions,
    parameters: Iterable[ast.StaticParameter],
    statics: dict[str, Static],
    block: BlockValue,
    place: Span,
) -> None:
    """Give every static parameter its value in `scope`: given, inferred from a shape, or default.

    Raises:
        SpecError: E0313 none of them, E0303 given and inferred differ, E0310 wrong kind, E0301 and
            E0302 not a size.
    """
    for parameter in parameters:
        name = parameter.name.name
        inferred = scope.names.get(name)
        where = block.places.get(name, place)
        if name in statics:
            value = statics[name]
        elif isinstance(inferred, Number):
            continue
        elif parameter.default is not None:
            value = _default(scope, parameter, block)
        else:
            offers = f"offered here: {', '.join(block.offered)}"
            raise SpecError(
                diagnose(
                    "E0313",
                    block.place or place,
                    secondary=(
                        Label(parameter.span, "declared here"),
                        *((Label(place, "applied here"),) if block.place else ()),
                    ),
                    notes=(offers,) if block.offered else (),
                    helps=(f"give it: `{block.name}[{name} = ...]`",),
                    name=name,
                    block=block.name,
                )
            )
        value = of_kind(parameter, value, where)
        if isinstance(inferred, Number) and key_of(inferred) != key_of(value):
            second = show(value)
            raise SpecError(diagnose("E0303", where, name=name, first=inferred, second=second))
        scope.names[name] = value


def _default(scope: Expressions, parameter: ast.StaticParameter, block: BlockValue) -> Static:
    expression = parameter.default
    if expression is None:
        raise TypeError(parameter)
    value = _static(scope.evaluate(expression), expression.span)
    how = f"default of `{block.name}`"
    return given(value, parameter.name.name, how, parameter.span)


def of_kind(parameter: ast.StaticParameter, value: Static, place: Span) -> Static:
    """The value if it is of the declared kind; a block remembers its parameter.

    Raises:
        SpecError: E0310, or E0301 and E0302 for sizes.
    """
    name, kind = parameter.name.name, parameter.type
    if not _is_kind(kind, value):
        told = show(value) if isinstance(value, bool) else f"{kind_of(value)}, {show(value)}"
        declared = Label(parameter.span, "declared here")
        raise wrong_kind(place, f"`{name}`", _expected(kind), value, declared, told=told)
    if kind.name == "dim" and isinstance(value, Number):
        return as_dimension(value, value.origin.span, name)
    if isinstance(value, BlockValue | OperatorValue):
        return replace(value, parameter=name)
    return value


_EXPECTED = {
    "dim": "a dim (a whole number from 1 on)",
    "int": "an int (a whole number)",
    "real": "a real (a number)",
    "prob": "a prob (a number from 0 to 1)",
    "bool": "a bool (`true` or `false`)",
    "text": 'a text (`"in quotes"`)',
    "block": "a block or an operator",
    "init": "an init (`zeros`, `normal[0.02]`)",
}


def _expected(kind: ast.StaticKind) -> str:
    """A kind of static parameters in words."""
    if kind.name == "list":
        return f"a list, `{' '.join(kind.span.text.split())}`"
    return _EXPECTED[kind.name]


def _is_kind(kind: ast.StaticKind, value: Static | Value) -> bool:
    match kind.name:
        case "dim" | "real":
            return isinstance(value, Number)
        case "int":
            return isinstance(value, Number) and value.whole
        case "prob":
            return (
                isinstance(value, Number)
                and not isinstance(value.value, Poly)
                and 0 <= value.value <= 1
            )
        case "bool":
            return isinstance(value, bool)
        case "text":
            return isinstance(value, str)
        case "block":
            return isinstance(value, BlockValue | OperatorValue)
        case "init":
            return isinstance(value, Initializer)
        case "list":
            element = kind.element
            return isinstance(value, tuple) and (
                element is None or all(_is_kind(element, item) for item in value)
            )
        case _:
            return True  # No such kind, which was reported where it is declared.


def _static(value: Result, place: Span) -> Static:
    if isinstance(value, Value):
        raise wrong_kind(place, quote(place.text), "a static argument", value)
    return value


def twice(owner: str, name: ast.Identifier) -> SpecError:
    """E0304: the same brackets give an argument by its name again."""
    return SpecError(diagnose("E0304", name.span, name=name.name, block=owner))


def _disjoint(owner: str, filled: list[str], named_: dict[str, Given]) -> None:
    """Demand that no argument is given by its position and by its name."""
    for name, (_, place) in named_.items():
        if name in filled:
            raise SpecError(diagnose("E0304", place, name=name, block=owner))


def _unknown(owner: str, name: str, legal: Iterable[str], place: Span) -> SpecError:
    near = nearest(name, legal)
    legal = tuple(legal)
    has = f"it has: {', '.join(legal)}" if legal else "what it takes has no name: leave it out"
    key = Span(place.source, place.start, place.start + len(name))
    return SpecError(
        diagnose(
            "E0312",
            key,
            helps=(f"did you mean `{near}`?" if near else has,),
            fixes=(Fix(key, near, f"replace by `{near}`"),) if near else (),
            block=owner,
            name=name,
        )
    )
