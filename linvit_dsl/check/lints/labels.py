"""W0303: weights whose place in the state dict depends on the order of the text."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from linvit_dsl.check.parameters import count_parameters
from linvit_dsl.errors import Diagnostic, Fix, Label, Span, diagnose
from linvit_dsl.graph.ir import Apply, Call, Graph


def unlabelled_weights(graph: Graph, automatic: Mapping[str, str]) -> Iterator[Diagnostic]:
    """One finding for every word by which a block numbers several applications that own weights.

    A single one is called by its word alone, which stays when lines are moved. `automatic` has the
    slots that nobody labelled, and the word that each is called by.
    """
    places: dict[str, dict[str, Span]] = {}
    for node in graph.walk():
        slot = node.slot.name if node.slot is not None else ""
        if slot in automatic and isinstance(node, Apply | Call) and _owns_weights(node):
            places.setdefault(automatic[slot], {}).setdefault(slot, node.span)
    for word, slots in places.items():
        if len(slots) < 2:
            continue
        (first, *rest) = slots.items()
        # The label that is its name already: what was trained under it can still be loaded.
        ends = [(name, Span(span.source, span.end, span.end)) for name, span in slots.items()]
        fixes = tuple(Fix(end, f"@{name}", f"label it `@{name}`") for name, end in ends)
        yield diagnose(
            "W0303",
            first[1],
            f"`{first[0]}`",
            secondary=tuple(Label(span, f"`{name}`") for name, span in rest),
            helps=("label each by what it is for; `--fix` writes the names of today",),
            fixes=fixes,
            count=len(slots),
            word=word,
        )


def _owns_weights(node: Apply | Call) -> bool:
    if isinstance(node, Call):
        return count_parameters(node.graph) > 0
    return bool(node.weights)
