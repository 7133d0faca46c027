"""Chooses, for every kernel call of linear attention, which product comes first.

The state first costs 2 n F E multiply-adds per head, all pairs of tokens first n^2 (F + E): by that
count the second wins below n = 2 F E / (F + E) tokens, which is 4/3 of the head width for
split_relu. Where it really wins was measured (`order_table.py`); the count only tells how that
moves with the width, and how many tokens two sequences of different lengths amount to.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from linvit_codegen.passes.order_table import BREAK_EVEN
from linvit_codegen.passes.rewrite import everywhere
from linvit_dsl.graph.intrinsics import LINEAR_ATTENTION, kernel_feature_map
from linvit_dsl.graph.ir import Graph

Table = Mapping[tuple[str, int], int]
"""Feature map and head width -> up to how many tokens all pairs first is faster."""


def with_evaluation_order(top: Graph, table: Table = BREAK_EVEN) -> Graph:
    """The graph with `order = "quadratic"` at the kernel calls that are faster so."""

    def block(graph: Graph) -> Graph:
        if not graph.intrinsic or graph.qualified_name != LINEAR_ATTENTION:
            return graph
        if "order" in graph.statics or not is_quadratic_faster(graph, table):
            return graph
        return replace(graph, statics={**graph.statics, "order": "quadratic"})

    return everywhere(top, block)


def is_quadratic_faster(graph: Graph, table: Table) -> bool:
    """Whether a kernel call is faster with all pairs of tokens first."""
    name = kernel_feature_map(graph)
    queries, keys, width, value_width = _sizes(graph)
    if name is None or 0 in (queries, keys):
        return False
    measured = [w for map_, w in table if map_ == name]
    if not measured:
        return False
    nearest = min(measured, key=lambda w: (abs(w - width), w))
    tokens = 2 * queries * keys / (queries + keys)
    features = 2 if name == "split_relu" else 1
    return tokens <= table[name, nearest] * (
        _break_even(features * width, value_width) / _break_even(features * nearest, nearest)
    )


def _sizes(graph: Graph) -> tuple[int, int, int, int]:
    """Queries, keys, width of a query, width of a value; 0 for one that depends on the batch."""
    q, k, v = (value.type.sizes for value in graph.inputs)
    sizes = [size if isinstance(size, int) else 0 for size in (q[2], k[2], q[3], v[3])]
    return sizes[0], sizes[1], sizes[2], sizes[3]


def _break_even(features: int, width: int) -> float:
    """The number of tokens at which both orders take the same number of multiply-adds."""
    return 2 * features * width / (features + width)
