"""W0307: parameters that the model's read-out does not depend on."""

from __future__ import annotations

from collections.abc import Iterator

from linvit_dsl.check.liveness import dead_parameters
from linvit_dsl.errors import Diagnostic, Label, Span, diagnose
from linvit_dsl.graph.ir import Graph

SHOWN = 12
"""Keys that are listed under one warning."""


def unread_parameters(graph: Graph, place: Span) -> Iterator[Diagnostic]:
    """At most one finding: all parameters of the model at `place` that never get a gradient."""
    dead = dead_parameters(graph)
    if not dead.parameters:
        return
    width = max(len(key) for key in dead.parameters)
    keys = [f"{key.ljust(width)}   {elements:,}" for key, elements in dead.parameters.items()]
    if len(keys) > SHOWN:
        keys[SHOWN:] = [f"and {len(keys) - SHOWN} more"]
    causes = tuple(Label(span, "passes on a part only") for span in dead.causes)
    yield diagnose(
        "W0307",
        place,
        secondary=causes[:2],
        notes=tuple(keys),
        helps=(
            "read out what they compute, for example the mean of all tokens, or leave them out",
        ),
        name=graph.name,
        count=len(dead.parameters),
        total=f"{sum(dead.parameters.values()):,}",
    )
