"""Builds one `Graph` node by node: applies shape rules, hands out slots, keeps track of loops."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from contextlib import contextmanager
from typing import Any

from linvit_dsl.errors import Label, Span, SpecError, diagnose
from linvit_dsl.graph import limits
from linvit_dsl.graph.ir import (
    Apply,
    Call,
    Carried,
    Graph,
    Initializer,
    Node,
    Repeat,
    Slot,
    Store,
    TensorType,
    Value,
    Weight,
)
from linvit_dsl.graph.size import at_batch
from linvit_dsl.ops import Attributes, Op


class GraphBuilder:
    """Collects the nodes of one block.

    `statement` is the statement being elaborated; every node records it.
    """

    def __init__(self, span: Span) -> None:
        self.statement = span
        self._nodes: list[Node] = []
        self._count = 0
        self._depth = 0
        self._shared = False
        self._slots: dict[str, tuple[Span, int]] = {}
        self._numbers: dict[tuple[str, Span], str] = {}
        self._last: dict[str, int] = {}

    @property
    def depth(self) -> int:
        """How many loops are open."""
        return self._depth

    @property
    def automatic(self) -> dict[str, str]:
        """The slots that nobody labelled, and the word that each is called by."""
        return {name: base for (base, _), name in self._numbers.items()}

    def slot(self, name: str, span: Span, *, labelled: bool, indexed: bool | None = None) -> Slot:
        """A fresh slot: `name`, or the next of `name` in a loop.

        An unlabelled name that is taken gets a number; a label may be written once only. `indexed`
        overrides whether a loop is open, for a layer bound outside the loop that applies it.

        Raises:
            SpecError: E0206, the label is taken.
        """
        if not labelled:
            name = self._numbered(name, span)
        indexed = self._depth > 0 if indexed is None else indexed
        first, count = self._slots.get(name, (span, 0))
        if self._shared and first == span and count:
            return Slot(name, count - 1 if indexed else None)
        if first != span or (count and not indexed):
            taken = Label(first, "first used here")
            raise SpecError(diagnose("E0206", span, secondary=(taken,), name=name))
        self._slots[name] = (span, count + 1)
        return Slot(name, count if indexed else None)

    def _numbered(self, base: str, span: Span) -> str:
        """The name of the unlabelled slot at `span`: the first of base, base2, base3, ... left."""
        if (base, span) not in self._numbers:
            name = base
            while name in self._slots:
                self._last[base] = self._last.get(base, 1) + 1
                name = f"{base}{self._last[base]}"
            self._numbers[base, span] = name
        return self._numbers[base, span]

    def apply(
        self,
        op: type[Op],
        attributes: Attributes,
        arguments: tuple[Value, ...],
        *,
        slot: Slot | None,
        span: Span,
        names: tuple[str, ...] = (),
        types: tuple[TensorType, ...] | None = None,
    ) -> tuple[Value, ...]:
        """Apply an operator and return its results, called `names` if given.

        `types` are those of the results, when the caller has worked them out already.

        Raises:
            OpProblem: The operator does not fit the arguments.
        """
        types = types or op.types(attributes, tuple(value.type for value in arguments))
        results = _values(types, span, names)
        self._add(Apply(op, attributes, arguments, results, slot, span, self.statement))
        return results

    def call(
        self,
        graph: Graph,
        arguments: tuple[Value, ...],
        *,
        slot: Slot | None,
        span: Span,
        names: tuple[str, ...] = (),
    ) -> tuple[Value, ...]:
        """Call a specialised block and return its results, lists flattened."""
        results = _values(tuple(value.type for value in graph.outputs), span, names)
        self._add(Call(graph, arguments, results, slot, span, self.statement))
        return results

    def store(
        self, name: str, type_: TensorType, initializer: Initializer, *, trained: bool, span: Span
    ) -> Value:
        """Declare a `param` or a `buffer`; its sizes are concrete."""
        slot = self.slot(name, span, labelled=True)
        weight = Weight(name, tuple(at_batch(size, 1) for size in type_.sizes), initializer)
        value = Value(type_, span, name)
        self._add(Store(slot, trained, weight, value, span, self.statement))
        return value

    def _add(self, node: Apply | Call | Store) -> None:
        """Append a node, before loops in loops have occupied the machine.

        Raises:
            SpecError: E0706, there are too many of them.
        """
        self._count += 1
        if self._count > limits.NODES:
            limit = f"{limits.NODES:,}"
            raise SpecError(diagnose("E0706", node.span, value=f"more than {limit}", limit=limit))
        self._nodes.append(node)

    @contextmanager
    def unrolled(self) -> Generator[None]:
        """Within, slots are indexed, as in a list comprehension."""
        self._depth += 1
        try:
            yield
        finally:
            self._depth -= 1

    @contextmanager
    def iteration(self, *, shared: bool = False) -> Generator[list[Node]]:
        """Collect the nodes of one iteration apart from the others.

        With `shared`, every iteration gets the slots of the first: one set of weights.
        """
        outer, self._nodes = self._nodes, []
        was_shared, self._shared = self._shared, self._shared or shared
        self._depth += 0 if shared else 1
        try:
            yield self._nodes
        finally:
            self._depth -= 0 if shared else 1
            self._nodes, self._shared = outer, was_shared

    def repeat(
        self, iterations: list[tuple[Node, ...]], carried: tuple[Carried, ...], span: Span
    ) -> None:
        """Add a loop whose iterations were collected."""
        if iterations:
            self._nodes.append(Repeat(tuple(iterations), carried, span, self.statement))

    def finish(
        self,
        *,
        name: str,
        module: str,
        kind: str,
        intrinsic: bool,
        statics: Mapping[str, Any],
        inputs: tuple[Value, ...],
        outputs: tuple[Value, ...],
        span: Span,
        doc: str = "",
        float32: bool = False,
    ) -> Graph:
        """The finished graph."""
        nodes = tuple(self._nodes)
        return Graph(
            name, module, kind, intrinsic, statics, inputs, outputs, nodes, span, doc, float32
        )


def _values(types: tuple[TensorType, ...], span: Span, names: tuple[str, ...]) -> tuple[Value, ...]:
    names = names if len(names) == len(types) else ("",) * len(types)
    return tuple(Value(type_, span, name) for type_, name in zip(types, names, strict=True))


def snake_case(name: str) -> str:
    """The label of a block that has none: `RippleAttention` -> `ripple_attention`."""
    out = ""
    for index, char in enumerate(name):
        if char.isupper() and index and not name[index - 1].isupper():
            out += "_"
        out += char.lower()
    return out
