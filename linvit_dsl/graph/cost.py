"""What a model costs before it exists: parameters, multiply-adds and activation memory, exactly.

The graph is executed symbolically once, in order, with a ledger of tensors: a tensor that several
operators keep for backward is counted once, where it is kept first, and a view is the tensor that
it looks at. Only products of matrices and convolutions are multiply-adds (MACs); 1 MAC = 2 FLOP.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

from linvit_dsl.errors import Span
from linvit_dsl.graph.alike import periods
from linvit_dsl.graph.ir import Apply, Call, Dim, Graph, Slot, Store, TensorType, Value
from linvit_dsl.graph.size import at_batch

ELEMENT_BYTES = {"float32": 4, "int64": 8, "bool": 1}
Shape = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class CostNode:
    """One part of a model: an operator, a block, or a declared tensor.

    Every number is a total over the `count` alike executions that the row stands for, so that the
    rows below a row add up to it.

    Args:
        path: Slots from the model down, as in the state dict; `layers.0-11.mlp` for twelve layers.
            A part without weights goes by its name, numbered where that repeats.
        name: The block or operator.
        params: Trained numbers; those of a shared part count where it is used first.
        macs: Multiply-adds.
        activation_bytes: What autograd keeps for backward, counted where it is kept first.
        outputs: Shapes of the results of one execution.
        count: How many alike executions in a row.
        line: `file:line` of the application.
        children: The parts of a block.
    """

    path: str
    name: str
    params: int
    macs: int
    activation_bytes: int
    outputs: tuple[Shape, ...]
    count: int
    line: str
    children: tuple[CostNode, ...] = ()

    @property
    def flops(self) -> int:
        """Floating-point operations: 2 per multiply-add."""
        return 2 * self.macs

    def walk(self) -> Iterator[CostNode]:
        """This row and all below it."""
        yield self
        for child in self.children:
            yield from child.walk()

    def to_json(self) -> dict[str, Any]:
        """The row as `linvit cost --format json` prints it."""
        return {
            "path": self.path,
            "name": self.name,
            "params": self.params,
            "macs": self.macs,
            "flops": self.flops,
            "activation_bytes": self.activation_bytes,
            "outputs": [list(shape) for shape in self.outputs],
            "count": self.count,
            "line": self.line,
            "children": [child.to_json() for child in self.children],
        }


@dataclass(frozen=True, slots=True)
class Cost:
    """The costs of a model or block at one batch size, and the tree of its parts."""

    model: str
    batch: int
    params: int
    macs: int
    activation_bytes: int
    tree: tuple[CostNode, ...]

    @property
    def flops(self) -> int:
        """Floating-point operations: 2 per multiply-add."""
        return 2 * self.macs

    def walk(self) -> Iterator[CostNode]:
        """All rows, parents first."""
        for node in self.tree:
            yield from node.walk()

    def at(self, path: str) -> CostNode:
        """The first row of that path.

        Raises:
            KeyError: There is none.
        """
        for node in self.walk():
            if node.path == path:
                return node
        raise KeyError(path)

    def to_json(self) -> dict[str, Any]:
        """The whole as `linvit cost --format json` prints it."""
        return {
            "model": self.model,
            "params": self.params,
            "macs": self.macs,
            "flops": self.flops,
            "activation_bytes": self.activation_bytes,
            "tree": [node.to_json() for node in self.tree],
        }


def cost(graph: Graph, batch: int = 1) -> Cost:
    """The exact cost of one execution of `graph`, and of one backward's memory, at this batch size.

    Raises:
        ValueError: `batch` is below 1.
    """
    if batch < 1:
        raise ValueError(f"a batch holds at least 1 image, not {batch}")
    ledger = _Ledger(batch)
    tensors = [ledger.tensor(value.type) for value in graph.inputs]
    parts, _ = ledger.execute(graph, tensors, "", keep=True)
    tree = _rows([[part] for part in parts], "")
    return Cost(
        graph.name,
        batch,
        sum(row.params for row in tree),
        sum(row.macs for row in tree),
        sum(row.activation_bytes for row in tree),
        tree,
    )


@dataclass(slots=True, eq=False)
class _Tensor:
    """Memory that values share. `kept`: already paid for, or no activation at all."""

    size: int
    kept: bool = False


@dataclass(slots=True)
class _Part:
    """One execution of one node. Parts of equal `key` differ at most in what was paid before."""

    slot: Slot | None
    name: str
    key: int
    params: int
    macs: int
    activation_bytes: int
    outputs: tuple[Shape, ...]
    span: Span
    children: list[_Part]


@dataclass(frozen=True, slots=True)
class _Facts:
    """What holds for every execution of an operator's node: worked out once."""

    alias: bool
    params: int
    macs: int
    outputs: tuple[Shape, ...]
    result_bytes: tuple[int, ...]
    kept_arguments: tuple[int, ...]
    kept_results: tuple[int, ...]
    kept_bytes: int


@dataclass(slots=True)
class _Ledger:
    """Executes graphs, remembering which weights and which tensors are already counted."""

    batch: int
    facts: dict[Apply, _Facts] = field(default_factory=dict)
    states: dict[Graph, frozenset[Value]] = field(default_factory=dict)
    shapes: dict[TensorType, Shape] = field(default_factory=dict)
    keys: dict[tuple[object, ...], int] = field(default_factory=dict)
    counted: set[str] = field(default_factory=set)

    def tensor(self, type_: TensorType) -> _Tensor:
        return _Tensor(_bytes(self.shape(type_), type_.dtype))

    def execute(
        self, graph: Graph, arguments: Sequence[_Tensor], path: str, *, keep: bool
    ) -> tuple[list[_Part], list[_Tensor]]:
        """The parts of one execution, and its results. Nothing is kept inside a kernel."""
        memory = dict(zip(graph.inputs, arguments, strict=True))
        parts: list[_Part] = []
        for node in graph.walk():
            if isinstance(node, Store):
                parts.append(self._store(node, memory, path))
            elif isinstance(node, Call):
                parts.append(self._call(node, memory, path, keep=keep))
            else:
                parts.append(self._apply(node, memory, path, keep=keep))
        return parts, [memory[value] for value in graph.outputs]

    def _store(self, node: Store, memory: dict[Value, _Tensor], path: str) -> _Part:
        memory[node.result] = _Tensor(0, kept=True)
        params = self._once(path, node.slot, node.weight.elements) if node.trained else 0
        name = "param" if node.trained else "buffer"
        shapes = (node.weight.shape,)
        key = self._key(name, node.slot.name, shapes)
        return _Part(node.slot, name, key, params, 0, 0, shapes, node.span, [])

    def _apply(self, node: Apply, memory: dict[Value, _Tensor], path: str, *, keep: bool) -> _Part:
        facts = self.facts.get(node)
        if facts is None:
            facts = self.facts[node] = self._facts(node)
        arguments = [memory[value] for value in node.arguments]
        if facts.alias:
            results = [arguments[0]] * len(node.results)
        else:
            results = [_Tensor(size) for size in facts.result_bytes]
        memory.update(zip(node.results, results, strict=True))
        activation = 0
        if keep:
            kept = [arguments[index] for index in facts.kept_arguments]
            kept += [results[index] for index in facts.kept_results]
            activation = facts.kept_bytes + _pay(kept)
        params = self._once(path, node.slot, facts.params)
        slot = node.slot and node.slot.name
        key = self._key(node.op.name, slot, facts.outputs, facts.macs, facts.params)
        return _Part(
            node.slot,
            node.op.name,
            key,
            params,
            facts.macs,
            activation,
            facts.outputs,
            node.span,
            [],
        )

    def _call(self, node: Call, memory: dict[Value, _Tensor], path: str, *, keep: bool) -> _Part:
        graph = node.graph
        arguments = [memory[value] for value in node.arguments]
        activation = 0
        if keep and graph.intrinsic:
            state = [self.tensor(value.type) for value in self._state(graph)]
            activation = _pay([*arguments, *state])
        inside = _joined(path, str(node.slot)) if node.slot else path
        inner, results = self.execute(graph, arguments, inside, keep=keep and not graph.intrinsic)
        memory.update(zip(node.results, results, strict=True))
        outputs = tuple(self.shape(value.type) for value in node.results)
        slot = node.slot and node.slot.name
        return _Part(
            node.slot,
            graph.name,
            self._key(graph.name, slot, outputs, *(part.key for part in inner)),
            sum(part.params for part in inner),
            sum(part.macs for part in inner),
            activation + sum(part.activation_bytes for part in inner),
            outputs,
            node.span,
            inner,
        )

    def _facts(self, node: Apply) -> _Facts:
        arguments = tuple(self._at_batch(type_) for type_ in node.argument_types)
        results = tuple(self._at_batch(type_) for type_ in node.result_types)
        saved = node.op.saved(node.attributes, arguments)
        outputs = tuple(self.shape(type_) for type_ in results)
        return _Facts(
            node.op.view or node.op.identity(node.attributes, arguments),
            sum(weight.elements for weight in node.weights),
            at_batch(node.op.macs(node.attributes, arguments, results), self.batch),
            outputs,
            tuple(_bytes(shape, t.dtype) for shape, t in zip(outputs, results, strict=True)),
            saved.arguments,
            saved.results,
            ELEMENT_BYTES["float32"] * at_batch(saved.elements, self.batch),
        )

    def _state(self, graph: Graph) -> frozenset[Value]:
        """What the kernel of an intrinsic keeps beside its arguments: the state that queries read.

        It is what the body computes without the first argument (the queries) and hands to
        something that sees them. Everything else is computed again in backward.
        """
        if graph not in self.states:
            reached, free = {graph.inputs[0]}, set(graph.inputs)
            state: set[Value] = set()
            for node in graph.walk():
                if isinstance(node, Store):
                    free.add(node.result)
                elif not reached.isdisjoint(node.arguments):
                    state.update(set(node.arguments) - reached - free)
                    reached.update(node.results)
            self.states[graph] = frozenset(state)
        return self.states[graph]

    def _once(self, path: str, slot: Slot | None, params: int) -> int:
        if not params or slot is None:
            return 0
        owner = _joined(path, str(slot))
        if owner in self.counted:
            return 0
        self.counted.add(owner)
        return params

    def _key(self, *parts: object) -> int:
        return self.keys.setdefault(parts, len(self.keys))

    def _at_batch(self, type_: TensorType) -> TensorType:
        return TensorType(tuple(Dim(size) for size in self.shape(type_)), type_.dtype)

    def shape(self, type_: TensorType) -> Shape:
        """The sizes at the batch of the ledger."""
        shape = self.shapes.get(type_)
        if shape is None:
            shape = tuple(at_batch(size, self.batch) for size in type_.sizes)
            self.shapes[type_] = shape
        return shape


def _pay(tensors: Sequence[_Tensor]) -> int:
    total = 0
    for tensor in tensors:
        if not tensor.kept:
            tensor.kept = True
            total += tensor.size
    return total


def _bytes(shape: Shape, dtype: str) -> int:
    count = ELEMENT_BYTES[dtype]
    for size in shape:
        count *= size
    return count


def _joined(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def _rows(columns: list[list[_Part]], path: str) -> tuple[CostNode, ...]:
    """Rows of the parts of one block. A column holds the same part of every alike execution."""
    rows: list[CostNode] = []
    used: dict[str, int] = {}
    for start, period, count in periods([column[0].key for column in columns]):
        for first in range(start, start + period):
            merged = columns[first : first + period * count : period]
            rows.append(_row(merged, path, used))
    return tuple(rows)


def _row(merged: list[list[_Part]], path: str, used: dict[str, int]) -> CostNode:
    part, last = merged[0][0], merged[-1][0]
    members = list(chain.from_iterable(merged))
    if part.slot is None:
        used[part.name] = used.get(part.name, 0) + 1
        label = part.name if used[part.name] == 1 else f"{part.name}{used[part.name]}"
    elif last.slot is None or part.slot == last.slot:
        label = str(part.slot)
    else:
        label = f"{part.slot}-{last.slot.index}"
    own = _joined(path, label)
    inner = [list(column) for column in zip(*(m.children for m in members), strict=True)]
    return CostNode(
        own,
        part.name,
        sum(member.params for member in members),
        sum(member.macs for member in members),
        sum(member.activation_bytes for member in members),
        part.outputs,
        len(merged),
        f"{part.span.source.name}:{part.span.line}",
        _rows(inner, own),
    )
