"""The attention of a generated module, with its shapes: what can be built or chosen ahead."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from linvit_codegen.generate import Options
from linvit_codegen.passes import optimise
from linvit_dsl.graph.intrinsics import kernel_feature_map
from linvit_dsl.graph.ir import Apply, Call, Graph, Value
from linvit_dsl.graph.size import at_batch
from linvit_dsl.ops.attend import Attend


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


@dataclass(frozen=True, slots=True)
class SoftmaxCall:
    """A call of torch's scaled_dot_product_attention; sizes as those of a `KernelCall`."""

    batch: int
    heads: int
    queries: int
    keys: int
    head_dim: int
    value_dim: int


@dataclass(frozen=True, slots=True)
class AttentionLayer:
    """Alike calls of attention at alike places.

    Args:
        path: Slots from the model down: `layers.0-11.attn` for twelve layers.
        count: How many calls.
        call: What each of them is.
    """

    path: str
    count: int
    call: KernelCall | SoftmaxCall


def kernel_calls(graph: Graph, options: Options | None = None) -> Counter[KernelCall]:
    """The calls of a forward pass, each with how often the module makes it.

    Args:
        graph: A model.
        options: With which its module is generated.
    """
    found = _attention(graph, options or Options())
    return Counter(call for _, call in found if isinstance(call, KernelCall))


def attention_layers(graph: Graph, options: Options | None = None) -> tuple[AttentionLayer, ...]:
    """The attention of a forward pass, in order, alike calls in one layer.

    Args:
        graph: A model.
        options: With which its module is generated.
    """
    alike: dict[tuple[str, KernelCall | SoftmaxCall], list[str]] = {}
    for path, call in _attention(graph, options or Options()):
        alike.setdefault((re.sub(r"\d+", "#", path), call), []).append(path)
    return tuple(
        AttentionLayer(_joined(paths), len(paths), call) for (_, call), paths in alike.items()
    )


def _joined(paths: Sequence[str]) -> str:
    """One path for alike ones: where their numbers differ, the first and the last."""
    columns = zip(*(re.findall(r"\d+", path) for path in paths), strict=True)
    ranges = iter([f"{c[0]}-{c[-1]}" if c[0] != c[-1] else c[0] for c in columns])
    return re.sub(r"\d+", lambda _: next(ranges), paths[0])


def _attention(graph: Graph, options: Options) -> Iterator[tuple[str, KernelCall | SoftmaxCall]]:
    if options.lowering == "reference":
        return iter(())
    return _calls(optimise(graph, options.passes), "")


def _calls(graph: Graph, path: str) -> Iterator[tuple[str, KernelCall | SoftmaxCall]]:
    for node in graph.walk():
        own = f"{path}.{node.slot}".lstrip(".") if node.slot is not None else path
        if isinstance(node, Apply) and node.op is Attend:
            (batch, *heads, queries, width), (*_, keys, _), (*_, value_width) = (
                _sizes(value) for value in node.arguments[:3]
            )
            yield own, SoftmaxCall(batch, math.prod(heads), queries, keys, width, value_width)
        elif isinstance(node, Call) and (name := kernel_feature_map(node.graph)):
            (batch, heads, queries, width), (*_, keys, _), (*_, value_width) = (
                _sizes(value) for value in node.arguments
            )
            order = str(node.graph.statics.get("order", "linear"))
            yield own, KernelCall(name, order, batch, heads, queries, keys, width, value_width)
        elif isinstance(node, Call):
            yield from _calls(node.graph, own)


def _sizes(value: Value) -> list[int]:
    return [at_batch(size, 1) for size in value.type.sizes]
