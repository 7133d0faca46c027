"""The graph of a model: one page, all of it.

A `Graph` is one block, specialised for its static arguments and its input shapes: everything in it
is concrete but the batch `B`. Values are in single-assignment form. Loops stay regions (`Repeat`),
blocks stay calls (`Call`); nothing is flattened, so that generated code, diagrams and cost tables
can follow the text. All nodes are immutable and know where they stand in the text.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from linvit_dsl.errors import Span
from linvit_dsl.graph.size import Size, product

if TYPE_CHECKING:
    from linvit_dsl.ops.op import Attributes, Op


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a number came from: one link of the chain that an error prints.

    Args:
        name: What the text calls it: `d`, `heads`, `axis 1 of x`; empty for a bare literal.
        value: The number, as text.
        how: `default of ViT`, `set here`, `computed`, ...
        span: The place in the text.
        operands: The numbers it was computed from.
    """

    name: str
    value: str
    how: str
    span: Span
    operands: tuple[Origin, ...] = ()


@dataclass(frozen=True, slots=True)
class Dim:
    """The size of one axis, and where that number came from (which does not count for equality)."""

    size: Size
    origin: Origin | None = field(default=None, compare=False)

    def __str__(self) -> str:
        return str(self.size)


@dataclass(frozen=True, slots=True)
class TensorType:
    """Shape and element type of a tensor."""

    dims: tuple[Dim, ...]
    dtype: str = "float32"

    @staticmethod
    def of(*sizes: Size) -> TensorType:
        """A float32 tensor of these sizes, of unknown origin."""
        return TensorType(tuple(Dim(size) for size in sizes))

    @property
    def sizes(self) -> tuple[Size, ...]:
        """The bare sizes."""
        return tuple(dim.size for dim in self.dims)

    @property
    def elements(self) -> Size:
        """How many numbers it holds."""
        return product(self.sizes)

    def __str__(self) -> str:
        return "[" + ", ".join(str(dim) for dim in self.dims) + "]"


class BlockName(str):
    """The qualified name of a block that is a static argument: `std.attention.SplitRelu`."""

    __slots__ = ()


@dataclass(frozen=True, slots=True, eq=False)
class Value:
    """A tensor that a graph computes once. Compared by identity.

    `name` is the name that the text gives it, or "" for the inside of an expression.
    """

    type: TensorType
    span: Span
    name: str = ""


@dataclass(frozen=True, slots=True)
class Slot:
    """Where something with weights lives in its block: `self.name`, in a loop `self.name[index]`.

    Nodes with equal slots share their weights.
    """

    name: str
    index: int | None = None

    def __str__(self) -> str:
        return self.name if self.index is None else f"{self.name}.{self.index}"


@dataclass(frozen=True, slots=True)
class Initializer:
    """How a tensor of weights starts: `name` as in the language (`trunc_normal`), and arguments."""

    name: str
    arguments: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class Weight:
    """One tensor of the state dict. `initializer` None: what torch's own module does.

    `trained` is False for what only forward changes, such as the running averages of a norm.
    """

    name: str
    shape: tuple[int, ...]
    initializer: Initializer | None = None
    trained: bool = True

    @property
    def elements(self) -> int:
        """How many numbers it holds."""
        count = 1
        for size in self.shape:
            count *= size
        return count


@dataclass(frozen=True, slots=True, eq=False)
class Apply:
    """A primitive operator applied to tensors. `slot` is None when it needs no submodule."""

    op: type[Op]
    attributes: Attributes
    arguments: tuple[Value, ...]
    results: tuple[Value, ...]
    slot: Slot | None
    span: Span
    statement: Span

    @property
    def argument_types(self) -> tuple[TensorType, ...]:
        """The types of the arguments."""
        return tuple(value.type for value in self.arguments)

    @property
    def result_types(self) -> tuple[TensorType, ...]:
        """The types of the results."""
        return tuple(value.type for value in self.results)

    @property
    def weights(self) -> tuple[Weight, ...]:
        """The tensors of the state dict that it owns."""
        return self.op.weights(self.attributes, self.argument_types)

    @property
    def num_trained(self) -> int:
        """How many trained numbers it owns."""
        return sum(weight.elements for weight in self.weights if weight.trained)


@dataclass(frozen=True, slots=True, eq=False)
class Call:
    """A block applied to tensors. `slot` is None when its graph is not `stateful`."""

    graph: Graph
    arguments: tuple[Value, ...]
    results: tuple[Value, ...]
    slot: Slot | None
    span: Span
    statement: Span


@dataclass(frozen=True, slots=True, eq=False)
class Store:
    """A tensor declared with `param` (trained) or `buffer` (not trained, saved)."""

    slot: Slot
    trained: bool
    weight: Weight
    result: Value
    span: Span
    statement: Span


@dataclass(frozen=True, slots=True, eq=False)
class Carried:
    """A named value that each iteration of a loop passes on to the next.

    `values[0]` is what enters, `values[i + 1]` what iteration i leaves; equal neighbours mean that
    the iteration did not touch it.
    """

    name: str
    values: tuple[Value, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Repeat:
    """A counted loop: the nodes of every iteration, in order, and what they hand on.

    Iterations have their own values and may differ (a last one that skips a step, strides that
    alternate); whoever draws or emits the loop finds out which of them are alike.
    """

    iterations: tuple[tuple[Node, ...], ...]
    carried: tuple[Carried, ...]
    span: Span
    statement: Span


Node = Apply | Call | Store | Repeat


@dataclass(frozen=True, slots=True, eq=False)
class Graph:
    """A block or model, specialised.

    Args:
        name: As declared: `RippleAttention`.
        module: Where it is declared: `std.attention`.
        kind: `block` or `model`.
        intrinsic: Whether the text says so: a kernel may replace the body.
        statics: Its static arguments in order of declaration: numbers, booleans, texts, tuples of
            them, `BlockName` for a block, `Initializer` for an initialisation.
        inputs, outputs: Lists are flattened; their order is that of the text.
        nodes: In the order of the text, which is an order of execution.
        span: The declaration's head, from its keyword to its result type.
        float32: Whether the text says so: it computes in float32 at least, under autocast too.
    """

    name: str
    module: str
    kind: str
    intrinsic: bool
    statics: Mapping[str, Any]
    inputs: tuple[Value, ...]
    outputs: tuple[Value, ...]
    nodes: tuple[Node, ...]
    span: Span
    doc: str = ""
    float32: bool = False

    @property
    def qualified_name(self) -> str:
        """`std.attention.RippleAttention`."""
        return f"{self.module}.{self.name}"

    def walk(self) -> Iterator[Apply | Call | Store]:
        """Its own nodes, loops opened, calls not."""
        yield from _walk(self.nodes)

    @property
    def stateful(self) -> bool:
        """Whether it must be a module: it holds weights, or acts otherwise in training."""
        return any(node.slot is not None for node in self.walk())


def _walk(nodes: tuple[Node, ...]) -> Iterator[Apply | Call | Store]:
    for node in nodes:
        if isinstance(node, Repeat):
            for iteration in node.iterations:
                yield from _walk(iteration)
        else:
            yield node
