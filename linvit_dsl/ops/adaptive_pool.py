"""`adaptive_pool`: a map averaged down to a given size, whatever its own."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from linvit_dsl.graph.ir import Dim, TensorType
from linvit_dsl.graph.size import Size
from linvit_dsl.ops.attributes import Attributes, Pair
from linvit_dsl.ops.code import Code, call
from linvit_dsl.ops.op import BATCH, Codes, Example, Op, Saved, Tensors, Types, WeightTensors
from linvit_dsl.ops.shapes import expect_rank, fixed

if TYPE_CHECKING:
    from torch import Tensor


class AdaptivePool(Op):
    """[B, c, h, w] -> [B, c, rows, columns]: means of windows that cover the map evenly.

    Row i of r is the mean of rows floor(i h / r) to ceil((i + 1) h / r) - 1, and so for columns;
    where r does not divide h, neighbouring windows overlap by a row.
    """

    name = "adaptive_pool"
    family = "glue"

    class Attributes(Attributes):
        """`size`: rows and columns of the result."""

        size: Pair

    @staticmethod
    def rule(attributes: AdaptivePool.Attributes, arguments: Types) -> Types:
        (x,) = arguments
        expect_rank("adaptive_pool", x, 4, "[B, channels, rows, columns]")
        dims = x.dims[:2]
        for axis, size in zip((2, 3), attributes.size, strict=True):
            same = fixed("adaptive_pool", x, axis) == size
            dims = (*dims, x.dims[axis] if same else Dim(size))
        return (TensorType(dims, x.dtype),)

    @staticmethod
    def macs(attributes: AdaptivePool.Attributes, arguments: Types, results: Types) -> Size:
        return 0

    @staticmethod
    def saved(attributes: AdaptivePool.Attributes, arguments: Types) -> Saved:
        # torch keeps the map for its size alone; one mean over everything is not a pooling to it.
        return Saved() if attributes.size == (1, 1) else Saved(arguments=(0,))

    @staticmethod
    def identity(attributes: AdaptivePool.Attributes, arguments: Types) -> bool:
        return arguments[0].sizes[2:] == attributes.size

    @staticmethod
    def call(
        attributes: AdaptivePool.Attributes, types: Types, arguments: Codes, module: Code | None
    ) -> Code:
        return call("F.adaptive_avg_pool2d", *arguments, attributes.size)

    @staticmethod
    def reference(
        attributes: AdaptivePool.Attributes, arguments: Tensors, weights: WeightTensors
    ) -> Tensor:
        import torch

        (y,) = arguments
        for axis, size in zip((2, 3), attributes.size, strict=True):
            given = y.shape[axis]
            bounds = [(i * given // size, -(-(i + 1) * given // size)) for i in range(size)]
            means = [y.narrow(axis, a, b - a).sum(axis) / (b - a) for a, b in bounds]
            y = torch.stack(means, axis)
        return y

    @staticmethod
    def examples() -> Iterator[Example]:
        image = (BATCH, 2, 6, 7)
        yield Example(AdaptivePool.Attributes(size=(3, 2)), (image,))
        yield Example(AdaptivePool.Attributes(size=(4, 3)), (image,), "windows overlap")
        yield Example(AdaptivePool.Attributes(size=(1, 1)), (image,), "the mean of everything")
        yield Example(AdaptivePool.Attributes(size=(6, 7)), (image,), "as it is")
        yield Example(AdaptivePool.Attributes(size=(2, 9)), (image,), "fewer rows, more columns")
