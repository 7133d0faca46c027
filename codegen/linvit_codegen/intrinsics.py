"""Intrinsic blocks that a kernel computes: which, and the call that replaces their body.

An intrinsic means what its body in the language says. A kernel takes over only where it computes
just that; everywhere else the body is emitted like any other block.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from linvit_dsl.graph.intrinsics import LINEAR_ATTENTION, kernel_feature_map
from linvit_dsl.graph.ir import Graph
from linvit_dsl.ops.code import Code, call

Kernels = Literal["auto", "reference"]
"""Whether intrinsic blocks become kernel calls, or the plain torch of their bodies."""

_DEFAULT_EPS = 1e-6


def kernel_call(graph: Graph, arguments: tuple[Code, ...], kernels: Kernels) -> Code | None:
    """The expression that computes `graph` by a kernel, None if its body must."""
    if kernels == "reference" or not graph.intrinsic:
        return None
    lower = _LOWERINGS.get(graph.qualified_name)
    return lower(graph, arguments) if lower else None


def _linear_attention(graph: Graph, arguments: tuple[Code, ...]) -> Code | None:
    name = kernel_feature_map(graph)
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
