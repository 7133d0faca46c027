"""What becomes one class or function: specialised graphs that differ in hyperparameters at most.

The elaborator gives one graph per block, static arguments and input shapes, drop rates included.
Most of them say the same thing in Python. Graphs are one `Unit` when the code of every node is the
same text, where a hyperparameter counts as a hole.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass, field

from linvit_codegen.intrinsics import Kernels, kernel_call
from linvit_codegen.joint import members_of, slots_of, slotted
from linvit_dsl.graph.ir import Apply, Call, Graph, Node, Repeat, Slot, Store, TensorType, Value
from linvit_dsl.ops.code import Code
from linvit_dsl.ops.initializers import redraw_period, stored

Key = Hashable
BATCH = Code("batch")
HOLE = Code("hole")


@dataclass(eq=False, slots=True)
class Unit:
    """Graphs that share one class or function; the first stands for all."""

    graphs: list[Graph] = field(default_factory=list)

    @property
    def graph(self) -> Graph:
        """The member that stands for all."""
        return self.graphs[0]


class Units:
    """All units of a model, callees first.

    Args:
        top: The model.
        kernels: Whether intrinsic blocks are replaced by kernel calls; those are no units.
    """

    def __init__(self, top: Graph, kernels: Kernels) -> None:
        self.kernels: Kernels = kernels
        self._of: dict[Graph, Unit] = {}
        self._by_key: dict[Key, Unit] = {}
        self._trained: dict[Graph, int] = {}
        self._collect(top)

    def __iter__(self) -> Iterator[Unit]:
        return iter(self._by_key.values())

    def __getitem__(self, graph: Graph) -> Unit:
        return self._of[graph]

    def _collect(self, graph: Graph) -> None:
        if graph in self._of:
            return
        for node in graph.walk():
            if isinstance(node, Call) and not members_of(node) and not self.is_kernel(node):
                self._collect(node.graph)
        unit = self._by_key.setdefault(self._graph_key(graph), Unit())
        unit.graphs.append(graph)
        self._of[graph] = unit

    def is_kernel(self, node: Call) -> bool:
        """Whether a kernel computes this call."""
        return kernel_call(node.graph, (HOLE,) * len(node.arguments), self.kernels) is not None

    def num_trained(self, graph: Graph) -> int:
        """How many trained numbers a block holds; those of a shared part count once."""
        if graph not in self._trained:
            total, seen = 0, set[Slot]()
            for node in slotted(graph.walk()):
                if node.slot is None or node.slot in seen:
                    continue
                seen.add(node.slot)
                if isinstance(node, Call):
                    total += self.num_trained(node.graph)
                elif isinstance(node, Apply):
                    total += node.num_trained
                else:
                    total += node.weight.elements if node.trained else 0
            self._trained[graph] = total
        return self._trained[graph]

    def _graph_key(self, graph: Graph) -> Key:
        numbers: dict[Value, int] = {}

        def reference(value: Value) -> str:
            return f"v{numbers.setdefault(value, len(numbers))}"

        inputs = tuple((reference(value), value.name) for value in graph.inputs)
        body = tuple(self.node_key(node, reference, lambda slot: slot) for node in graph.nodes)
        outputs = tuple(map(reference, graph.outputs))
        place = (graph.qualified_name, graph.kind, graph.span.source.name, graph.span.start)
        return (place, inputs, body, outputs)

    def node_key(
        self,
        node: Node,
        reference: Callable[[Value], str],
        place: Callable[[Slot], Key],
    ) -> Key:
        """Everything about a node that its Python depends on, hyperparameters left out."""
        if isinstance(node, Repeat):
            iterations = tuple(
                tuple(self.node_key(inner, reference, place) for inner in iteration)
                for iteration in node.iterations
            )
            carried = tuple((c.name, tuple(map(reference, c.values))) for c in node.carried)
            return ("repeat", iterations, carried)
        where = (node.slot and place(node.slot), node.statement.start)
        if isinstance(node, Store):
            start = (store_code(node).text, redraw_period(node.weight.initializer))
            return ("store", where, node.trained, start, reference(node.result))
        arguments = tuple(Code(reference(value)) for value in node.arguments)
        results = tuple((reference(value), value.name) for value in node.results)
        if isinstance(node, Apply):
            module = module_code(node, dict.fromkeys(node.op.hyper, HOLE))
            text = apply_code(node, arguments, node.argument_types, Code("module"), BATCH).text
            return ("apply", where, node.op.name, module and module.text, text, results)
        if members := members_of(node):
            slots = tuple(place(slot) for slot in slots_of(node))
            modules = tuple(module_code(member, {}) for member in members)
            return ("joint", where, slots, modules, arguments, results)
        kernel = kernel_call(node.graph, arguments, self.kernels)
        callee = kernel.text if kernel else self._of[node.graph]
        return ("call", where, callee, arguments, results)


def module_code(node: Apply, hyper: dict[str, Code]) -> Code | None:
    """The constructor of an operator's submodule, hyperparameters replaced by code."""
    attributes = node.attributes.model_copy(update=hyper)
    return node.op.module(attributes, node.argument_types)


def has_module(node: Apply) -> bool:
    """Whether the operator needs a submodule."""
    return (
        node.slot is not None and node.op.module(node.attributes, node.argument_types) is not None
    )


def apply_code(
    node: Apply,
    arguments: tuple[Code, ...],
    types: tuple[TensorType, ...],
    module: Code | None,
    batch: Code,
) -> Code:
    """The expression that applies an operator; `batch` is used by the one that needs it."""
    options = {"batch": batch} if node.op.needs_batch else {}
    return node.op.call(node.attributes, types, arguments, module, **options)


def store_code(node: Store) -> Code:
    """The tensor that a `param` or `buffer` starts as."""
    if node.weight.initializer is None:
        raise ValueError(f"{node.weight.name} is declared without an initialisation")
    return stored(node.weight.shape, node.weight.initializer)
