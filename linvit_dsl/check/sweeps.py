"""Sweeps: families of runs of one model, every point of which is verified before anything runs.

Takes: the `sweep`s of a root file whose models were elaborated. Gives: their points, and findings.
An axis varies a static parameter of the model, or a field of the recipe that trains it. The points
are the combinations of all axes that pass the `where` lines. They share what the elaborator knows:
what does not vary is elaborated once.
Non-goals: running them.
Errors: E0520 to E0527, E0713.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass, replace
from itertools import product
from math import prod

from linvit_dsl.check.axes import Axis, Cell, Point, read_axes
from linvit_dsl.check.conditions import Conditions, at_point
from linvit_dsl.check.elaborate import Elaborator
from linvit_dsl.check.expressions import Expressions
from linvit_dsl.check.models import specialised
from linvit_dsl.check.training import Draft, RecipeReader, recipe_findings
from linvit_dsl.check.values import BlockValue, Poisoned
from linvit_dsl.errors import Diagnostic, Label, Span, SpecError, diagnose
from linvit_dsl.errors.suggest import nearest
from linvit_dsl.graph import limits
from linvit_dsl.syntax import ast

SHOWN = 3
"""Points of one sweep whose errors are shown: the others mostly fail for the same reason."""

EXPLAINED = 2 * SHOWN
"""Points that fail and are elaborated once more, to find what to show of them."""


@dataclass(frozen=True, slots=True)
class SweepPoint:
    """One run of a sweep.

    Args:
        name: `stages=3,seed=0`, fit for the name of a folder, and unique in the sweep.
        values: What the axes are here, as the text writes it, by name.
        overrides: Static parameters with their text, as `--set` and `elaborate` take them.
        recipe_overrides: Fields of the recipe with their text, as `recipe_for` takes them.
    """

    name: str
    values: Mapping[str, str]
    overrides: Mapping[str, str]
    recipe_overrides: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Sweep:
    """A verified sweep. `axes` are the names that vary, in the order of the text."""

    name: str
    model: str
    axes: tuple[str, ...]
    points: tuple[SweepPoint, ...]


def check_sweeps(elaborator: Elaborator, model: str | None = None) -> tuple[Sweep, ...]:
    """Verify every sweep of the root file, or those of one model.

    Returns:
        Those without errors.
    """
    found: list[Sweep] = []
    seen: dict[tuple[str, str], ast.Identifier] = {}
    for item in elaborator.program.root.file.items:
        if not isinstance(item, ast.Sweep) or model not in (None, item.model.name):
            continue
        first = seen.setdefault((item.model.name, item.name.name), item.name)
        try:
            if first is not item.name:
                label = Label(first.span, "first declared here")
                name = item.name.name
                raise SpecError(
                    diagnose("E0526", item.name.span, secondary=(label,), what=f"sweep `{name}`")
                )
            sweep = _Check(elaborator, item).run()
        except SpecError as error:
            elaborator.reject(error)
        except Poisoned:
            continue
        else:
            found += [sweep] if sweep is not None else []
    return tuple(found)


class _Check:
    """Verifies one sweep."""

    def __init__(self, elaborator: Elaborator, item: ast.Sweep) -> None:
        self.elaborator = elaborator
        self.item = item
        self.scope = Expressions(elaborator, elaborator.program.root)
        self.failures: list[Diagnostic] = []
        self.explained = 0
        self.untold = 0
        self.sound = True

    def run(self) -> Sweep | None:
        """The sweep; None if a point fails, which is recorded.

        Raises:
            SpecError: It has no points that could be verified.
            Poisoned: They were lost with a line that could not be read, or nothing more can be
                elaborated.
        """
        if self.elaborator.budget.exhausted:
            raise Poisoned
        value = self._model()
        axes = read_axes(self.scope, self.item, value)
        points = list(self._points(value, axes))
        if not points or not self.item.axes:
            if self._is_cut_short():
                raise Poisoned
            raise SpecError(self._pointless(axes))
        self._verify_models(value, points)
        self._verify_recipes(points)
        self._tell(len(points))
        if not self.sound:
            return None
        varied = tuple(name for axis in axes if not axis.fixed for name in axis.names)
        made: dict[str, SweepPoint] = {}
        for point in points:
            one = _public(point, varied)
            while one.name in made:
                one = replace(one, name=f"{one.name}'")
            made[one.name] = one
        return Sweep(self.item.name.name, self.item.model.name, varied, tuple(made.values()))

    def _pointless(self, axes: tuple[Axis, ...]) -> Diagnostic:
        """E0523."""
        item = self.item
        place, problem, helps = item.name.span, "has no points", ()
        labels: tuple[Label, ...] = ()
        empty = [vary for vary, axis in zip(item.axes, axes, strict=False) if not axis.rows]
        if not item.axes:
            problem = "varies nothing"
            line = next((f"`{f.name.name} in [...]`" for f in item.fields), "`depth in [6, 12]`")
            helps = (f"give something its values, one of them or more: {line}",)
        elif empty:
            labels = tuple(Label(vary.values.span, "no values") for vary in empty)
        else:
            count = prod(len(axis.rows) for axis in axes)
            each = f"true at none of {count} combinations" if count > 1 else "not true"
            if len(item.conditions) > 1:
                each = f"with the others {each}"
            labels = tuple(Label(condition.span, each) for condition in item.conditions[:1])
        return diagnose(
            "E0523", place, secondary=labels, helps=helps, name=item.name.name, problem=problem
        )

    def _is_cut_short(self) -> bool:
        """Whether a line of it could not be read, which was reported."""
        whole = self.item.span
        places = (found.primary.span for found in self.elaborator.program.diagnostics)
        return any(
            place.source is whole.source and whole.start <= place.start <= whole.end
            for place in places
        )

    def _model(self) -> BlockValue:
        name, program = self.item.model, self.elaborator.program
        value = program.root.names.get(name.name)
        if isinstance(value, BlockValue) and name.name in program.models:
            return value
        near = nearest(name.name, program.models)
        legal = ", ".join(program.models) or "none"
        helps = (f"did you mean `{near}`?" if near else f"models of the file: {legal}",)
        raise SpecError(diagnose("E0522", name.span, helps=helps, name=name.name))

    def _points(self, value: BlockValue, axes: tuple[Axis, ...]) -> Iterator[Point]:
        """The combinations that every `where` lets pass."""
        conditions = Conditions(self.elaborator, self.item, value)
        for row in product(*(axis.rows for axis in axes)):
            point = {
                name: cell
                for axis, cells in zip(axes, row, strict=True)
                for name, cell in zip(axis.names, cells, strict=True)
            }
            if conditions.hold(point):
                yield point

    def _verify_models(self, value: BlockValue, points: list[Point]) -> None:
        """Elaborate the model of every point; points that differ in the recipe only share one."""
        seen: set[tuple[str, ...]] = set()
        for point in points:
            cells = {name: cell for name, cell in point.items() if not cell.of_recipe}
            key = tuple(cell.text for cell in cells.values())
            if key in seen:
                continue
            seen.add(key)
            bound = at_point(value, self.item.name.name, cells)
            place, sound = self.item.model.span, False
            with self.elaborator.trial():
                sound = specialised(self.elaborator, bound, place, {}) is not None
            if self.elaborator.budget.exhausted:
                raise self._too_much(len(points))
            if not sound:
                self._model_failure(bound, cells)

    def _too_much(self, points: int) -> SpecError:
        """E0713: what was not elaborated cannot be called verified."""
        helps = (f"every one of the {points:,} points is elaborated: sweep fewer of them at once",)
        limit = f"{limits.STEPS:,}"
        return SpecError(diagnose("E0713", self.item.name.span, helps=helps, limit=limit))

    def _model_failure(self, bound: BlockValue, cells: Mapping[str, Cell]) -> None:
        """E0520 with the first error of a point, found anew by an elaborator of its own.

        That of the sweep has seen some of its blocks before, and would not report them again. An
        error that the model has anyway was reported with it. Points that will not be shown are only
        counted.
        """
        self.sound = False
        if len(self.failures) >= SHOWN or self.explained >= EXPLAINED:
            self.untold += 1
            return
        self.explained += 1
        alone = Elaborator(self.elaborator.program)
        specialised(alone, bound, self.item.model.span, {})
        errors = [found for found in alone.diagnostics if found.severity == "error"]
        known = {_identity(found) for found in self.elaborator.diagnostics}
        if not errors or any(_identity(found) in known for found in errors):
            return
        cause = errors[0]
        others = (f"{len(errors) - 1} more errors at this point",) if len(errors) > 1 else ()
        first = next(iter(cells.values())).span if cells else self.item.name.span
        label = Label(cause.primary.span, cause.primary.text or "here")
        found = diagnose(
            "E0520",
            first,
            secondary=(label, *cause.secondary),
            notes=(*cause.notes, *others),
            helps=cause.helps,
            point=_described(cells),
            sweep=self.item.name.name,
            cause=cause.code,
            message=cause.message,
        )
        self.failures.append(found)

    def _verify_recipes(self, points: list[Point]) -> None:
        """Validate the recipe of every point; points that differ in the model only share one."""
        program, model = self.elaborator.program, self.item.model.name
        if not any(cell.of_recipe for cell in points[0].values()):
            return
        train = program.items(ast.Train).get(model)
        if not isinstance(train, ast.Train):
            raise TypeError(model)
        reader = RecipeReader(program, self.elaborator)
        plain = reader.train(train)
        known = {found.message for found in recipe_findings(plain, train.span)}
        seen: set[tuple[str, ...]] = set()
        for point in points:
            cells = {name: cell for name, cell in point.items() if cell.of_recipe}
            key = tuple(cell.text for cell in cells.values())
            if key in seen:
                continue
            seen.add(key)
            draft = Draft(deepcopy(plain.values), dict(plain.keys), dict(plain.places))
            for name, cell in cells.items():
                value = reader.plain(cell.expression)
                draft.put(tuple(name.split(".")), value, cell.span, cell.span)
            problems = [f for f in recipe_findings(draft, train.span) if f.message not in known]
            if problems:
                self._recipe_failure(problems[0], cells)

    def _recipe_failure(self, cause: Diagnostic, cells: Mapping[str, Cell]) -> None:
        """E0527."""
        self.sound = False
        found = diagnose(
            "E0527",
            cause.primary.span,
            helps=cause.helps,
            point=_described(cells),
            sweep=self.item.name.name,
            message=cause.message,
        )
        self.failures.append(found)

    def _tell(self, points: int) -> None:
        """Record the failures; of many only the first ones."""
        if not self.failures:
            return
        shown = self.failures[:SHOWN]
        if (rest := len(self.failures) - len(shown) + self.untold) > 0:
            note = f"{rest} more of the {points} points fail"
            shown[-1] = replace(shown[-1], notes=(*shown[-1].notes, note))
        self.elaborator.report(*shown)


def _identity(found: Diagnostic) -> tuple[str, str, Span]:
    return found.code, found.message, found.primary.span


def _described(cells: Mapping[str, Cell]) -> str:
    """`stages = 3, heads = 6`."""
    return ", ".join(f"{name} = {cell.text}" for name, cell in cells.items())


def _public(point: Point, varied: tuple[str, ...]) -> SweepPoint:
    name = ",".join(f"{axis}={point[axis].text}" for axis in varied)
    return SweepPoint(
        re.sub(r"[^\w.=,+-]", "_", name),
        {axis: point[axis].text for axis in varied},
        {axis: cell.text for axis, cell in point.items() if not cell.of_recipe},
        {axis: cell.text for axis, cell in point.items() if cell.of_recipe},
    )
