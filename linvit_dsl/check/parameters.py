"""Totals of a graph, each called block worked out once; `graph.cost` tells where they come from."""

from __future__ import annotations

from linvit_dsl.graph.ir import Apply, Call, Graph, Slot
from linvit_dsl.graph.size import at_batch

Counted = dict[int, tuple[Graph, int]]
"""Totals by the id of their graph, which is held so that no other one gets the same id."""


def count_parameters(graph: Graph, known: Counted | None = None) -> int:
    """Trained numbers of a graph and of all that it calls; those of a shared layer count once.

    `known` has the totals of graphs that were counted before, and gets those that were not.
    """
    return _count(graph, {} if known is None else known)


def _count(graph: Graph, known: Counted) -> int:
    if id(graph) not in known:
        owned: dict[Slot, int] = {}
        for node in graph.walk():
            if node.slot is None:
                continue
            if isinstance(node, Call):
                owned[node.slot] = _count(node.graph, known)
            elif isinstance(node, Apply):
                owned[node.slot] = node.num_trained
            else:
                owned[node.slot] = node.weight.elements if node.trained else 0
        known[id(graph)] = graph, sum(owned.values())
    return known[id(graph)][1]


def count_macs(graph: Graph, batch: int) -> int:
    """Multiply-adds of one execution of a graph for `batch` images."""
    return _count_macs(graph, batch, {})


def _count_macs(graph: Graph, batch: int, known: dict[int, int]) -> int:
    if id(graph) not in known:
        total = 0
        for node in graph.walk():
            if isinstance(node, Call):
                total += _count_macs(node.graph, batch, known)
            elif isinstance(node, Apply):
                macs = node.op.macs(node.attributes, node.argument_types, node.result_types)
                total += at_batch(macs, batch)
        known[id(graph)] = total
    return known[id(graph)]
