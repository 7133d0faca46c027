"""The abstract syntax of a `.vit` file: frozen pydantic models with a `kind` and a span.

The parser builds them unchecked (`model_construct`), since the grammar already guarantees their
form; as pydantic models they are also a documented, serialisable format of the language.
"""

from fractions import Fraction
from typing import Literal

from pydantic import BaseModel, ConfigDict

from linvit_dsl.errors import Span


class Syntax(BaseModel):
    """Base of all: what was written, and where."""

    model_config = ConfigDict(frozen=True, arbitrary_types_allowed=True, defer_build=True)

    span: Span


class Identifier(Syntax):
    """A name where it is declared, or used as a key."""

    kind: Literal["identifier"] = "identifier"
    name: str


# Expressions


class Name(Syntax):
    """A name that refers to something."""

    kind: Literal["name"] = "name"
    name: str


class Number(Syntax):
    """`3`, `0.5`, `1e-6`, and quantities: `2.47M`, `6GiB`, `5%`, `20ep` (`unit` holds the suffix).

    `value` is exact and already multiplied by the unit (`5%` is 1/20); `ep`, `it`, `px`
    multiply by 1.
    """

    kind: Literal["number"] = "number"
    value: Fraction
    unit: str = ""


class Text(Syntax):
    """A string in double quotes; `value` has its escapes resolved."""

    kind: Literal["text"] = "text"
    value: str


class Boolean(Syntax):
    """`true` or `false`."""

    kind: Literal["boolean"] = "boolean"
    value: bool


class TupleOf(Syntax):
    """`(a, b)`."""

    kind: Literal["tuple"] = "tuple"
    items: "tuple[Expression, ...]"


class ListOf(Syntax):
    """`[a, b]`."""

    kind: Literal["list"] = "list"
    items: "tuple[Expression, ...]"


class Comprehension(Syntax):
    """`[body for binder in iterable]`; several names take a tuple apart."""

    kind: Literal["comprehension"] = "comprehension"
    body: "Expression"
    binder: tuple[Identifier, ...]
    iterable: "Expression"


class Range(Syntax):
    """`first..last`, both included."""

    kind: Literal["range"] = "range"
    first: "Expression"
    last: "Expression"


class Conditional(Syntax):
    """`if condition then yes else no`."""

    kind: Literal["conditional"] = "conditional"
    condition: "Expression"
    yes: "Expression"
    no: "Expression"


class Unary(Syntax):
    """`-x` or `not x`."""

    kind: Literal["unary"] = "unary"
    operator: Literal["-", "not"]
    operand: "Expression"


class Binary(Syntax):
    """`left operator right`."""

    kind: Literal["binary"] = "binary"
    operator: Literal[
        "+", "-", "*", "/", "//", "%", "^", "==", "!=", "<=", ">=", "<", ">", "in", "and", "or"
    ]
    left: "Expression"
    right: "Expression"


class Pipe(Syntax):
    """`value |> target`."""

    kind: Literal["pipe"] = "pipe"
    value: "Expression"
    target: "Expression"


class NamedArgument(Syntax):
    """`name = value` among arguments."""

    kind: Literal["named"] = "named"
    name: Identifier
    value: "Expression"


class Splat(Syntax):
    """`*list` among arguments."""

    kind: Literal["splat"] = "splat"
    value: "Expression"


class Statics(Syntax):
    """`target[arguments]`: static arguments, or the index of a list."""

    kind: Literal["statics"] = "statics"
    target: "Expression"
    arguments: "tuple[Argument, ...]"


class Apply(Syntax):
    """`target(arguments)`: tensor arguments, or those of a static function such as `ceil`."""

    kind: Literal["apply"] = "apply"
    target: "Expression"
    arguments: "tuple[Argument, ...]"


class Member(Syntax):
    """`target.name`: something of an imported module."""

    kind: Literal["member"] = "member"
    target: "Expression"
    name: Identifier


class Labelled(Syntax):
    """`target@label`: where its weights live in the state dict."""

    kind: Literal["labelled"] = "labelled"
    target: "Expression"
    label: Identifier


Expression = (
    Name
    | Number
    | Text
    | Boolean
    | TupleOf
    | ListOf
    | Comprehension
    | Range
    | Conditional
    | Unary
    | Binary
    | Pipe
    | Statics
    | Apply
    | Member
    | Labelled
)
Argument = Expression | NamedArgument | Splat


# Types


class RestAxes(Syntax):
    """`*b`: any leading axes."""

    kind: Literal["rest"] = "rest"
    name: Identifier


class TensorShape(Syntax):
    """`[B, n, d]`; an axis is an expression, or `*b`."""

    kind: Literal["tensor"] = "tensor"
    axes: "tuple[Expression | RestAxes, ...]"


class ListShape(Syntax):
    """`list[count] of element`."""

    kind: Literal["list_shape"] = "list_shape"
    count: "Expression"
    element: "Shape"


Shape = TensorShape | ListShape


# Statements


class Dim(Syntax):
    """`dim d' = d / 4`, or `dim (h, w) = grid`."""

    kind: Literal["dim"] = "dim"
    names: tuple[Identifier, ...]
    value: "Expression"


class Require(Syntax):
    """`require condition, "message {n}"`; with `prefer` a failure is only a warning."""

    kind: Literal["require"] = "require"
    warning: bool
    condition: "Expression"
    message: Text | None


class Expect(Syntax):
    """`expect params == 2.47M within 2% at [B = 1], "source"`."""

    kind: Literal["expect"] = "expect"
    condition: "Expression"
    tolerance: "Expression | None"
    conditions: tuple[NamedArgument, ...]
    source: Text | None


class Store(Syntax):
    """`param w: [k] ~ zeros` or `buffer omega: [m, e] ~ orthogonal_features`."""

    kind: Literal["store"] = "store"
    trained: bool
    name: Identifier
    shape: TensorShape
    initializer: "Expression | None"


class Layer(Syntax):
    """`layer f = linear[d]`: one set of weights, applied any number of times."""

    kind: Literal["layer"] = "layer"
    name: Identifier
    value: "Expression"


class Default(Syntax):
    """`linear.init = xavier`: an operator, one of its static arguments, and its value."""

    kind: Literal["default"] = "default"
    operator: Identifier
    name: Identifier
    value: "Expression"


class Defaults(Syntax):
    """`defaults { linear.init = xavier; layernorm.eps = 1e-6 }`."""

    kind: Literal["defaults"] = "defaults"
    settings: tuple[Default, ...]


class Assign(Syntax):
    """`x = value`, `z: [B, n', d] = value`, or `(a, b) = value`."""

    kind: Literal["assign"] = "assign"
    names: tuple[Identifier, ...]
    shape: "Shape | None"
    value: "Expression"


class Residual(Syntax):
    """`x += value`."""

    kind: Literal["residual"] = "residual"
    name: Identifier
    value: "Expression"


class Repeat(Syntax):
    """`repeat count as i shared { body }`; `i` counts from 1."""

    kind: Literal["repeat"] = "repeat"
    count: "Expression"
    index: Identifier | None
    shared: bool
    body: "tuple[Statement, ...]"


class For(Syntax):
    """`for binder in iterable { body }`."""

    kind: Literal["for"] = "for"
    binder: tuple[Identifier, ...]
    iterable: "Expression"
    body: "tuple[Statement, ...]"


class If(Syntax):
    """`if condition { yes } else { no }` on static values."""

    kind: Literal["if"] = "if"
    condition: "Expression"
    yes: "tuple[Statement, ...]"
    no: "tuple[Statement, ...]"


class Return(Syntax):
    """`return a, b`."""

    kind: Literal["return"] = "return"
    values: "tuple[Expression, ...]"


Statement = (
    Dim
    | Require
    | Expect
    | Store
    | Layer
    | Defaults
    | Assign
    | Residual
    | Repeat
    | For
    | If
    | Return
)


# Items


class StaticKind(Syntax):
    """`dim`, `int`, `real`, `prob`, `bool`, `text`, `block`, `init`, or `list[element]`."""

    kind: Literal["static_kind"] = "static_kind"
    name: str
    element: "StaticKind | None"


class StaticParameter(Syntax):
    """`heads: dim = 6` between the brackets of a declaration."""

    kind: Literal["static"] = "static"
    name: Identifier
    type: "StaticKind"
    default: "Expression | None"


class TensorParameter(Syntax):
    """`x: [B, n, d]` between the parentheses of a declaration."""

    kind: Literal["parameter"] = "parameter"
    name: Identifier
    shape: "Shape"


class Import(Syntax):
    """`import std.attention as att`, `from std.nn import A, B`, `from "./blocks.vit" import A`.

    Exactly one of `module` and `path` is given; `names` is empty for the first form, whose `alias`
    defaults to the last part of the module.
    """

    kind: Literal["import"] = "import"
    module: tuple[str, ...]
    path: Text | None
    names: tuple[Identifier, ...]
    alias: Identifier | None


class Constant(Syntax):
    """`const base = 64`."""

    kind: Literal["const"] = "const"
    name: Identifier
    value: "Expression"


class Block(Syntax):
    """`block` or `model` with a body. `head` spans from the keyword to the result type.

    `broken` means that a part of it could not be parsed, and has been reported: its body holds the
    statements that could; where its head could not, everything but the name is empty. `lost` are
    the names in what is missing, which may be bound there.
    """

    kind: Literal["block"] = "block"
    keyword: Literal["block", "model"]
    intrinsic: bool
    float32: bool
    name: Identifier
    statics: tuple[StaticParameter, ...]
    parameters: tuple[TensorParameter, ...]
    results: "tuple[Shape, ...]"
    body: "tuple[Statement, ...]"
    head: Span
    doc: str
    broken: bool = False
    lost: frozenset[str] = frozenset()


class Alias(Syntax):
    """`model S[own: dim = 2] = M[d = 192]`: a block value with a name."""

    kind: Literal["alias"] = "alias"
    keyword: Literal["block", "model"]
    name: Identifier
    statics: tuple[StaticParameter, ...]
    value: "Expression"
    doc: str


class Field(Syntax):
    """`lr = 3e-4`, `optimizer.lr = 3e-4` (one name with its points), or `optimizer { ... }`."""

    kind: Literal["field"] = "field"
    name: Identifier
    value: "Expression | Record"


class Record(Syntax):
    """`{ field ... }`."""

    kind: Literal["record"] = "record"
    fields: tuple[Field, ...]


class Recipe(Syntax):
    """`recipe cifar100 = base { ... }`."""

    kind: Literal["recipe"] = "recipe"
    name: Identifier
    base: Identifier | None
    record: "Record"


class Train(Syntax):
    """`train RippleViT with cifar100 { ... }`."""

    kind: Literal["train"] = "train"
    model: Identifier
    recipe: Identifier | None
    record: "Record | None"


class Vary(Syntax):
    """`stages in 1..5` or `(d, heads) in [(192, 3), (384, 6)]` in a sweep.

    A field of a section of the recipe is one name with its points: `optimizer.lr`.
    """

    kind: Literal["vary"] = "vary"
    names: tuple[Identifier, ...]
    values: "Expression"


class Sweep(Syntax):
    """`sweep stages of RippleViT { ... }`."""

    kind: Literal["sweep"] = "sweep"
    name: Identifier
    model: Identifier
    axes: tuple[Vary, ...]
    conditions: "tuple[Expression, ...]"
    fields: tuple[Field, ...]


class Check(Syntax):
    """`check RippleViT: [2, 3, 32, 32] -> [2, 100]`."""

    kind: Literal["check"] = "check"
    model: "Expression"
    takes: "tuple[Shape, ...]"
    gives: "tuple[Shape, ...]"


class Expectation(Syntax):
    """`expect RippleViT: params <= 25M`, or `claim RippleViT: params == 24.1M, "the source"`."""

    kind: Literal["expectation"] = "expectation"
    keyword: Literal["expect", "claim"]
    model: "Expression"
    condition: "Expression"
    tolerance: "Expression | None"
    conditions: tuple[NamedArgument, ...]
    source: Text | None


Item = Import | Constant | Block | Alias | Recipe | Train | Sweep | Check | Expectation


class File(Syntax):
    """A whole `.vit` file."""

    kind: Literal["file"] = "file"
    items: "tuple[Item, ...]"
