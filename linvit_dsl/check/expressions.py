"""Evaluates expressions: static ones to values, tensor ones to nodes of the graph being built."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace
from typing import TYPE_CHECKING, assert_never

from linvit_dsl.check import arithmetic, functions
from linvit_dsl.check.binding import bind_block, bind_initializer, bind_operator, offer, twice
from linvit_dsl.check.dimensions import as_dimension
from linvit_dsl.check.operators import apply_operator, combine
from linvit_dsl.check.provenance import quote
from linvit_dsl.check.values import (
    Applicable,
    BlockValue,
    Function,
    ModuleValue,
    Number,
    OperatorValue,
    Poisoned,
    Result,
    Unknown,
    key_of,
    kind_of,
    labelled,
    literal,
    wrong_kind,
)
from linvit_dsl.check.words import builtin, written_here
from linvit_dsl.errors import Span, SpecError, diagnose
from linvit_dsl.errors.suggest import nearest
from linvit_dsl.graph import limits
from linvit_dsl.graph.ir import Dim, Initializer, Value
from linvit_dsl.ops import OPS
from linvit_dsl.syntax import ast

if TYPE_CHECKING:
    from linvit_dsl.check.builder import GraphBuilder
    from linvit_dsl.check.elaborate import Elaborator
    from linvit_dsl.check.program import Module


_BRACKETS = "static arguments stand in brackets"


class Expressions:
    """The names of one block (or of a file's top level), and what expressions over them mean.

    Args:
        elaborator: Specialises the blocks that are applied.
        module: Where the expressions stand.
        builder: Receives the nodes; None where no tensors can be (constants, aliases, recipes).
        lost: Names in statements that could not be parsed, which may have bound them.

    `names` grows as statements bind them; `rests` holds what `*b` stands for.
    """

    def __init__(
        self,
        elaborator: Elaborator,
        module: Module,
        builder: GraphBuilder | None = None,
        lost: frozenset[str] = frozenset(),
    ) -> None:
        self.elaborator = elaborator
        self.module = module
        self.builder = builder
        self.lost = lost
        self.names: dict[str, Result | Unknown] = {}
        self.rests: dict[str, tuple[Dim, ...]] = {}

    def binds(self, name: str) -> bool:
        """Whether the block itself, or a constant of the file, gives `name` a value."""
        return name in self.names or self.module.has_constant(name)

    def evaluate(self, expression: ast.Expression, names: tuple[str, ...] = ()) -> Result:
        """The value of an expression; a tensor that it computes last is called by `names`.

        Raises:
            SpecError: It has no value.
            Poisoned: It uses something that already failed.
        """
        match expression:
            case ast.Name():
                return self.lookup(expression)
            case ast.Number():
                value = expression.value
                whole = value.numerator if value.denominator == 1 else value
                return literal(whole, expression.span)
            case ast.Text() | ast.Boolean():
                return expression.value
            case ast.TupleOf() | ast.ListOf():
                return self._made(tuple(self.evaluate(i) for i in expression.items), expression)
            case ast.Comprehension():
                return self._comprehension(expression)
            case ast.Range():
                return self._range(expression)
            case ast.Conditional():
                chosen = expression.yes if self.truth(expression.condition) else expression.no
                return self.evaluate(chosen, names)
            case ast.Unary():
                return self._unary(expression, names)
            case ast.Binary():
                return self._binary(expression, names)
            case ast.Pipe():
                value = self.evaluate(expression.value)
                target = self.applicable(expression.target)
                spans = (expression.value.span,)
                return self.apply(target, (value,), spans, expression.span, names)
            case ast.Statics():
                return self._statics(expression)
            case ast.Apply():
                return self._apply(expression, None, names)
            case ast.Member():
                return self.member(expression)
            case ast.Labelled():
                if isinstance(expression.target, ast.Apply):
                    return self._apply(expression.target, expression.label, names)
                return labelled(self.applicable(expression.target), expression.label)
            case _:
                assert_never(expression)

    def lookup(self, expression: ast.Name) -> Result:
        """What a name stands for: the block's own, the file's, else the language's."""
        name = expression.name
        value = self.names.get(name)
        if value is None:
            value = self.elaborator.module_value(self.module, name)
            if isinstance(value, BlockValue):
                value = replace(value, place=expression.span)
        if value is None:
            value = builtin(name)
        if isinstance(value, Unknown):
            raise Poisoned
        if value is None:
            place = (expression.span.source.name, expression.span.start)
            if name in self.lost or place in self.elaborator.flagged:
                raise Poisoned
            raise SpecError(diagnose("E0209", expression.span, name=name))
        return value

    def number(self, expression: ast.Expression) -> Number:
        """The value, which must be a number."""
        value = self.evaluate(expression)
        if not isinstance(value, Number):
            raise wrong_kind(expression.span, quote(expression.span.text), "a number", value)
        return value

    def dimension(self, expression: ast.Expression, name: str = "") -> Number:
        """The value, which must be a size: whole and at least 1.

        Raises:
            SpecError: E0301 not whole, E0302 not positive, E0703 too large.
        """
        number = self.number(expression)
        return as_dimension(number, expression.span, name or expression.span.text, expression)

    def truth(self, expression: ast.Expression) -> bool:
        """The value, which must be true or false."""
        value = self.evaluate(expression)
        if not isinstance(value, bool):
            what = quote(expression.span.text)
            raise wrong_kind(expression.span, what, "true or false", value)
        return value

    def applicable(self, expression: ast.Expression) -> Applicable:
        """The value, which must be a block or an operator."""
        value = self.evaluate(expression)
        if not isinstance(value, BlockValue | OperatorValue):
            raise SpecError(diagnose("E0404", expression.span, value=kind_of(value)))
        return value

    def apply(
        self,
        target: Applicable,
        arguments: tuple[Result, ...],
        spans: tuple[Span, ...],
        span: Span,
        names: tuple[str, ...] = (),
        keywords: dict[str, Value] | None = None,
    ) -> Result:
        """Apply a block or an operator to tensors."""
        if self.builder is None:
            raise SpecError(diagnose("E0405", span, name=target.name))
        if isinstance(target, OperatorValue):
            return apply_operator(self, target, arguments, spans, span, names, keywords or {})
        if keywords:
            raise SpecError(diagnose("E0316", span, name=target.name))
        return self.elaborator.call(self, target, arguments, spans, span, names)

    def bind_names(self, binder: tuple[ast.Identifier, ...], value: Result, span: Span) -> None:
        """Bind one name to a value, or several to the items of a list.

        Raises:
            SpecError: E0307, their numbers differ.
        """
        if len(binder) == 1:
            self.names[binder[0].name] = value
            return
        items = value if isinstance(value, tuple) else (value,)
        if len(items) != len(binder):
            raise SpecError(diagnose("E0307", span, names=len(binder), values=len(items)))
        for name, item in zip(binder, items, strict=True):
            self.names[name.name] = item

    def items(self, expression: ast.Expression) -> tuple[Result, ...]:
        """The value, which must be a list to go through.

        Raises:
            SpecError: E0310 it is none, E0707 too long, E0713 the last of too many.
        """
        value = self.evaluate(expression)
        if not isinstance(value, tuple):
            raise wrong_kind(expression.span, quote(expression.span.text), "a list", value)
        if len(value) > limits.REPEAT:
            raise SpecError(
                diagnose("E0707", expression.span, value=f"{len(value):,}", limit=limits.REPEAT)
            )
        return self._made(value, expression)

    def _made(self, value: tuple[Result, ...], expression: ast.Expression) -> tuple[Result, ...]:
        self.elaborator.budget.list(value, expression.span)
        return value

    def _comprehension(self, expression: ast.Comprehension) -> tuple[Result, ...]:
        items = self.items(expression.iterable)
        before = dict(self.names)
        results: list[Result] = []
        with self.builder.unrolled() if self.builder else nullcontext():
            for item in items:
                self.bind_names(expression.binder, item, expression.span)
                results.append(self.evaluate(expression.body))
        self.names = before
        return self._made(tuple(results), expression)

    def _range(self, expression: ast.Range) -> tuple[Number, ...]:
        first = arithmetic.whole(self.number(expression.first), expression.first.span)
        last = arithmetic.whole(self.number(expression.last), expression.last.span)
        if (count := last - first + 1) > limits.REPEAT:
            raise SpecError(
                diagnose("E0707", expression.span, value=f"{count:,}", limit=limits.REPEAT)
            )
        self.elaborator.budget.spend(max(count, 0), expression.span)
        return tuple(literal(value, expression.span) for value in range(first, last + 1))

    def _unary(self, expression: ast.Unary, names: tuple[str, ...]) -> Result:
        if expression.operator == "not":
            return not self.truth(expression.operand)
        value = self.evaluate(expression.operand)
        if isinstance(value, Number):
            return arithmetic.negative(expression, value)
        negation = OperatorValue(OPS["neg"])
        return self.apply(negation, (value,), (expression.operand.span,), expression.span, names)

    def _binary(self, expression: ast.Binary, names: tuple[str, ...]) -> Result:
        operator = expression.operator
        if operator in ("and", "or"):
            left = self.truth(expression.left)
            return self.truth(expression.right) if left == (operator == "and") else left
        left, right = self.evaluate(expression.left), self.evaluate(expression.right)
        if isinstance(left, Value) or isinstance(right, Value):
            return combine(self, expression, left, right, names)
        for side in (left, right):
            self.elaborator.budget.list(side, expression.span)
        if operator == "in" and isinstance(right, tuple):
            return key_of(left) in [key_of(item) for item in right]
        if operator in ("==", "!=") and not isinstance(left, Number):
            return (key_of(left) == key_of(right)) == (operator == "==")
        if operator == "+" and isinstance(left, tuple) and isinstance(right, tuple):
            return left + right
        if not isinstance(left, Number) or not isinstance(right, Number):
            raise SpecError(arithmetic.undefined(expression, left, right))
        if operator in ("==", "!=", "<=", ">=", "<", ">"):
            return arithmetic.compare(expression, left, right)
        return arithmetic.calculate(expression, left, right)

    def _statics(self, expression: ast.Statics) -> Result:
        target = self.evaluate(expression.target)
        if isinstance(target, tuple):
            return self._index(expression, target)
        positional: list[tuple[Result, Span]] = []
        named: dict[str, tuple[Result, Span]] = {}
        for argument in expression.arguments:
            match argument:
                case ast.NamedArgument():
                    if argument.name.name in named:
                        raise twice(expression.target.span.text, argument.name)
                    named[argument.name.name] = (self.evaluate(argument.value), argument.span)
                case ast.Splat():
                    positional += [(v, argument.span) for v in self.items(argument.value)]
                case _:
                    positional.append((self.evaluate(argument), argument.span))
        match target:
            case Initializer():
                return bind_initializer(target, positional, named, expression.span)
            case OperatorValue() if target.parameter:
                return target
            case OperatorValue():
                return bind_operator(target, positional, named, expression.span)
            case BlockValue() if target.parameter:
                return offer(target, positional, named, expression.span)
            case BlockValue():
                return bind_block(target, positional, named, expression)
            case _:
                raise SpecError(diagnose("E0404", expression.target.span, value=kind_of(target)))

    def _index(self, expression: ast.Statics, items: tuple[Result, ...]) -> Result:
        argument = expression.arguments[0] if len(expression.arguments) == 1 else None
        if argument is None or isinstance(argument, ast.NamedArgument | ast.Splat):
            raise SpecError(diagnose("E0306", expression.span, index="?", length=len(items)))
        index = arithmetic.whole(self.number(argument), argument.span)
        if not -len(items) <= index < len(items):
            raise SpecError(diagnose("E0306", argument.span, index=index, length=len(items)))
        return items[index]

    def member(self, expression: ast.Member) -> Result:
        """What a module calls a name: `nn.Mlp`."""
        target = self.evaluate(expression.target)
        if not isinstance(target, ModuleValue):
            place, helps = expression.target.span, ()
            if isinstance(target, Value):
                helps = ("a tensor has no methods: `x |> operator[...]`, or `operator[...](x)`",)
                here = written_here(expression.name.name)
                helps = (here, *helps) if here is not None else helps
            raise wrong_kind(place, quote(place.text), "a module", target, helps=helps)
        value = self.elaborator.module_value(target.module, expression.name.name)
        if value is None:
            near = nearest(expression.name.name, target.module.names)
            raise SpecError(
                diagnose(
                    "E0204",
                    expression.name.span,
                    module=target.module.source.module,
                    name=expression.name.name,
                    helps=(f"did you mean `{near}`?",) if near else (),
                )
            )
        if isinstance(value, Unknown):
            raise Poisoned
        return value

    def _apply(
        self, expression: ast.Apply, label: ast.Identifier | None, names: tuple[str, ...]
    ) -> Result:
        target = self.evaluate(expression.target)
        arguments: list[Result] = []
        spans: list[Span] = []
        keywords: dict[str, Value] = {}
        for argument in expression.arguments:
            match argument:
                case ast.NamedArgument():
                    if argument.name.name in keywords:
                        raise twice(expression.target.span.text, argument.name)
                    value = self.evaluate(argument.value)
                    if not isinstance(value, Value):
                        what, name = f"`{argument.name.name}`", expression.target.span.text
                        helps = (f"{_BRACKETS}: `{quote(name)[1:-1]}[{argument.name.name} = ...]`",)
                        place = argument.value.span
                        raise wrong_kind(place, what, "a tensor", value, helps=helps)
                    keywords[argument.name.name] = value
                case ast.Splat():
                    items = self.items(argument.value)
                    arguments += items
                    spans += [argument.span] * len(items)
                case _:
                    arguments.append(self.evaluate(argument))
                    spans.append(argument.span)
        if isinstance(target, Function) and target.name in functions.FUNCTIONS:
            result = functions.evaluate(target.name, tuple(arguments), expression.span)
            self.elaborator.budget.list(result, expression.span)
            return result
        if not isinstance(target, BlockValue | OperatorValue):
            raise SpecError(diagnose("E0404", expression.target.span, value=kind_of(target)))
        if label is not None:
            target = labelled(target, label)
        return self.apply(target, tuple(arguments), tuple(spans), expression.span, names, keywords)
