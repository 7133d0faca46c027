"""Elaboration: a block with its static arguments becomes a typed graph, or a list of errors.

Takes: a block of a program whose names are resolved, and tensors. Gives: its graph.
Non-goals: optimising, and anything that needs torch.
Errors: E03xx, E04xx and E07xx, each with the chain of origins and the path of blocks.

Every application of a block is specialised for its static arguments and the shapes of its
tensors, once per combination. A statement that fails is reported, and binds its names to
`UNKNOWN`, whose use stays silent, so that one mistake gives one error and the rest of the block is
still checked.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from linvit_dsl.check import lints
from linvit_dsl.check.binding import bind_statics
from linvit_dsl.check.body import Body
from linvit_dsl.check.budget import Budget
from linvit_dsl.check.builder import GraphBuilder, snake_case
from linvit_dsl.check.declarations import not_a_block
from linvit_dsl.check.defaults import Defaults
from linvit_dsl.check.expectations import Costs, judge
from linvit_dsl.check.expressions import Expressions
from linvit_dsl.check.findings import Findings, Stopped
from linvit_dsl.check.operators import shared_slot
from linvit_dsl.check.parameters import Counted
from linvit_dsl.check.program import Module, Program
from linvit_dsl.check.provenance import Frame, named
from linvit_dsl.check.shapes import ShapeMatch, declared_type
from linvit_dsl.check.values import (
    UNKNOWN,
    BlockValue,
    Number,
    Poisoned,
    Result,
    Static,
    Unknown,
    key_of,
    kind_of,
    printable,
    tensors_in,
)
from linvit_dsl.errors import Label, Span, SpecError, diagnose
from linvit_dsl.graph import limits
from linvit_dsl.graph.ir import Graph, Slot, Value
from linvit_dsl.syntax import ast


@dataclass(frozen=True, slots=True)
class Specialised:
    """A block's graph and the structure of its results (a tensor, or a list of tensors, each)."""

    graph: Graph
    results: tuple[Value | tuple[Value, ...], ...]


@dataclass(frozen=True, slots=True)
class _Outcome:
    """What came of elaborating a block under the defaults of some moment.

    Args:
        special: None if its body has errors.
        operators: Names of all operators that were applied in it, blocks inside included.
        key: That of the defaults which were in force for these operators.
        tainted: Whether there was an error in it, blocks inside included.
    """

    special: Specialised | None
    operators: frozenset[str]
    key: object
    tainted: bool


class Elaborator(Findings):
    """Specialises blocks, collects findings. One per program and question.

    `defaults` are those in force where it stands, `operators` the names of the operators that were
    applied so far in the block there. `counted` are the parameters of graphs, as far as known.
    """

    def __init__(self, program: Program) -> None:
        super().__init__()
        self.program = program
        self.flagged = program.flagged
        self.budget = Budget()
        self.defaults = Defaults()
        self.operators: set[str] = set()
        self.counted: Counted = {}
        self._costs = Costs()
        self._cache: dict[object, list[_Outcome]] = {}
        self._constants: dict[int, dict[str, Static | Unknown]] = {}

    def applied(self, declaration: ast.Block) -> bool:
        """Whether anything has led to this block."""
        return any(isinstance(key, tuple) and key[0] == id(declaration) for key in self._cache)

    def module_value(self, module: Module, name: str) -> Static | Unknown | None:
        """What the top level of a file calls `name`."""
        if name in module.names:
            return module.names[name]
        if name in module.borrowed:
            return self.module_value(module.borrowed[name], name)
        if name not in module.constants:
            return None
        return self.constants(module)[name]

    def constants(self, module: Module) -> dict[str, Static | Unknown]:
        """The constants of a file; all are evaluated when the first is used.

        Each stands behind those that it is made of. One that is used before it has a value is part
        of a circle, which was reported with the names.
        """
        if id(module) not in self._constants:
            values: dict[str, Static | Unknown] = dict.fromkeys(module.constants, UNKNOWN)
            self._constants[id(module)] = values
            for name, item in module.constants.items():
                values[name] = self._constant(module, item)
        return self._constants[id(module)]

    def _constant(self, module: Module, item: ast.Constant) -> Static | Unknown:
        try:
            value = Expressions(self, module).evaluate(item.value)
        except SpecError as error:
            self.reject(error)
            return UNKNOWN
        except Poisoned:
            return UNKNOWN
        if isinstance(value, Number):
            how = f"from `{item.span.text}`"
            return replace(value, origin=named(item.name.name, value, how, item.span))
        return UNKNOWN if isinstance(value, Value) else value

    def call(
        self,
        scope: Expressions,
        block: BlockValue,
        arguments: tuple[Result, ...],
        spans: tuple[Span, ...],
        span: Span,
        names: tuple[str, ...],
    ) -> Result:
        """Apply a block: specialise it, add the call to the caller's graph, return its results."""
        builder = scope.builder
        if builder is None:
            raise SpecError(diagnose("E0405", span, name=block.name))
        inner = self.unalias(block, span)
        special = self.specialise(inner, arguments, spans, span)
        graph = special.graph
        slot: Slot | None = None
        if graph.stateful and block.layer is not None:
            slot = shared_slot(builder, block, span, weights=graph)
        elif graph.stateful and block.label is not None:
            slot = builder.slot(block.label.name, block.label.span, labelled=True)
        elif graph.stateful:
            slot = builder.slot(snake_case(block.name), span, labelled=False)
        flat = tuple(tensor for value in arguments for tensor in tensors_in(value))
        results = list(builder.call(graph, flat, slot=slot, span=span, names=names))
        shaped = tuple(
            results.pop(0) if isinstance(part, Value) else tuple(results.pop(0) for _ in part)
            for part in special.results
        )
        if not shaped:
            raise Poisoned  # the parser has reported a head without a result
        first, *others = shaped
        return shaped if others else first

    def unalias(self, block: BlockValue, span: Span) -> BlockValue:
        """The block behind an alias: its own statics bound, all others passed on."""
        for _ in range(limits.NESTING):
            if isinstance(block.declaration, ast.Block):
                return block
            block = self.behind(block, span)
        raise SpecError(diagnose("E0708", span, what="aliases", limit=limits.NESTING))

    def behind(self, block: BlockValue, span: Span) -> BlockValue:
        """What an alias names, with its static arguments.

        Raises:
            SpecError: E0408 no block, and those of its own static parameters.
        """
        declaration = block.declaration
        if isinstance(declaration, ast.Block):
            raise TypeError(declaration)
        own = {static.name.name for static in declaration.statics}
        scope = Expressions(self, block.module)
        statics = {name: v for name, v in block.statics.items() if name in own}
        bind_statics(scope, declaration.statics, statics, block, span)
        inner = scope.applicable(declaration.value)
        if not isinstance(inner, BlockValue):
            raise SpecError(not_a_block(declaration, kind_of(inner)))
        passed = {name: v for name, v in block.statics.items() if name not in own}
        return replace(
            inner,
            statics={**inner.statics, **passed},
            parameter=block.parameter,
            offered=block.offered,
            places={**inner.places, **{k: v for k, v in block.places.items() if k in passed}},
        )

    def specialise(
        self, block: BlockValue, arguments: tuple[Result, ...], spans: tuple[Span, ...], span: Span
    ) -> Specialised:
        """The graph of a block for these arguments, elaborated once per combination.

        Raises:
            SpecError: The arguments do not fit its declaration.
            Poisoned: Its body has errors, and what it returns is not known without it.
        """
        declaration = block.declaration
        if isinstance(declaration, ast.Alias):
            raise TypeError(declaration)
        if len(arguments) != len(declaration.parameters):
            raise SpecError(
                diagnose(
                    "E0317",
                    span,
                    secondary=(Label(declaration.head, "declared here"),),
                    name=block.name,
                    expected=len(declaration.parameters),
                    given=len(arguments),
                )
            )
        if len(self.frames) >= limits.NESTING:
            raise SpecError(diagnose("E0708", span, what="blocks", limit=limits.NESTING))
        builder = GraphBuilder(declaration.head)
        scope = Expressions(self, block.module, builder, declaration.lost)
        self._bind_arguments(scope, block, declaration, arguments, spans, span)
        outcomes = self._cache.setdefault(self._key(declaration, scope, arguments), [])
        known = (known for known in outcomes if self.defaults.key(known.operators) == known.key)
        outcome = next(known, None)
        if outcome is None:
            # What it would find of itself while it is elaborated.
            outcomes.append(_Outcome(None, frozenset(), self.defaults.key(()), tainted=True))
            self.frames.append(Frame(block.name, declaration.keyword, block.parameter, span))
            before = self.defaults, self.operators, self.tainted
            self.operators, self.tainted = set(), False
            try:
                made = self._run(scope, builder, block, declaration, arguments)
                operators, tainted = frozenset(self.operators), self.tainted or made is None
            except Stopped:
                outcomes.pop()
                raise
            finally:
                self.frames.pop()
                self.defaults, self.operators, self.tainted = before
            outcome = _Outcome(made, operators, self.defaults.key(operators), tainted)
            outcomes[-1] = outcome
        self.operators |= outcome.operators
        self.tainted = self.tainted or outcome.tainted
        special = outcome.special
        return special if special is not None else self._assumed(scope, builder, block, declaration)

    def _assumed(
        self,
        scope: Expressions,
        builder: GraphBuilder,
        block: BlockValue,
        declaration: ast.Block,
    ) -> Specialised:
        """A stand-in for a block whose body has errors: what it declares to return.

        With it the caller is still checked. No graph with a stand-in leaves the elaborator, since
        the errors have been reported.

        Raises:
            Poisoned: The declared results depend on what failed.
        """
        results: list[Value | tuple[Value, ...]] = []
        try:
            for shape in declaration.results:
                if not isinstance(shape, ast.TensorShape):
                    raise Poisoned
                results.append(Value(declared_type(scope, shape), shape.span))
        except SpecError:
            raise Poisoned from None
        graph = builder.finish(
            name=block.name,
            module=block.module.source.module,
            kind=declaration.keyword,
            intrinsic=False,
            statics={},
            inputs=(),
            outputs=tuple(tensor for part in results for tensor in tensors_in(part)),
            span=declaration.head,
        )
        return Specialised(graph, tuple(results))

    def _bind_arguments(
        self,
        scope: Expressions,
        block: BlockValue,
        declaration: ast.Block,
        arguments: tuple[Result, ...],
        spans: tuple[Span, ...],
        span: Span,
    ) -> None:
        """Shapes bind names, statics bind the rest, then every axis is compared."""
        triples = list(zip(declaration.parameters, arguments, spans, strict=True))
        for parameter, value, place in triples:
            ShapeMatch(scope, final=False).match(parameter.shape, value, parameter.name.name, place)
        bind_statics(scope, declaration.statics, dict(block.statics), block, span)
        for parameter, value, place in triples:
            ShapeMatch(scope, final=True).match(parameter.shape, value, parameter.name.name, place)

    def _key(
        self, declaration: ast.Block, scope: Expressions, arguments: tuple[Result, ...]
    ) -> object:
        statics = tuple(
            key_of(value)
            for static in declaration.statics
            if not isinstance(value := scope.names[static.name.name], Unknown)
        )
        shapes = tuple(tuple(t.type for t in tensors_in(value)) for value in arguments)
        return (id(declaration), statics, shapes)

    def _run(
        self,
        scope: Expressions,
        builder: GraphBuilder,
        block: BlockValue,
        declaration: ast.Block,
        arguments: tuple[Result, ...],
    ) -> Specialised | None:
        """Elaborate the body; None if it has errors."""
        inputs: list[Value] = []
        statics = {
            static.name.name: printable(value)
            for static in declaration.statics
            if not isinstance(value := scope.names[static.name.name], Unknown)
        }
        for parameter, value in zip(declaration.parameters, arguments, strict=True):
            own = _renamed(value, parameter)
            scope.names[parameter.name.name] = own
            inputs += tensors_in(own)
        body = Body(scope)
        results = body.run(declaration)
        if results is None:
            return None
        graph = builder.finish(
            name=block.name,
            module=block.module.source.module,
            kind=declaration.keyword,
            intrinsic=declaration.intrinsic,
            float32=declaration.float32,
            statics=statics,
            inputs=tuple(inputs),
            outputs=tuple(tensor for part in results for tensor in tensors_in(part)),
            span=declaration.head,
            doc=declaration.doc,
        )
        if not self.quiet:
            self.report(*lints.of_block(graph, builder.automatic))
        for statement, names in body.expected:
            scope.names = names
            self.judge(scope, statement, self._owner(declaration), graph)
        return Specialised(graph, results)

    def _owner(self, declaration: ast.Block) -> str:
        """Whose cost a statement in this body speaks of: a model goes by the name of its alias."""
        of_model = declaration.keyword == "model" and len(self.frames) <= len(("alias", "model"))
        return self.frames[0].name if of_model else declaration.name.name

    def judge(
        self, scope: Expressions, said: ast.Expect | ast.Expectation, model: str, graph: Graph
    ) -> None:
        """Record what is said about the cost of `graph`, unless there are errors in it."""
        if self.tainted:
            return
        try:
            expectation, found = judge(scope, said, model, graph, self._costs)
        except SpecError as error:
            self.reject(error)
        except Poisoned:
            self.tainted = True
        else:
            self.expectations.append(expectation)
            if found is not None:
                self.report(found)


def _renamed(value: Result, parameter: ast.TensorParameter) -> Value | tuple[Value, ...]:
    """The block's own values for its arguments, under the names of its parameters."""
    name = parameter.name.name
    if isinstance(value, Value):
        return Value(value.type, parameter.span, name)
    flat = tensors_in(value)
    return tuple(Value(t.type, parameter.span, f"{name}_{i}") for i, t in enumerate(flat))
