"""What one execution of a graph does to weights and tensors: the bookkeeping behind `cost`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from linvit_dsl.errors import Span
from linvit_dsl.graph.intrinsics import kernel_feature_map
from linvit_dsl.graph.ir import Apply, Call, Dim, Graph, Slot, Store, TensorType, Value
from linvit_dsl.graph.size import at_batch

ELEMENT_BYTES = {"float32": 4, "int64": 8, "bool": 1}
Shape = tuple[int, ...]


@dataclass(slots=True, eq=False)
class Memory:
    """A piece of memory: its size in bytes, and whether it is paid for, or no activation at all."""

    size: int
    kept: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Tensor:
    """A value, and the memory that it shares with others.

    Args:
        memory: Where it lies.
        heads_last: Whether it lies there as [.., n, h, c] though its shape is [.., h, n, c], as
            torch's fused attention leaves its result: merging the heads then moves nothing.
    """

    memory: Memory
    heads_last: bool = False


@dataclass(slots=True)
class Part:
    """One execution of one node. Parts of equal `key` differ at most in what was paid before."""

    slot: Slot | None
    name: str
    key: int
    params: int
    macs: int
    activation_bytes: int
    outputs: tuple[Shape, ...]
    span: Span
    children: list[Part]


@dataclass(frozen=True, slots=True)
class _Facts:
    """What holds for every execution of an operator's node: worked out once.

    `alias`: the index of the argument whose memory its results share; `unchanged`: whether they are
    that argument. `kept_bytes` come on top of the arguments and results that it keeps.
    """

    alias: int | None
    unchanged: bool
    merges_heads: bool
    params: int
    macs: int
    outputs: tuple[Shape, ...]
    result_bytes: tuple[int, ...]
    kept_arguments: tuple[int, ...]
    kept_results: tuple[int, ...]
    kept_bytes: int


@dataclass(slots=True)
class Ledger:
    """Executes graphs, remembering which weights and which tensors are already counted."""

    batch: int
    facts: dict[Apply, _Facts] = field(default_factory=dict)
    states: dict[Graph, frozenset[Value]] = field(default_factory=dict)
    shapes: dict[TensorType, Shape] = field(default_factory=dict)
    keys: dict[tuple[object, ...], int] = field(default_factory=dict)
    counted: set[str] = field(default_factory=set)

    def tensor(self, type_: TensorType) -> Tensor:
        """New memory for a value of that type."""
        return Tensor(Memory(_bytes(self.shape(type_), type_.dtype)))

    def execute(
        self, graph: Graph, arguments: Sequence[Tensor], path: str, *, keep: bool
    ) -> tuple[list[Part], list[Tensor]]:
        """The parts of one execution, and its results. Nothing is kept inside a kernel."""
        memory = dict(zip(graph.inputs, arguments, strict=True))
        parts: list[Part] = []
        for node in graph.walk():
            if isinstance(node, Store):
                parts.append(self._store(node, memory, path))
            elif isinstance(node, Call):
                parts.append(self._call(node, memory, path, keep=keep))
            else:
                parts.append(self._apply(node, memory, path, keep=keep))
        return parts, [memory[value] for value in graph.outputs]

    def _store(self, node: Store, memory: dict[Value, Tensor], path: str) -> Part:
        memory[node.result] = Tensor(Memory(0, kept=True))
        params = self._once(path, node.slot, node.weight.elements) if node.trained else 0
        name = "param" if node.trained else "buffer"
        shapes = (node.weight.shape,)
        key = self._key(name, node.slot.name, shapes)
        return Part(node.slot, name, key, params, 0, 0, shapes, node.span, [])

    def _apply(self, node: Apply, memory: dict[Value, Tensor], path: str, *, keep: bool) -> Part:
        facts = self.facts.get(node)
        if facts is None:
            facts = self.facts[node] = self._facts(node)
        arguments = [memory[value] for value in node.arguments]
        if facts.alias is not None:
            seen = arguments[facts.alias]
            results = [seen if facts.unchanged else Tensor(seen.memory)] * len(node.results)
        elif facts.merges_heads and arguments[0].heads_last:
            results = [arguments[0]]
        else:
            fused = node.op.family == "softmax_attention"
            results = [Tensor(Memory(size), heads_last=fused) for size in facts.result_bytes]
        memory.update(zip(node.results, results, strict=True))
        activation = 0
        if keep:
            kept = [arguments[index] for index in facts.kept_arguments]
            kept += [results[index] for index in facts.kept_results]
            activation = facts.kept_bytes + _pay(kept)
        params = self._once(path, node.slot, facts.params)
        slot = node.slot and node.slot.name
        key = self._key(node.op.name, slot, facts.outputs, facts.macs, facts.params)
        return Part(
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

    def _call(self, node: Call, memory: dict[Value, Tensor], path: str, *, keep: bool) -> Part:
        graph = node.graph
        arguments = [memory[value] for value in node.arguments]
        activation = 0
        kernel = kernel_feature_map(graph) is not None
        if keep and kernel:
            state = [self.tensor(value.type) for value in self._state(graph)]
            activation = _pay([*arguments, *state])
        inside = joined(path, str(node.slot)) if node.slot else path
        inner, results = self.execute(graph, arguments, inside, keep=keep and not kernel)
        memory.update(zip(node.results, results, strict=True))
        outputs = tuple(self.shape(value.type) for value in node.results)
        slot = node.slot and node.slot.name
        return Part(
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
        # Of the symbolic sizes: a batch of 1 must not turn a product of matrices into another sum.
        macs = node.op.macs(node.attributes, node.argument_types, node.result_types)
        return _Facts(
            alias=_alias(node),
            unchanged=node.op.identity(node.attributes, node.argument_types),
            merges_heads=node.op.name == "rearrange" and _merges_heads(arguments[0], results[0]),
            params=node.num_trained,
            macs=at_batch(macs, self.batch),
            outputs=outputs,
            result_bytes=tuple(map(_bytes, outputs, (type_.dtype for type_ in results))),
            kept_arguments=saved.arguments,
            kept_results=saved.results,
            kept_bytes=ELEMENT_BYTES["float32"] * at_batch(saved.elements, self.batch),
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
        owner = joined(path, str(slot))
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


def _pay(tensors: Sequence[Tensor]) -> int:
    total = 0
    for tensor in tensors:
        if not tensor.memory.kept:
            tensor.memory.kept = True
            total += tensor.memory.size
    return total


def _alias(node: Apply) -> int | None:
    """Which argument the results of an operator are, if they need no memory of their own."""
    types = node.argument_types
    if node.op.view or node.op.identity(node.attributes, types):
        return 0
    if node.op.name == "rearrange":
        return None if _joins_axes(node) else 0
    if node.op.name == "concat":
        full = [index for index, type_ in enumerate(types) if 0 not in type_.sizes]
        return full[0] if len(full) == 1 else None
    return None


def _joins_axes(node: Apply) -> bool:
    """Whether a pattern joins axes: `-> b n (h c)`. Splitting and moving them moves no numbers."""
    return "(" in str(dict(node.attributes)["pattern"]).partition("->")[2]


def _merges_heads(before: TensorType, after: TensorType) -> bool:
    """Whether the shapes are those of [.., h, n, c] -> [.., n, h * c]."""
    if len(before.dims) < 3:
        return False
    *batch, heads, tokens, width = before.sizes
    return after.sizes == (*batch, tokens, heads * width)


def _bytes(shape: Shape, dtype: str) -> int:
    count = ELEMENT_BYTES[dtype]
    for size in shape:
        count *= size
    return count


def joined(path: str, name: str) -> str:
    """`path.name`, or `name` at the top."""
    return f"{path}.{name}" if path else name
