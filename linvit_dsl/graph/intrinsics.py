"""Which intrinsic blocks a kernel computes.

Known this far down because what autograd keeps, and so the cost, depends on it: a kernel keeps its
arguments and a state, while a body keeps whatever its operators do.
"""

from __future__ import annotations

from linvit_dsl.graph.ir import BlockName, Graph

LINEAR_ATTENTION = "std.linear_attention.linear_attention"
"""The block of the library that the kernel of linear attention computes."""

FEATURE_MAPS = {
    "relu": "relu",
    "std.linear_attention.SplitRelu": "split_relu",
    "std.linear_attention.EluPlusOne": "elu_plus_one",
}
"""What the language calls a feature map -> what the kernel calls it."""


def kernel_feature_map(graph: Graph) -> str | None:
    """What the kernel calls the feature map of `graph`; None if its body has to be computed."""
    if not graph.intrinsic or graph.qualified_name != LINEAR_ATTENTION:
        return None
    phi = graph.statics["phi"]
    return FEATURE_MAPS.get(phi) if isinstance(phi, BlockName) else None
