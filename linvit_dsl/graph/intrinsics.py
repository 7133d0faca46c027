"""Which intrinsic blocks a kernel computes.

Known this far down because what autograd keeps, and so the cost, depends on it: a kernel keeps its
arguments and a state, while a body keeps whatever its operators do.
"""

from __future__ import annotations

from linvit_dsl.graph.ir import Apply, BlockName, Graph

LINEAR_ATTENTION = "std.linear_attention.linear_attention"
"""The block of the library that the kernel of linear attention computes."""

FEATURE_MAPS = {
    "relu": "relu",
    "std.linear_attention.SplitRelu": "split_relu",
    "std.linear_attention.EluPlusOne": "elu_plus_one",
    "softmax": "softmax",
    "identity": "identity",
}
"""What the language calls a feature map -> what the kernel calls it.

`identity` is no word of the language: the compiler writes it where features are made outside.
"""


def kernel_feature_map(graph: Graph) -> str | None:
    """What the kernel calls the feature map of `graph`; None if its body has to be computed."""
    if not graph.intrinsic or graph.qualified_name != LINEAR_ATTENTION:
        return None
    phi = graph.statics["phi"]
    if not isinstance(phi, BlockName) or (phi == "softmax" and not _is_over_channels(graph)):
        return None
    return FEATURE_MAPS.get(phi)


def _is_over_channels(graph: Graph) -> bool:
    """Whether every softmax of a block of four axes is along the last one."""
    axes = [n.attributes for n in graph.walk() if isinstance(n, Apply) and n.op.name == "softmax"]
    return all(attributes.model_dump()["axis"] in (-1, 3) for attributes in axes)
