"""Computes once what the text says twice.

Two nodes are the same when they apply the same operator or block, with the same static arguments
and the same weights (that is, the same slot), to the same tensors. What draws random numbers, or
changes numbers of its own in training, is left alone. Within a loop, every iteration is looked at
by itself: a value from before the loop may be another one in the next round. Views cost nothing, so
each stays where the text has it; what is computed from equal views is computed once.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable

from linvit_codegen.passes.rewrite import Block, applies_purely, edited, everywhere, is_pure
from linvit_dsl.graph.ir import Apply, Call, Graph, Node, Repeat, Store, Value


def without_common_subexpressions(top: Graph) -> Graph:
    """The graph with every pure expression computed once."""
    pure: dict[Graph, bool] = {}

    def edit(block: Block, nodes: tuple[Node, ...]) -> tuple[Node, ...]:
        first: dict[Hashable, tuple[Value, ...]] = {}
        same: dict[Value, Value] = {}
        kept: list[Node] = []
        for node in nodes:
            key = _key(node, lambda value: same.get(value, value), pure)
            if isinstance(node, Repeat | Store) or key is None:
                kept.append(node)
                continue
            equal = first.setdefault(key, node.results)
            if equal is node.results:
                kept.append(node)
                continue
            same.update(zip(node.results, equal, strict=True))
            if _is_view(node):
                kept.append(node)
                continue
            block.remove(node)
            for old, new in zip(node.results, equal, strict=True):
                block.substitute(old, new)
        return tuple(kept)

    return everywhere(top, lambda graph: edited(graph, edit))


def _key(
    node: Node, value_of: Callable[[Value], Value], pure: dict[Graph, bool]
) -> Hashable | None:
    """What equal nodes have in common; None for a node that is never equal to another."""
    if isinstance(node, Repeat | Store):
        return None
    arguments = tuple(map(value_of, node.arguments))
    if isinstance(node, Call):
        return (node.graph, node.slot, arguments) if is_pure(node.graph, pure) else None
    if not applies_purely(node):
        return None
    return (node.op, node.attributes, node.slot, arguments)


def _is_view(node: Apply | Call) -> bool:
    return isinstance(node, Apply) and node.op.view
