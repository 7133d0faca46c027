"""The kernel calls of a generated module, with their shapes: what can be built or chosen ahead."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from linvit_codegen.generate import Options
from linvit_codegen.passes import optimise
from linvit_dsl.graph.intrinsics import kernel_feature_map
from linvit_dsl.graph.ir import Call, Graph
from linvit_dsl.graph.size import at_batch


@dataclass(frozen=True, slots=True)
class KernelCall:
    """A call of `linear_attention`.

    Args:
        feature_map: As the kernel calls it.
        order: `linear` or `quadratic`.
        batch: B for one image: 1, or the number of windows that it is cut into.
        heads: H.
        queries: N.
        keys: L.
        head_dim: D.
        value_dim: E.
    """

    feature_map: str
    order: str
    batch: int
    heads: int
    queries: int
    keys: int
    head_dim: int
    value_dim: int


def kernel_calls(graph: Graph, options: Options | None = None) -> Counter[KernelCall]:
    """The calls of a forward pass, each with how often the module makes it.

    Args:
        graph: A model.
        options: With which its module is generated.
    """
    options = options or Options()
    if options.lowering == "reference":
        return Counter()
    return Counter(_calls(optimise(graph, options.passes)))


def _calls(graph: Graph) -> Iterator[KernelCall]:
    for node in graph.walk():
        if not isinstance(node, Call):
            continue
        name = kernel_feature_map(node.graph)
        if name is None:
            yield from _calls(node.graph)
            continue
        (batch, heads, queries, width), (*_, keys, _), (*_, value_width) = (
            (at_batch(size, 1) for size in value.type.sizes) for value in node.arguments
        )
        order = str(node.graph.statics.get("order", "linear"))
        yield KernelCall(name, order, batch, heads, queries, keys, width, value_width)
