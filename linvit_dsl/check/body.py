"""Runs the statements of a block, one after the other; a failing one does not stop the next."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any, assert_never

from linvit_dsl.check import arithmetic
from linvit_dsl.check.builder import GraphBuilder
from linvit_dsl.check.defaults import extended
from linvit_dsl.check.dimensions import as_dimension, with_values
from linvit_dsl.check.expressions import Expressions
from linvit_dsl.check.operators import combine
from linvit_dsl.check.provenance import chain, named, quote
from linvit_dsl.check.shapes import ShapeMatch, declared_type
from linvit_dsl.check.values import (
    UNKNOWN,
    Initializer,
    Number,
    Poisoned,
    Result,
    SharedLayer,
    Unknown,
    show,
    wrong_kind,
)
from linvit_dsl.check.walk import bound_by, references
from linvit_dsl.errors import Label, SpecError, diagnose
from linvit_dsl.graph import limits
from linvit_dsl.graph.ir import Carried, Node, Origin, Value
from linvit_dsl.graph.size import Poly, at_batch
from linvit_dsl.ops import OpProblem
from linvit_dsl.ops.initializers import check_initializer
from linvit_dsl.syntax import ast, holes

Results = tuple[Value | tuple[Value, ...], ...]


class Body:
    """The statements of one block over its scope.

    `expected` are its statements about costs, each with the names that it may use: they are judged
    when the graph is finished.
    """

    def __init__(self, scope: Expressions) -> None:
        if scope.builder is None:
            raise TypeError("a body needs a graph to build")
        self.scope = scope
        self.builder: GraphBuilder = scope.builder
        self.failed = False
        self.refused = False
        self.expected: list[tuple[ast.Expect, dict[str, Result | Unknown]]] = []

    def run(self, declaration: ast.Block) -> Results | None:
        """Elaborate all statements and check the results; None if anything was reported."""
        returned = self._statements(declaration.body)
        if self.failed or declaration.broken:
            return None
        try:
            return self._results(declaration, returned)
        except SpecError as error:
            self.scope.elaborator.reject(error)
        except Poisoned:
            pass
        return None

    def _results(self, declaration: ast.Block, returned: ast.Return | None) -> Results:
        name = declaration.name.name
        if returned is None or self._returned is None:
            raise SpecError(diagnose("E0402", declaration.name.span, name=name))
        values = self._returned
        if len(values) != len(declaration.results):
            raise SpecError(
                diagnose(
                    "E0403",
                    returned.span,
                    secondary=(Label(declaration.head, "declared here"),),
                    name=name,
                    declared=len(declaration.results),
                    returned=len(values),
                )
            )
        results: list[Value | tuple[Value, ...]] = []
        for shape, value in zip(declaration.results, values, strict=True):
            ShapeMatch(self.scope, final=True).match(shape, value, "the result", returned.span)
            if isinstance(value, Value):
                results.append(value)
            elif isinstance(value, tuple):
                results.append(tuple(item for item in value if isinstance(item, Value)))
        return tuple(results)

    _returned: tuple[Result, ...] | None = None

    def _statements(self, statements: Iterable[ast.Statement]) -> ast.Return | None:
        """Run statements up to a `return`, which is given back."""
        elaborator = self.scope.elaborator
        for statement in statements:
            self.builder.statement = statement.span
            if self.refused and not isinstance(statement, ast.Require):
                self._give_up(statement)
                continue
            try:
                elaborator.budget.spend(1, statement.span)
                returned = self._statement(statement)
            except SpecError as error:
                elaborator.reject(error)
                self._give_up(statement)
            except Poisoned:
                self._give_up(statement)
            else:
                if returned is not None:
                    return returned
        return None

    def _give_up(self, statement: ast.Statement) -> None:
        """Whatever the failed statement would have bound is unknown from here on.

        So is what a failed `require` is about, and whatever follows in its block may rely on it:
        there, only further requirements are still checked.
        """
        self.failed = True
        names = bound_by(statement)
        if isinstance(statement, ast.Require):
            used = [name.name for name in references(statement.condition)]
            names = tuple(name for name in used if name in self.scope.names)
        for name in names:
            self.scope.names[name] = UNKNOWN

    def _statement(self, statement: ast.Statement) -> ast.Return | None:
        match statement:
            case ast.Dim():
                self._dim(statement)
            case ast.Require():
                self._require(statement)
            case ast.Expect():
                self.expected.append((statement, dict(self.scope.names)))
            case ast.Store():
                self._store(statement)
            case ast.Layer():
                self._layer(statement)
            case ast.Defaults():
                self.scope.elaborator.defaults = extended(self.scope, statement)
            case ast.Assign():
                self._assign(statement)
            case ast.Residual():
                self._residual(statement)
            case ast.Repeat():
                self._repeat(statement)
            case ast.For():
                self._for(statement)
            case ast.If():
                chosen = statement.yes if self.scope.truth(statement.condition) else statement.no
                return self._statements(chosen)
            case ast.Return():
                names = ("",) if len(statement.values) == 1 else ()
                self._returned = tuple(self.scope.evaluate(v, names) for v in statement.values)
                return statement
            case _:
                assert_never(statement)
        return None

    def _dim(self, statement: ast.Dim) -> None:
        if len(statement.names) == 1:
            (name,) = statement.names
            number = self.scope.dimension(statement.value, name.name)
            self._bind_dim(name, number, statement)
            return
        value = self.scope.evaluate(statement.value)
        items = value if isinstance(value, tuple) else (value,)
        if len(items) != len(statement.names):
            raise SpecError(
                diagnose("E0307", statement.span, names=len(statement.names), values=len(items))
            )
        for name, item in zip(statement.names, items, strict=True):
            if not isinstance(item, Number):
                raise wrong_kind(name.span, f"`{name.name}`", "a dim", item)
            number = as_dimension(item, statement.value.span, name.name, statement.value)
            self._bind_dim(name, number, statement)

    def _bind_dim(self, name: ast.Identifier, number: Number, statement: ast.Dim) -> None:
        if (name.span.source.name, name.span.start) in self.scope.elaborator.flagged:
            raise Poisoned
        known = self.scope.names.get(name.name)
        if isinstance(known, Number) and known.value != number.value:
            raise SpecError(
                diagnose("E0303", statement.span, name=name.name, first=known, second=number)
            )
        how = f"from {quote(statement.span.text)}"
        worked = with_values(statement.value, self.scope.names)
        how += f" = {worked}" if worked not in (str(number), statement.value.span.text) else ""
        sources = (number.origin,) if number.origin.name else number.origin.operands
        origin = named(name.name, number, how, statement.span, *sources)
        self.scope.names[name.name] = replace(number, origin=origin)

    def _require(self, statement: ast.Require) -> None:
        # After an error a preference says nothing: the values in it may be left over.
        silent = statement.warning and (self.failed or self.scope.elaborator.quiet)
        if self.scope.truth(statement.condition) or silent:
            return
        condition = statement.condition
        message = f"`{condition.span.text}` does not hold"
        origins: list[Origin] = []
        if statement.message is not None:
            message, origins = self._message(statement.message)
        labels, sides = self._sides(condition)
        found = diagnose(
            "W0300" if statement.warning else "E0300",
            condition.span,
            secondary=labels,
            notes=chain(origins + sides),
            message=message,
        )
        if statement.warning:
            self.scope.elaborator.report(found)
        else:
            self.refused = True
            raise SpecError(found)

    def _message(self, text: ast.Text) -> tuple[str, list[Origin]]:
        """The text with each `{expression}` replaced by its value, and the origins of these."""
        words: list[str] = []
        origins: list[Origin] = []
        for part in holes(text):
            if isinstance(part, str):
                words.append(part)
                continue
            value = self.scope.evaluate(part)
            words.append(show(value))
            if isinstance(part, ast.Name) and isinstance(value, Number):
                origins.append(value.origin)
        return "".join(words), origins

    def _sides(self, condition: ast.Expression) -> tuple[tuple[Label, ...], list[Origin]]:
        """The values of the names in a failed condition, and where they came from."""
        labels: list[Label] = []
        origins: list[Origin] = []
        sides = (condition.left, condition.right) if isinstance(condition, ast.Binary) else ()
        for side in sides:
            value = self.scope.evaluate(side)
            if not isinstance(side, ast.Number | ast.Text | ast.ListOf):
                labels.append(Label(side.span, show(value)))
            if isinstance(value, Number):
                origins.append(value.origin)
        return tuple(labels), origins

    def _store(self, statement: ast.Store) -> None:
        type_ = declared_type(self.scope, statement.shape)
        initializer: Result = Initializer("zeros")
        if statement.initializer is not None:
            initializer = self.scope.evaluate(statement.initializer)
        if not isinstance(initializer, Initializer):
            place = (statement.initializer or statement).span
            name = f"the initial value of `{statement.name.name}`"
            raise wrong_kind(place, name, "an init (`zeros`, `normal[0.02]`)", initializer)
        name = statement.name
        if (name.span.source.name, name.span.start) in self.scope.elaborator.flagged:
            raise Poisoned
        if any(not isinstance(dim.size, int) for dim in type_.dims):
            raise SpecError(diagnose("E0319", statement.shape.span, name=statement.shape.span.text))
        sizes = tuple(at_batch(size, 1) for size in type_.sizes)
        try:
            check_initializer(initializer, sizes, trained=statement.trained)
        except OpProblem as problem:
            slots: dict[str, Any] = problem.slots
            place = (statement.initializer or statement).span
            raise SpecError(diagnose(problem.code, place, **slots)) from None
        self.scope.names[name.name] = self.builder.store(
            name.name, type_, initializer, trained=statement.trained, span=name.span
        )

    def _layer(self, statement: ast.Layer) -> None:
        value = self.scope.applicable(statement.value)
        layer = SharedLayer(statement.name, self.builder, indexed=self.builder.depth > 0)
        # A parameter's offers end here: from now on the name is an ordinary block.
        self.scope.names[statement.name.name] = replace(value, layer=layer)

    def _assign(self, statement: ast.Assign) -> None:
        names = tuple(name.name for name in statement.names)
        value = self.scope.evaluate(statement.value, names)
        if statement.shape is not None:
            what = statement.names[0].name
            ShapeMatch(self.scope, final=True).match(
                statement.shape, value, what, statement.value.span
            )
        self.scope.bind_names(statement.names, value, statement.span)

    def _residual(self, statement: ast.Residual) -> None:
        name = statement.name
        reference = ast.Name.model_construct(name=name.name, span=name.span)
        old = self.scope.lookup(reference)
        new = self.scope.evaluate(statement.value)
        if isinstance(old, tuple) and isinstance(new, tuple):
            elaborator = self.scope.elaborator
            elaborator.budget.list(old + new, statement.span)
            self.scope.names[name.name] = old + new
            return
        expression = ast.Binary.model_construct(
            operator="+", left=reference, right=statement.value, span=statement.span
        )
        if isinstance(old, Number) and isinstance(new, Number):
            self.scope.names[name.name] = arithmetic.calculate(expression, old, new)
            return
        total = combine(self.scope, expression, old, new, (name.name,))
        if isinstance(old, Value) and isinstance(total, Value) and total.type != old.type:
            found = diagnose(
                "E0329", statement.span, name=name.name, left=old.type, right=total.type
            )
            raise SpecError(found)
        self.scope.names[name.name] = total

    def _repeat(self, statement: ast.Repeat) -> None:
        number = self.scope.number(statement.count)
        if not number.whole and not isinstance(number.value, Poly):
            as_dimension(number, statement.count.span, statement.count.span.text)
        count = arithmetic.whole(number, statement.count.span)
        if count < 0:
            notes, text = chain((number.origin,)), quote(statement.count.span.text)
            span = statement.count.span
            raise SpecError(diagnose("E0348", span, notes=notes, name=text, value=count))
        if count > limits.REPEAT:
            raise SpecError(
                diagnose("E0707", statement.count.span, value=f"{count:,}", limit=limits.REPEAT)
            )
        index = statement.index
        items: list[Result] = []
        for i in range(1, count + 1):
            origin = named(index.name if index else "", i, "iteration", statement.span)
            items.append(Number(i, origin))
        binder = (index,) if index is not None else ()
        self._loop(statement, binder, tuple(items), shared=statement.shared)

    def _for(self, statement: ast.For) -> None:
        self._loop(statement, statement.binder, self.scope.items(statement.iterable), shared=False)

    def _loop(
        self,
        statement: ast.Repeat | ast.For,
        binder: tuple[ast.Identifier, ...],
        items: tuple[Result, ...],
        *,
        shared: bool,
    ) -> None:
        """Run the body once per item. Names that exist before are carried; new ones end with it."""
        scope, head = self.scope, self.builder.statement
        before = dict(scope.names)
        local = {name.name for name in binder}
        bound = dict.fromkeys(bound_by(statement))
        rebound = tuple(name for name in before if name in bound and name not in local)
        iterations: list[tuple[Node, ...]] = []
        states = [tuple(before[name] for name in rebound)]
        for item in items:
            with self.builder.iteration(shared=shared) as nodes:
                if binder:
                    scope.bind_names(binder, item, statement.span)
                failed, defaults = self.failed, scope.elaborator.defaults
                if self._statements(statement.body) is not None:
                    self.failed = True  # A `return` in a loop was reported with the names.
            scope.elaborator.defaults = defaults
            iterations.append(tuple(nodes))
            states.append(tuple(scope.names[name] for name in rebound))
            if (self.failed and not failed) or scope.elaborator.budget.exhausted:
                break
        self.builder.statement = head
        self.builder.repeat(iterations, _carried(rebound, states), head)
        scope.names = {
            name: before[name] if name in local else value
            for name, value in scope.names.items()
            if name in before
        }


def _carried(
    names: tuple[str, ...], states: list[tuple[Result | Unknown, ...]]
) -> tuple[Carried, ...]:
    """The tensors that a loop hands on from one iteration to the next, under their names.

    `states` are the values of `names` before the loop and after each iteration.
    """
    carried: list[Carried] = []
    for name, values in zip(names, zip(*states, strict=True), strict=True):
        tensors = tuple(value for value in values if isinstance(value, Value))
        changes = any(value is not values[0] for value in values)
        if changes and len(tensors) == len(states):
            carried.append(Carried(name, tensors))
    return tuple(carried)
