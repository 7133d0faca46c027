"""`reduce`: take axes away by their mean, sum or maximum."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Literal

from linvit_dsl.graph.ir import TensorType
from linvit_dsl.graph.size import Size, at_batch
from linvit_dsl.ops.attributes import Attributes, Axes, Pattern
from linvit_dsl.ops.code import Code
from linvit_dsl.ops.op import BATCH, Codes, Example, Op, Saved, Tensors, Types, WeightTensors
from linvit_dsl.ops.pattern import concrete, open_axes, solve
from linvit_dsl.ops.pattern_code import chain, reduction

if TYPE_CHECKING:
    from torch import Tensor


class Reduce(Op):
    """Axes missing on the right are averaged, summed, or searched for their maximum."""

    name = "reduce"
    family = "glue"

    class Attributes(Attributes):
        """`how`: mean, sum or max. `axes`: sizes that the shape leaves open (`s = 2`)."""

        pattern: Pattern
        how: Literal["mean", "sum", "max"]
        axes: Axes = ()

    @staticmethod
    def rule(attributes: Reduce.Attributes, arguments: Types) -> Types:
        (x,) = arguments
        solution = solve("reduce", attributes.pattern, attributes.axes, x, only_left=True)
        return (TensorType(solution.dims, x.dtype),)

    @staticmethod
    def macs(attributes: Reduce.Attributes, arguments: Types, results: Types) -> Size:
        return 0

    @staticmethod
    def saved(attributes: Reduce.Attributes, arguments: Types) -> Saved:
        # The gradient of a maximum goes to the entries that equal it.
        return Saved(arguments=(0,), results=(0,)) if attributes.how == "max" else Saved()

    @staticmethod
    def call(
        attributes: Reduce.Attributes, types: Types, arguments: Codes, module: Code | None
    ) -> Code:
        solution = solve("reduce", attributes.pattern, attributes.axes, types[0], only_left=True)
        # Entries that share a maximum share its gradient: amax, unlike max, is deterministic.
        method = "amax" if attributes.how == "max" else attributes.how
        return chain(arguments[0], reduction(solution, method))

    @staticmethod
    def reference(
        attributes: Reduce.Attributes, arguments: Tensors, weights: WeightTensors
    ) -> Tensor:
        (x,) = arguments
        shape, axes = TensorType.of(*x.shape), concrete(attributes.axes)
        solution = solve("reduce", attributes.pattern, axes, shape, only_left=True)
        opened, names = open_axes(x, solution)
        kept = [name for group in solution.after for name in group]
        gone = [names.index(name) for name in names if name not in kept]
        y = opened.permute([names.index(name) for name in kept] + gone)
        y = y.flatten(len(kept)) if gone else y[..., None]
        if attributes.how == "max":
            y = y.sort(-1).values[..., -1]
        else:
            y = y.sum(-1) / (y.shape[-1] if attributes.how == "mean" else 1)
        return y.reshape([at_batch(dim.size, 1) for dim in solution.dims])

    @staticmethod
    def examples() -> Iterator[Example]:
        yield Example(Reduce.Attributes(pattern="b n d -> b d", how="mean"), ((BATCH, 3, 4),))
        for attributes in (
            Reduce.Attributes(pattern="... l m -> ... m 1", how="sum"),
            Reduce.Attributes(pattern="... l m -> ... l 1", how="max"),
            Reduce.Attributes(pattern="... l m -> ... 1 m", how="sum"),
            Reduce.Attributes(pattern="b h n m -> b h 1 1", how="max"),
            Reduce.Attributes(pattern="b h n m -> b m n", how="mean"),
            Reduce.Attributes(pattern="b h n m -> b 1 h", how="sum"),
        ):
            yield Example(attributes, ((BATCH, 2, 3, 4),), attributes.pattern)
        pooled = Reduce.Attributes(pattern="b h (m s) e -> b h m e", how="mean", axes=(("s", 3),))
        yield Example(pooled, ((BATCH, 2, 6, 4),), "means of segments")
        whole = Reduce.Attributes(pattern="b (h w) d -> d b", how="sum", axes=(("h", 2),))
        yield Example(whole, ((BATCH, 6, 4),), "an axis of two parts goes as one")
