"""Intrinsic blocks that a kernel computes: which, and the call that replaces their body.

An intrinsic means what its body in the language says. A kernel takes over only where it computes
just that; everywhere else the body is emitted like any other block.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from linvit_dsl.graph.ir import BlockName, Graph
from linvit_dsl.ops.code import Code, call

Kernels = Literal["auto", "reference"]
"""Whether intrinsic blocks become kernel calls, or the plain torch of their bodies."""

LINEAR_ATTENTION = "std.linear_attention.linear_attention"
"""The block of the library that the kernel of linear attention computes."""

FEATURE_MAPS = {
    "relu": "relu",
    "std.linear_attention.SplitRelu": "split_relu",
    "std.linear_attention.EluPlusOne": "elu_plus_one",
}
"""What the language calls a feature map -> what the kernel calls it."""
_DEFAULT_EPS = 1e-6


def kernel_call(graph: Graph, arguments: tuple[Code, ...], kernels: Kernels) -> Code | None:
    """The expression that computes `graph` by a kernel, None if its body must."""
    if kernels == "reference" or not graph.intrinsic:
        return None
    lower = _LOWERINGS.get(graph.qualified_name)
    return lower(graph, arguments) if lower else None


def _linear_attention(graph: Graph, arguments: tuple[Code, ...]) -> Code | None:
    phi = graph.statics["phi"]
    name = FEATURE_MAPS.get(phi) if isinstance(phi, BlockName) else None
    if name is None:
        return None
    eps = float(graph.statics["eps"])
    options: dict[str, object] = {} if eps == _DEFAULT_EPS else {"eps": eps}
    if graph.statics.get("order") == "quadratic":
        options["order"] = "quadratic"
    # The block has the heads before the tokens, the kernel after them; both views are free.
    views = [argument.method("transpose", 1, 2) for argument in arguments]
    return call("kernels.linear_attention", *views, feature_map=name, **options)


_LOWERINGS: dict[str, Callable[[Graph, tuple[Code, ...]], Code | None]] = {
    LINEAR_ATTENTION: _linear_attention,
}
