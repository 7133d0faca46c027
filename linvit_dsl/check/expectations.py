"""What a file says about costs: `expect`, which must hold, and `claim`, which is only compared.

Takes: the condition (`params <= 6M within 2%`), the names it may use, and the finished graph.
Gives: an `Expectation` with both numbers, and a diagnostic for an `expect` that does not hold.
Non-goals: costs that need a run (time, accuracy).
Errors: E0501 to E0505.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING

from linvit_dsl.check.parameters import count_macs, count_parameters
from linvit_dsl.check.provenance import chain
from linvit_dsl.check.values import Poisoned, Quantity, literal, show_number
from linvit_dsl.check.walk import references
from linvit_dsl.check.words import QUANTITIES
from linvit_dsl.errors import Diagnostic, Fix, Span, SpecError, diagnose
from linvit_dsl.graph.ir import Graph
from linvit_dsl.graph.size import Poly
from linvit_dsl.syntax import ast

if TYPE_CHECKING:
    from linvit_dsl.check.expressions import Expressions
    from linvit_dsl.graph.cost import Cost, CostNode

RELATIONS = ("==", "<=", ">=", "<", ">")
PARTS = 3
"""Blocks that the error about a cost names."""
_LARGE = 1000
"""Whoever allows such a number to differ by less than 1 means a share of it."""
_MOSTLY = Fraction(2, 3)
"""A part with more than this share of a cost says little: the parts in it are named instead."""


@dataclass(frozen=True, slots=True)
class Expectation:
    """A statement of a file about the cost of a model or block, and what is true.

    Args:
        binding: Whether it must hold (`expect`); a `claim` need not.
        model: As the text names it: `RippleViT`, `ViT[d = 192]`, or the block it stands in.
        quantity: What is compared: `params`, `flops / 2`.
        relation: One of `RELATIONS`.
        claimed: The number of the text.
        actual: That of the model, exact.
        tolerance: How far they may differ, in the unit of the quantity.
        batch: Images at once; parameters do not depend on it.
        source: Who says so; empty if the text does not tell.
        span: The place in the text.
    """

    binding: bool
    model: str
    quantity: str
    relation: str
    claimed: int | float
    actual: int | float
    tolerance: int | float
    batch: int
    source: str
    span: Span

    @property
    def difference(self) -> int | float:
        """`actual - claimed`."""
        return self.actual - self.claimed

    @property
    def relative(self) -> float | None:
        """The difference as a share of what is claimed; None if that is 0."""
        return self.difference / self.claimed if self.claimed else None

    @property
    def holds(self) -> bool:
        """Whether it is true, within the tolerance."""
        match self.relation:
            case "==":
                return abs(self.difference) <= self.tolerance
            case "<=":
                return self.difference <= self.tolerance
            case ">=":
                return self.difference >= -self.tolerance
            case "<":
                return self.difference < self.tolerance
            case _:
                return self.difference > -self.tolerance


class Costs:
    """The costs of graphs, each worked out once, and the whole tree only where it is asked for."""

    def __init__(self) -> None:
        self._trees: dict[tuple[int, int], tuple[Graph, Cost]] = {}

    def tree(self, graph: Graph, batch: int) -> Cost:
        """All costs of a graph, part by part."""
        from linvit_dsl.graph.cost import cost

        key = id(graph), batch
        if key not in self._trees:
            # Held together with its graph, so that no other one gets the same id.
            self._trees[key] = graph, cost(graph, batch)
        return self._trees[key][1]

    def total(self, graph: Graph, batch: int, quantity: str) -> int:
        """One of `QUANTITIES` for the whole graph."""
        match quantity:
            case "params":
                return count_parameters(graph)
            case "macs":
                return count_macs(graph, batch)
            case "flops":
                return 2 * count_macs(graph, batch)
            case _:
                return getattr(self.tree(graph, batch), quantity)


def judge(
    scope: Expressions,
    said: ast.Expect | ast.Expectation,
    model: str,
    graph: Graph,
    costs: Costs,
) -> tuple[Expectation, Diagnostic | None]:
    """Compare what is said with the cost of `graph`.

    Args:
        scope: Evaluates the numbers; its names are those that the condition may use.
        said: The statement.
        model: What to call the model or block.
        graph: It, finished and free of errors.
        costs: Knows those of graphs that were asked about before.

    Returns:
        The comparison, and E0501 if it must hold and does not.

    Raises:
        SpecError: E0502 no comparison of a cost, E0503 a condition that means nothing, E0504 a
            tolerance that is no number, or negative.
    """
    condition = said.condition
    if not isinstance(condition, ast.Binary) or condition.operator not in RELATIONS:
        raise _compares_no_cost(condition)
    used = [name.name for name in references(condition.left) if name.name in QUANTITIES]
    if not used:
        places = {(name.span.source.name, name.span.start) for name in references(condition)}
        if not places.isdisjoint(scope.elaborator.flagged):
            raise Poisoned
        raise _compares_no_cost(condition)
    batch = _batch(scope, said)
    totals = {name: costs.total(graph, batch, name) for name in used}
    claimed = _number(scope, condition.right, batch)
    expectation = Expectation(
        binding=isinstance(said, ast.Expect) or said.keyword == "expect",
        model=model,
        quantity=_line(condition.left),
        relation=condition.operator,
        claimed=_plain(claimed),
        actual=_plain(_actual(scope, condition.left, totals, batch)),
        tolerance=_plain(_tolerance(scope, said.tolerance, claimed, batch)),
        batch=batch,
        source=said.source.value if said.source is not None else "",
        span=said.span,
    )
    if expectation.holds or not expectation.binding:
        return expectation, None
    parts = _largest(used[0], costs.tree(graph, batch))
    return expectation, _broken(scope, said, condition, expectation, parts)


_TURNED = {"==": "==", "<=": ">=", ">=": "<=", "<": ">", ">": "<"}


def _compares_no_cost(condition: ast.Expression) -> SpecError:
    """E0502, with how the condition would be written."""
    costs = ", ".join(QUANTITIES)
    helps = (f"on the left stands a cost ({costs}), or an expression of costs",)
    fixes: tuple[Fix, ...] = ()
    named = {name.name for name in references(condition)} & set(QUANTITIES)
    if isinstance(condition, ast.Binary) and condition.operator in _TURNED and named:
        left, right = _line(condition.right), _line(condition.left)
        turned = f"{left} {_TURNED[condition.operator]} {right}"
        helps = (f"the cost stands on the left: `{turned}`",)
        fixes = (Fix(condition.span, turned, "turn the comparison around"),)
    elif isinstance(condition, ast.Binary) and condition.operator in ("and", "or") and named:
        helps = ("an expectation is one comparison: write a line for each",)
    elif named:
        relations = ", ".join(f"`{relation}`" for relation in RELATIONS)
        helps = (f"compare it with a number, by one of {relations}: `{_line(condition)} <= 10M`",)
    found = diagnose("E0502", condition.span, helps=helps, fixes=fixes, text=_line(condition))
    return SpecError(found)


def _line(expression: ast.Expression) -> str:
    return " ".join(expression.span.text.split())


def _batch(scope: Expressions, said: ast.Expect | ast.Expectation) -> int:
    """The batch that `at [B = 128]` sets; 1 without one."""
    batch = 1
    for place, condition in enumerate(said.conditions):
        name = condition.name
        if name.name != "B" or place > 0:
            raise SpecError(diagnose("E0503", name.span, name=name.name))
        number = scope.dimension(condition.value, "B")
        if not isinstance(number.value, int):
            raise SpecError(diagnose("E0503", condition.span, name=condition.span.text))
        batch = number.value
    return batch


def _actual(
    scope: Expressions, left: ast.Expression, totals: Mapping[str, int], batch: int
) -> Fraction | float:
    before = scope.names
    scope.names = {**before, **{n: literal(total, left.span) for n, total in totals.items()}}
    try:
        return _number(scope, left, batch)
    finally:
        scope.names = before


def _number(scope: Expressions, expression: ast.Expression, batch: int) -> Fraction | float:
    value = scope.number(expression).value
    if isinstance(value, Poly):
        return value.at({"B": batch})
    return value if isinstance(value, float) else Fraction(value)


def _plain(value: Fraction | float) -> int | float:
    """The same for Python: an `int` if it is whole."""
    return int(value) if value == int(value) else float(value)


def _tolerance(
    scope: Expressions, expression: ast.Expression | None, claimed: Fraction | float, batch: int
) -> Fraction | float:
    """How far both may differ: a percentage is one of what is claimed."""
    if expression is None:
        return Fraction(0)
    value = _number(scope, expression, batch)
    is_share = isinstance(expression, ast.Number) and expression.unit == "%"
    if value < 0 or (0 < value < 1 and abs(claimed) >= _LARGE and not is_share):
        given = _line(expression)
        helps = (f"a share is a percentage: `within {show_number(100 * value)}%`",)
        if value < 0:
            helps = (f"`within {_line(expression).lstrip('- ')}` allows it in both directions",)
        raise SpecError(diagnose("E0504", expression.span, helps=helps, value=given))
    return abs(claimed) * value if is_share else value


def _broken(
    scope: Expressions,
    said: ast.Expect | ast.Expectation,
    condition: ast.Binary,
    expectation: Expectation,
    parts: list[str],
) -> Diagnostic:
    """E0501, with where the actual cost lies."""
    claimed = scope.number(condition.right)
    notes = [f"stated by {expectation.source}"] if expectation.source else []
    if not isinstance(condition.right, ast.Number):
        notes += chain((claimed.origin,))
    notes += parts
    relation = "" if expectation.relation == "==" else f"{expectation.relation} "
    within = f" within {_line(said.tolerance)}" if said.tolerance is not None else ""
    return diagnose(
        "E0501",
        condition.span,
        notes=tuple(notes),
        model=expectation.model,
        quantity=expectation.quantity,
        claimed=f"{relation}{written(expectation.claimed)}{within}",
        actual=written(expectation.actual),
        difference=difference(expectation),
    )


def difference(expectation: Expectation) -> str:
    """`1,377,004 less (6.4%)`."""
    amount = written(abs(expectation.difference))
    word = "less" if expectation.difference < 0 else "more"
    if expectation.relative is None:
        return f"{amount} {word}"
    percent = 100 * abs(expectation.relative)
    share = f"{percent:,.0f}%" if percent >= 100 else f"{percent:.3g}%"
    return f"{amount} {word} ({share})"


def written(value: Quantity) -> str:
    """A number as a person reads it: `21,376,996`, `2.5`."""
    if isinstance(value, Fraction | int) and value == int(value):
        return f"{int(value):,}"
    return show_number(value)


def _largest(quantity: str, costs: Cost) -> list[str]:
    """The parts with most of one cost, an aligned line each."""
    if quantity == "training_bytes":
        quantity = "activation_bytes"
    whole = getattr(costs, quantity)

    def share(row: CostNode) -> Fraction:
        return Fraction(getattr(row, quantity), whole or 1)

    rows = sorted(costs.tree, key=share, reverse=True)
    while rows and rows[0].children and share(rows[0]) > _MOSTLY:
        rows = sorted((*rows[0].children, *rows[1:]), key=share, reverse=True)
    table = [
        (f"`{row.path}`", f"{getattr(row, quantity):,}", f"{float(share(row)):.1%}", row.line)
        for row in rows[:PARTS]
        if share(row)
    ]
    wide = [max((len(line[column]) for line in table), default=0) for column in range(3)]
    return [
        f"{quantity} in {a.ljust(wide[0])}   {b.rjust(wide[1])}   {c.rjust(wide[2])}   {d}"
        for a, b, c, d in table
    ]
