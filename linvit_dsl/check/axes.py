"""The axes of a sweep: names, and the values that each takes.

Takes: a `sweep` and its model. Gives: for every line its rows of values, each value with its text.
Errors: E0521, E0524 to E0526, E0540, and those of the expressions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import prod

from linvit_dsl.check.binding import accepts
from linvit_dsl.check.expressions import Expressions
from linvit_dsl.check.provenance import quote
from linvit_dsl.check.recipe import field_names
from linvit_dsl.check.values import BlockValue, Number, Result, Static, Value, key_of, wrong_kind
from linvit_dsl.check.walk import leaves
from linvit_dsl.errors import Fix, Label, Span, SpecError, diagnose
from linvit_dsl.errors.suggest import nearest
from linvit_dsl.graph import limits
from linvit_dsl.syntax import ast


@dataclass(frozen=True, slots=True)
class Cell:
    """One value of an axis.

    Args:
        expression: What the text says, or what would say it.
        text: The same on one line.
        span: Its place in the sweep.
        value: What it is for a static parameter; None where only a recipe knows the word.
        of_recipe: Whether it is for a field of the recipe.
    """

    expression: ast.Expression
    text: str
    span: Span
    value: Static | None
    of_recipe: bool


Point = Mapping[str, Cell]
"""A value for every axis and every fixed field, by name."""


@dataclass(frozen=True, slots=True)
class Axis:
    """One line of a sweep: names that vary together. A `fixed` one has a single row."""

    names: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    fixed: bool = False


def read_axes(scope: Expressions, item: ast.Sweep, model: BlockValue) -> tuple[Axis, ...]:
    """All lines of a sweep that give values.

    Raises:
        SpecError: E0521 an unknown name, E0524 a field of a recipe without one, E0525 too many
            points, E0526 a name that has values already, E0307 rows of another length.
    """
    reader = _Reader(scope, item, model)
    axes = [reader.axis(vary) for vary in item.axes]
    axes += [reader.field(name, value) for name, value in leaves(item.fields)]
    if (points := prod(len(axis.rows) for axis in axes)) > limits.SWEEP_POINTS:
        limit = f"{limits.SWEEP_POINTS:,}"
        raise SpecError(diagnose("E0525", item.name.span, value=f"{points:,}", limit=limit))
    return tuple(axes)


class _Reader:
    """Reads the lines of one sweep."""

    def __init__(self, scope: Expressions, item: ast.Sweep, model: BlockValue) -> None:
        self.scope = scope
        self.item = item
        self.statics = accepts(model)
        self.fields = field_names()
        trained = scope.elaborator.program.items(ast.Train)
        self.is_trained = item.model.name in trained
        self.seen: dict[str, Span] = {}

    def axis(self, vary: ast.Vary) -> Axis:
        """`stages in 1..5`, `(d, heads) in [(192, 3), (384, 6)]`."""
        of_recipe = tuple(self.of_recipe(name) for name in vary.names)
        rows: list[tuple[Cell, ...]] = []
        computed = not isinstance(vary.values, ast.ListOf)
        for item in self.items(vary.values):
            parts = (item,)
            if len(vary.names) > 1:
                is_row = isinstance(item, ast.TupleOf | ast.ListOf)
                parts = item.items if is_row else parts
            if len(parts) != len(vary.names):
                raise SpecError(
                    diagnose("E0307", item.span, names=len(vary.names), values=len(parts))
                )
            cells = zip(parts, of_recipe, strict=True)
            rows.append(tuple(self.cell(part, other, computed) for part, other in cells))
        _demand_different(vary, rows)
        return Axis(tuple(name.name for name in vary.names), tuple(rows))

    def field(self, name: ast.Identifier, value: ast.Expression) -> Axis:
        """`depth = 6`: the same at every point."""
        return Axis((name.name,), ((self.cell(value, self.of_recipe(name), False),),), fixed=True)

    def items(self, values: ast.Expression) -> tuple[ast.Expression, ...]:
        """The expressions in a list; what another expression computes, as literals."""
        if isinstance(values, ast.ListOf):
            return values.items
        return tuple(_literal(value, values) for value in self.scope.items(values))

    def cell(self, expression: ast.Expression, of_recipe: bool, computed: bool) -> Cell:
        """One value. A word of a recipe (`cosine`) means nothing outside of it."""
        value: Result | None = None
        if not of_recipe or isinstance(expression, ast.Number | ast.Text | ast.Boolean):
            value = self.scope.evaluate(expression)
        if isinstance(value, Value):
            raise _not_static(expression, value)
        text = _written(expression) if computed else _line(expression)
        return Cell(expression, text, expression.span, value, of_recipe)

    def of_recipe(self, name: ast.Identifier) -> bool:
        """Whether a name is a field of the recipe; else it is a static parameter.

        Raises:
            SpecError: E0521 neither, E0524 nothing trains the model, E0526 it has values already.
        """
        first = self.seen.setdefault(name.name, name.span)
        if first != name.span:
            label = Label(first, "first given values here")
            what = f"axis `{name.name}`"
            raise SpecError(diagnose("E0526", name.span, secondary=(label,), what=what))
        if name.name in self.statics:
            return False
        if name.name not in self.fields:
            raise self.unknown(name)
        if not self.is_trained:
            model = self.item.model.name
            helps = (f"add `train {model} with a_recipe`",)
            raise SpecError(diagnose("E0524", name.span, helps=helps, name=name.name, model=model))
        return True

    def unknown(self, name: ast.Identifier) -> SpecError:
        """E0521."""
        inside = [field for field in self.fields if field.rpartition(".")[2] == name.name]
        near = inside[0] if inside else nearest(name.name, (*self.statics, *self.fields))
        has = f"its static parameters: {', '.join(self.statics) or 'none'}"
        helps = (f"did you mean `{near}`?" if near else has,)
        model = self.item.model.name
        # Where several sections have such a field, any of them is a guess.
        fixes: tuple[Fix, ...] = ()
        if near and len(inside) < 2:
            fixes = (Fix(name.span, near, f"replace by `{near}`"),)
        return SpecError(
            diagnose("E0521", name.span, helps=helps, fixes=fixes, name=name.name, model=model)
        )


def _demand_different(vary: ast.Vary, rows: Sequence[tuple[Cell, ...]]) -> None:
    """Demand that no two values of an axis are equal.

    Raises:
        SpecError: E0540.
    """
    seen: dict[object, tuple[Cell, ...]] = {}
    for row in rows:
        first = seen.setdefault(tuple(map(_key, row)), row)
        if first is row:
            continue
        place, other = (cells[0].span.to(cells[-1].span) for cells in (row, first))
        label = () if place == other else (Label(other, "the same before"),)
        axis, value = (", ".join(texts) for texts in (_names(vary), [c.text for c in row]))
        if len(row) > 1:
            axis, value = f"({axis})", f"({value})"
        raise SpecError(diagnose("E0540", place, secondary=label, axis=axis, value=value))


def _names(vary: ast.Vary) -> list[str]:
    return [name.name for name in vary.names]


def _key(cell: Cell) -> object:
    """Equal for equal values: `5` are `5ep`, but not `5it`."""
    steps = isinstance(cell.expression, ast.Number) and cell.expression.unit == "it"
    return (key_of(cell.value), steps) if cell.value is not None else cell.text


def _literal(value: Result, values: ast.Expression) -> ast.Expression:
    """A value that an expression computed, as if it were written in its place.

    Raises:
        SpecError: E0310, it has no literal.
    """
    span = values.span
    match value:
        case bool():
            return ast.Boolean.model_construct(value=value, span=span)
        case str():
            return ast.Text.model_construct(value=value, span=span)
        case tuple():
            items = tuple(_literal(item, values) for item in value)
            return ast.ListOf.model_construct(items=items, span=span)
        case Number() if isinstance(value.value, int | Fraction):
            return ast.Number.model_construct(value=Fraction(value.value), unit="", span=span)
        case _:
            raise _not_static(values, value)


def _not_static(expression: ast.Expression, value: Result) -> SpecError:
    expected = "a list of values, each written in it"
    return wrong_kind(expression.span, quote(expression.span.text), expected, value)


def _line(expression: ast.Expression) -> str:
    return " ".join(expression.span.text.split())


def _written(expression: ast.Expression) -> str:
    """What the text would say instead of a computed literal."""
    match expression:
        case ast.Text():
            escaped = expression.value.replace("\\", "\\\\").replace('"', '\\"')
            return f'"{escaped}"'
        case ast.Boolean():
            return "true" if expression.value else "false"
        case ast.ListOf():
            return "[" + ", ".join(map(_written, expression.items)) + "]"
        case ast.Number():
            return str(expression.value)
        case _:
            raise TypeError(expression)
