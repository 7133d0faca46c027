"""How many trained numbers a graph owns, for the limit; `graph.cost` tells where they are."""

from __future__ import annotations

from linvit_dsl.graph.ir import Apply, Call, Graph, Slot


def count_parameters(graph: Graph) -> int:
    """Trained numbers of a graph and of all that it calls; those of a shared layer count once."""
    return _count(graph, {})


def _count(graph: Graph, known: dict[int, int]) -> int:
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
        known[id(graph)] = sum(owned.values())
    return known[id(graph)]
