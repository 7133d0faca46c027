"""Multiply-adds alone: one number, without the memory and the tree of `linvit_dsl.graph.cost`."""

from __future__ import annotations

from linvit_dsl.graph.ir import Call, Graph, Store
from linvit_dsl.graph.size import at_batch


def total_macs(graph: Graph, known: dict[Graph, int] | None = None) -> int:
    """The multiply-adds of one execution at batch 1; a block that is called often is counted once.

    Args:
        graph: A model or block.
        known: Of graphs that are counted already; it is added to.
    """
    known = {} if known is None else known
    if graph not in known:
        total = 0
        for node in graph.walk():
            if isinstance(node, Call):
                total += total_macs(node.graph, known)
            elif not isinstance(node, Store):
                types = node.argument_types, node.result_types
                total += at_batch(node.op.macs(node.attributes, *types), 1)
        known[graph] = total
    return known[graph]
