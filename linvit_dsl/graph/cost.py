"""What a model costs before it exists: parameters, multiply-adds and activation memory, exactly.

The graph is executed symbolically once, in order, with a ledger of tensors: a tensor that several
operators keep for backward is counted once, where it is kept first, and a view is the tensor that
it looks at. Only products of matrices and convolutions are multiply-adds (MACs); 1 MAC = 2 FLOP.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from typing import Any

from linvit_dsl.graph.alike import periods
from linvit_dsl.graph.ir import Graph
from linvit_dsl.graph.ledger import Ledger, Part, Shape, joined


@dataclass(frozen=True, slots=True)
class CostNode:
    """One part of a model: an operator, a block, or a declared tensor.

    Every number is a total over the `count` alike executions that the row stands for, so that the
    rows below a row add up to it. What an `intrinsic` block keeps for backward stands in its own
    row: its kernel keeps the arguments and a state, and computes the rest again.

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

    @property
    def training_bytes(self) -> int:
        """What backward keeps, beside weights, gradients and the two moments of Adam in float32."""
        return self.activation_bytes + 16 * self.params

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
    ledger = Ledger(batch)
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


def _rows(columns: list[list[Part]], path: str) -> tuple[CostNode, ...]:
    """Rows of the parts of one block. A column holds the same part of every alike execution."""
    rows: list[CostNode] = []
    used: dict[str, int] = {}
    for start, period, count in periods([column[0].key for column in columns]):
        for first in range(start, start + period):
            merged = columns[first : first + period * count : period]
            rows.append(_row(merged, path, used))
    return tuple(rows)


def _row(merged: list[list[Part]], path: str, used: dict[str, int]) -> CostNode:
    part, last = merged[0][0], merged[-1][0]
    members = list(chain.from_iterable(merged))
    if part.slot is None:
        used[part.name] = used.get(part.name, 0) + 1
        label = part.name if used[part.name] == 1 else f"{part.name}{used[part.name]}"
    elif last.slot is None or part.slot == last.slot:
        label = str(part.slot)
    else:
        label = f"{part.slot}-{last.slot.index}"
    own = joined(path, label)
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
