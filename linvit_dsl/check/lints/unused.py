"""Warnings about graphs that are sound but unlikely to be meant."""

from __future__ import annotations

from linvit_dsl.check.parameters import count_parameters
from linvit_dsl.errors import Diagnostic, diagnose
from linvit_dsl.graph.ir import Apply, Call, Graph, Store


def unused_weights(graph: Graph) -> tuple[Diagnostic, ...]:
    """W0301 for every value that owns weights and that nothing reads."""
    read = {id(value) for value in graph.outputs}
    for node in graph.walk():
        if not isinstance(node, Store):
            read |= {id(value) for value in node.arguments}
    found: list[Diagnostic] = []
    for node in graph.walk():
        results = (node.result,) if isinstance(node, Store) else node.results
        if node.slot is None or any(id(value) in read for value in results):
            continue
        owned = _owned(node)
        notes = (f"what computes it still owns {owned:,} parameters",) if owned else ()
        name = results[0].name or node.slot.name
        helps = ("remove it, or use it",)
        found.append(diagnose("W0301", node.statement, notes=notes, helps=helps, name=name))
    return tuple(found)


def _owned(node: Apply | Call | Store) -> int:
    match node:
        case Call():
            return count_parameters(node.graph)
        case Apply():
            return node.num_trained
        case Store():
            return node.weight.elements if node.trained else 0
