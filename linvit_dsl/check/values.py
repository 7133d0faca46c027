"""What an expression can be during elaboration: a static value, or a tensor (`graph.Value`)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import TYPE_CHECKING

from linvit_dsl.errors import Label, Span, SpecError, diagnose
from linvit_dsl.graph.ir import BlockName, Initializer, Origin, Slot, Value
from linvit_dsl.graph.size import Poly
from linvit_dsl.syntax import ast

if TYPE_CHECKING:
    from linvit_dsl.check.builder import GraphBuilder
    from linvit_dsl.check.program import Module
    from linvit_dsl.ops import Op

Quantity = int | Fraction | float | Poly
"""The number itself: exact wherever the arithmetic is."""


@dataclass(frozen=True, slots=True)
class Division:
    """A `/` of whole numbers that did not come out whole; kept to explain a later error."""

    expression: ast.Binary
    left: Number
    right: Number


@dataclass(frozen=True, slots=True)
class Number:
    """A static number and where it came from.

    `division` is the innermost inexact division in its making, if it is not whole.
    """

    value: Quantity
    origin: Origin
    division: Division | None = None

    @property
    def whole(self) -> bool:
        """Whether it is an integer for every batch."""
        match self.value:
            case int():
                return True
            case Fraction():
                return self.value.denominator == 1
            case float():
                return self.value.is_integer()
            case _:
                return self.value.integral

    def __str__(self) -> str:
        return show_number(self.value)


@dataclass(slots=True)
class SharedLayer:
    """The weights behind a `layer` binding: one slot, taken when it is first applied.

    `weights` is what that first application needed; later ones must need the same.
    """

    name: ast.Identifier
    builder: GraphBuilder
    indexed: bool
    slot: Slot | None = None
    weights: object = None


@dataclass(frozen=True, slots=True)
class BlockValue:
    """A block with some of its static arguments bound.

    `parameter` is the block-typed static parameter through which it came, if any: statics given to
    it there are offers. `place` is where the text names it, `places` where each static is given.
    """

    declaration: ast.Block | ast.Alias
    module: Module
    statics: Mapping[str, Static] = field(default_factory=dict)
    label: ast.Identifier | None = None
    parameter: str = ""
    offered: tuple[str, ...] = ()
    layer: SharedLayer | None = None
    place: Span | None = None
    places: Mapping[str, Span] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """As declared."""
        return self.declaration.name.name

    @property
    def qualified_name(self) -> BlockName:
        """`std.attention.Attention`."""
        return BlockName(f"{self.module.source.module}.{self.name}")


@dataclass(frozen=True, slots=True)
class OperatorValue:
    """A primitive operator with some of its static arguments bound."""

    op: type[Op]
    statics: Mapping[str, Static] = field(default_factory=dict)
    label: ast.Identifier | None = None
    parameter: str = ""
    layer: SharedLayer | None = None

    @property
    def name(self) -> str:
        """The word of the language."""
        return self.op.name


@dataclass(frozen=True, slots=True)
class Function:
    """A static function (`ceil`), or the name of a reduction (`mean`)."""

    name: str


@dataclass(frozen=True, slots=True)
class ModuleValue:
    """What `import std.nn as nn` binds."""

    module: Module


class Unknown:
    """What a failed statement binds its names to; using it is an error already reported."""


UNKNOWN = Unknown()


class Poisoned(Exception):
    """Something that was already reported is used: give up quietly."""


Static = (
    Number
    | bool
    | str
    | tuple["Static | Value", ...]
    | BlockValue
    | OperatorValue
    | Initializer
    | Function
    | ModuleValue
)
Result = Static | Value
Applicable = BlockValue | OperatorValue


def labelled(target: Applicable, label: ast.Identifier) -> Applicable:
    """The same with a label."""
    return replace(target, label=label)


def tensors_in(value: Result) -> tuple[Value, ...]:
    """The tensors of a value, those of lists in lists included, in order."""
    if isinstance(value, Value):
        return (value,)
    if isinstance(value, tuple):
        return tuple(item for part in value for item in tensors_in(part))
    return ()


def show_number(value: Quantity) -> str:
    """As a person writes it: `0.3`, but `1/3`; floats are short."""
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, Fraction) and DECIMAL_PLACES % value.denominator == 0:
        return f"{float(value):.10g}"
    return str(value)


def show(value: Result) -> str:
    """A value inside a message: a list of sizes reads `8 x 8`."""
    match value:
        case bool():
            return "true" if value else "false"
        case str():
            return value
        case Value():
            return str(value.type)
        case tuple():
            if value and all(isinstance(item, Number) for item in value):
                return " x ".join(str(item) for item in value)
            return "[" + ", ".join(show(item) for item in value) + "]"
        case Number():
            return str(value)
        case Initializer():
            arguments = ", ".join(f"{a:g}" for a in value.arguments)
            return f"{value.name}[{arguments}]" if arguments else value.name
        case ModuleValue():
            return value.module.source.module
        case _:
            return value.name


def kind_of(value: Result) -> str:
    """What a value is, with its article, for messages."""
    match value:
        case bool():
            return "a bool"
        case str():
            return "a text"
        case Value():
            return "a tensor"
        case tuple():
            return "a list"
        case Number():
            return "a number"
        case BlockValue():
            return "a block"
        case OperatorValue():
            return "an operator"
        case Initializer():
            return "an initialisation"
        case Function():
            return "a function"
        case ModuleValue():
            return "a module"


def wrong_kind(
    place: Span,
    name: str,
    expected: str,
    value: Result,
    *labels: Label,
    told: str = "",
    helps: tuple[str, ...] = (),
) -> SpecError:
    """E0310: something else is expected than what stands at `place`.

    Args:
        place: Where it stands.
        name: What the message calls it.
        expected: What it must be, with the article.
        value: What it is. Where that comes from elsewhere, the place is shown.
        labels: Where it is said what it must be.
        told: How to call what it is, if not by its kind.
        helps: What to write instead.
    """
    came: Span | None = None
    if isinstance(value, Value):
        came = value.span
    elif isinstance(value, Number):
        came = value.origin.span
    if came is not None and (came.source is not place.source or not _touch(came, place)):
        labels = (*labels, Label(came, f"{kind_of(value)} from here"))
    told = told or kind_of(value)
    return SpecError(
        diagnose(
            "E0310", place, secondary=labels, helps=helps, name=name, kind=expected, value=told
        )
    )


def _touch(one: Span, other: Span) -> bool:
    """Whether one of two places in a text is shown with the other."""
    return one.start < other.end and other.start < one.end


def printable(value: Static | Value) -> object:
    """A static argument as `Graph.statics` records it."""
    match value:
        case Number():
            whole = value.value
            return int(whole) if isinstance(whole, Fraction) and value.whole else whole
        case tuple():
            return tuple(printable(item) for item in value)
        case BlockValue():
            return value.qualified_name
        case OperatorValue() | Function():
            return BlockName(value.name)
        case _:
            return value


def key_of(value: Static | Value) -> object:
    """Hashable; equal exactly if two values specialise a block in the same way."""
    match value:
        case bool():
            return ("bool", value)
        case Number():
            return value.value
        case tuple():
            return tuple(key_of(item) for item in value)
        case BlockValue():
            bound = tuple(sorted((name, key_of(item)) for name, item in value.statics.items()))
            return ("block", id(value.declaration), bound)
        case OperatorValue():
            bound = tuple(sorted((name, key_of(item)) for name, item in value.statics.items()))
            return ("operator", value.op.name, bound)
        case Value():
            return id(value)
        case ModuleValue():
            return id(value.module)
        case _:
            return value


DECIMAL_PLACES = 10**6
"""Fractions with at most six decimals are shown as decimals."""


def literal(value: Quantity, span: Span) -> Number:
    """A number as written in the text."""
    return Number(value, Origin("", show_number(value), "", span))
