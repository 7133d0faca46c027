"""Several `linear` on one tensor, computed as one: a call whose members keep their own slots.

In the graph it is a call without a slot of a block with weights: the block stands for nothing in
the text, and its operators live where they lived before, beside their neighbours. In Python it is
`q, k, v = layers.joint_linear(x, self.q, self.k, self.v)`; the state dict knows nothing of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from linvit_dsl.graph.ir import Apply, Call, Graph, Node, Slot, Store, Value
from linvit_dsl.ops.code import Code, call
from linvit_dsl.ops.linear import Linear

_NAME, _MODULE = "joint_linear", "linvit"


def joint_linear(members: tuple[Apply, ...]) -> Call:
    """The call that makes what all members make, in their order."""
    first = members[0]
    x = Value(first.arguments[0].type, first.span, "x")
    inner = tuple(
        Apply(
            Linear,
            node.attributes,
            (x,),
            tuple(Value(value.type, value.span) for value in node.results),
            node.slot,
            node.span,
            node.statement,
        )
        for node in members
    )
    outputs = tuple(value for node in inner for value in node.results)
    # No kernel has this name, and nobody looks into an intrinsic block.
    graph = Graph(_NAME, _MODULE, "block", True, {}, (x,), outputs, inner, first.span)
    results = tuple(value for node in members for value in node.results)
    return Call(graph, first.arguments, results, None, first.span, first.statement)


def members_of(node: Node) -> tuple[Apply, ...]:
    """The operators that a joint call computes; none if the node is no joint call."""
    if not isinstance(node, Call) or node.graph.module != _MODULE:
        return ()
    return tuple(inner for inner in node.graph.walk() if isinstance(inner, Apply))


def slotted(nodes: Iterable[Apply | Call | Store]) -> Iterator[Apply | Call | Store]:
    """The nodes, joint calls replaced by their members: what slots are asked of."""
    for node in nodes:
        yield from members_of(node) or (node,)


def slots_of(node: Apply | Call | Store) -> tuple[Slot, ...]:
    """The slots that a node reads."""
    return tuple(inner.slot for inner in slotted((node,)) if inner.slot is not None)


def joint_code(x: Code, modules: tuple[Code, ...]) -> Code:
    """The expression that applies all modules to `x`."""
    return call("layers.joint_linear", x, *modules)
