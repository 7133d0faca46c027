"""The `where` lines of a sweep: which of its points are meant.

Takes: a point, a value for every axis. Gives: whether all conditions let it pass. A condition may
use the axes, the other static parameters of the model as they are at that point, and the fields of
the recipe that trains it: `where d % heads == 0`, `where schedule.warmup < schedule.epochs`.
Errors: E0209, E0524, and those of the expressions.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from fractions import Fraction

from linvit_dsl.check.axes import Cell, Point
from linvit_dsl.check.binding import accepts, bind_statics, given
from linvit_dsl.check.elaborate import Elaborator
from linvit_dsl.check.expressions import Expressions
from linvit_dsl.check.recipe import Duration, Recipe, check_recipe, field_names, field_words
from linvit_dsl.check.training import RecipeReader
from linvit_dsl.check.values import BlockValue, Poisoned, Result, Static, Unknown, literal
from linvit_dsl.check.words import builtin
from linvit_dsl.errors import Fix, Span, SpecError, diagnose
from linvit_dsl.errors.suggest import nearest
from linvit_dsl.syntax import ast


def at_point(model: BlockValue, sweep: str, cells: Mapping[str, Cell]) -> BlockValue:
    """The model with the static parameters of a point."""
    statics: dict[str, Static] = dict(model.statics)
    places = dict(model.places)
    for name, cell in cells.items():
        if cell.value is None:
            raise TypeError(name)
        statics[name] = given(cell.value, name, f"from sweep `{sweep}`", cell.span)
        places[name] = cell.span
    return replace(model, statics=statics, places=places)


class Conditions(Expressions):
    """Evaluates the conditions of one sweep. What no condition asks for is not worked out."""

    def __init__(self, elaborator: Elaborator, item: ast.Sweep, model: BlockValue) -> None:
        super().__init__(elaborator, elaborator.program.root)
        self.item = item
        self.model = model
        self.statics = accepts(model)
        self.fields = field_names()
        train = elaborator.program.items(ast.Train).get(item.model.name)
        self.train = train if isinstance(train, ast.Train) else None
        self.reader = RecipeReader(elaborator.program, elaborator)
        self._recipe: Recipe | None = None
        self._point: Point = {}
        self._parameters: dict[str, Result] | None = None

    def hold(self, point: Point) -> bool:
        """Whether all of them are true at a point."""
        self._point, self._parameters = point, None
        return all(self.truth(condition) for condition in self.item.conditions)

    def lookup(self, expression: ast.Name) -> Result:
        """An axis, a parameter of the model, a field of the recipe; else what it is in the file."""
        name, span = expression.name, expression.span
        if name in self.names:
            return super().lookup(expression)  # What a list in the condition goes through.
        if name in self.statics:
            return self._parameter(name, span)
        if name in self._point or (name in self.fields and self.train is not None):
            return self._field(name, span)
        if self.module.has_constant(name) or name in self.module.names:
            return super().lookup(expression)
        if (value := builtin(name)) is not None:
            return value
        if name in field_words():
            return name
        if name in self.fields:
            return self._field(name, span)
        raise self._unknown(name, span)

    def member(self, expression: ast.Member) -> Result:
        """A field of a section of the recipe, else a name in a module."""
        if not isinstance(expression.target, ast.Name):
            return super().member(expression)
        name = f"{expression.target.name}.{expression.name.name}"
        if name in self.fields:
            return self._field(name, expression.span)
        sections = {field.partition(".")[0] for field in self.fields if "." in field}
        if expression.target.name in sections - set(self.module.names):
            raise self._unknown(name, expression.span)
        return super().member(expression)

    def _parameter(self, name: str, span: Span) -> Result:
        """A static parameter at this point."""
        if name in self._point and (value := self._point[name].value) is not None:
            return value
        if self._parameters is None:
            own = {key: cell for key, cell in self._point.items() if not cell.of_recipe}
            self._parameters = self._values(at_point(self.model, self.item.name.name, own))
        if name in self._parameters:
            return self._parameters[name]
        helps = (f"give it a value in the sweep: `{name} = ...`",)
        raise SpecError(diagnose("E0209", span, helps=helps, name=name))

    def _values(self, block: BlockValue) -> dict[str, Result]:
        """The static parameters of a model and of all that it is an alias of.

        Those without a value are left out: elaboration says why they have none.
        """
        found: dict[str, Result] = {}
        place = self.item.model.span
        while True:
            scope = Expressions(self.elaborator, block.module)
            for parameter in block.declaration.statics:
                try:
                    bind_statics(scope, (parameter,), dict(block.statics), block, place)
                except (SpecError, Poisoned):
                    continue
                name = parameter.name.name
                value = scope.names.get(name)
                if value is not None and not isinstance(value, Unknown):
                    found.setdefault(name, value)
            if isinstance(block.declaration, ast.Block):
                return found
            try:
                block = self.elaborator.behind(block, place)
            except (SpecError, Poisoned):
                return found

    def _field(self, name: str, span: Span) -> Result:
        """A field of the recipe at this point.

        Raises:
            SpecError: E0524 there is no recipe, E0209 it leaves the field out.
            Poisoned: The recipe has errors, which are reported where it is used.
        """
        if self.train is None:
            model = self.item.model.name
            helps = (f"add `train {model} with a_recipe`",)
            raise SpecError(diagnose("E0524", span, helps=helps, name=name, model=model))
        if name in self._point:
            cell = self._point[name]
            value = cell.value
            value = _static(self.reader.plain(cell.expression), span) if value is None else value
        else:
            value = _static(self._setting(name), span)
        if value is None:
            helps = (f"give it a value in the sweep: `{name} = ...`",)
            raise SpecError(diagnose("E0209", span, helps=helps, name=name))
        return value

    def _setting(self, name: str) -> object:
        """What the recipe itself says, or its default."""
        if self._recipe is None:
            if self.train is None:
                raise TypeError(name)
            checked = check_recipe(self.reader.train(self.train).values)
            if not isinstance(checked, Recipe):
                raise Poisoned
            self._recipe = checked
        value: object = self._recipe
        for part in name.split("."):
            value = getattr(value, part)
        return value

    def _unknown(self, name: str, span: Span) -> SpecError:
        """E0209 with what may have been meant."""
        section, dot, last = name.rpartition(".")
        if dot:
            inside = [f.rpartition(".")[2] for f in self.fields if f.startswith(f"{section}.")]
            near = nearest(last, inside)
            near = near and f"{section}.{near}"
            has = f"fields of `{section}`: {', '.join(inside)}"
        else:
            near = nearest(name, (*self.statics, *self.fields, *self.module.constants))
            model = self.item.model.name
            has = f"a `where` can use what varies, the static parameters of `{model}`, and the "
            has += "fields of its recipe"
        helps = (f"did you mean `{near}`?" if near else has,)
        fixes = (Fix(span, near, f"replace by `{near}`"),) if near else ()
        return SpecError(diagnose("E0209", span, helps=helps, fixes=fixes, name=name))


def _static(value: object, span: Span) -> Static | None:
    """A value of a recipe as one of the language: a duration is its number. None if it is none."""
    match value:
        case bool() | str():
            return value
        case int() | float():
            # The number as it is written: 1e-3 is a thousandth, not the nearest binary fraction.
            exact = Fraction(repr(value))
            return literal(exact.numerator if exact.denominator == 1 else exact, span)
        case Duration():
            return literal(value.value, span)
        case tuple() | list():
            items = tuple(_static(item, span) for item in value)
            return None if None in items else tuple(item for item in items if item is not None)
        case _:
            return None
