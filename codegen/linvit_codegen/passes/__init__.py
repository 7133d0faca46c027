"""What the compiler changes in a graph before it writes code: one file per pass, graph to graph.

A pass is a function from a model to a model that computes the same, from the same weights under
the same names. Each level is a list of passes, which the header of every generated file names.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from linvit_codegen.intrinsics import Kernels
from linvit_codegen.passes.common_subexpressions import without_common_subexpressions
from linvit_codegen.passes.dead_code import without_dead_code
from linvit_codegen.passes.evaluation_order import with_evaluation_order
from linvit_codegen.passes.fused_attention import with_fused_attention
from linvit_codegen.passes.joint_projections import with_joint_projections
from linvit_codegen.passes.rearrangements import with_rearrangements_composed
from linvit_codegen.passes.validate import validate
from linvit_dsl.graph.ir import Graph

Level = Literal[0, 1, 2]
"""How much to change: 0 nothing, 1 what makes the code shorter or faster and never slower, 2 also
what pays on some machines and not on others."""

Pass = Callable[[Graph], Graph]

PASSES: dict[str, Pass] = {
    "fused_attention": with_fused_attention,
    "evaluation_order": with_evaluation_order,
    "common_subexpressions": without_common_subexpressions,
    "rearrangements": with_rearrangements_composed,
    "dead_code": without_dead_code,
    "joint_projections": with_joint_projections,
}
"""By the name that headers say."""

_ALWAYS = (
    "fused_attention",
    "evaluation_order",
    "common_subexpressions",
    "rearrangements",
    "dead_code",
)

LEVELS: dict[Level, tuple[str, ...]] = {0: (), 1: _ALWAYS, 2: (*_ALWAYS, "joint_projections")}
"""The passes of each level, in the order in which they run."""

_OF_KERNELS = {"fused_attention", "evaluation_order"}
"""Of no use where no kernel is called."""


def passes_of(level: Level, kernels: Kernels) -> tuple[str, ...]:
    """The names of the passes that run."""
    return tuple(n for n in LEVELS[level] if kernels != "reference" or n not in _OF_KERNELS)


def optimise(graph: Graph, passes: tuple[str, ...], *, validated: bool = False) -> Graph:
    """Run passes, by name.

    Args:
        graph: A model; it is not changed.
        passes: Of `PASSES`.
        validated: Whether to check the graph after each pass, which takes about as long as it.

    Raises:
        InternalError: A pass broke the graph (only if `validated`).
    """
    for name in passes:
        before, graph = graph, PASSES[name](graph)
        if validated and graph is not before:
            validate(graph, before, name)
    return graph
