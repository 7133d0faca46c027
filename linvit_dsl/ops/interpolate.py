"""`interpolate`: a map at another size."""

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


class Interpolate(Op):
    """Bilinear, pixels being squares: [B, c, h, w] -> [B, c, *size].

    The middle of pixel i of the result lies at (i + 1/2) h / size - 1/2 (`align_corners=False`);
    beyond the outermost middles a map stays as it is there. Repetition by a whole factor is
    `expand`.
    """

    name = "interpolate"
    family = "glue"

    class Attributes(Attributes):
        """`size`: rows and columns of the result."""

        size: Pair

    @staticmethod
    def rule(attributes: Interpolate.Attributes, arguments: Types) -> Types:
        (x,) = arguments
        expect_rank("interpolate", x, 4, "[B, channels, rows, columns]")
        before = (fixed("interpolate", x, 2), fixed("interpolate", x, 3))
        sides = zip(x.dims[2:], before, attributes.size, strict=True)
        after = (dim if size == old else Dim(size) for dim, old, size in sides)
        return (TensorType((*x.dims[:2], *after), x.dtype),)

    @staticmethod
    def macs(attributes: Interpolate.Attributes, arguments: Types, results: Types) -> Size:
        return 0

    @staticmethod
    def saved(attributes: Interpolate.Attributes, arguments: Types) -> Saved:
        return Saved()

    @staticmethod
    def identity(attributes: Interpolate.Attributes, arguments: Types) -> bool:
        return arguments[0].sizes[2:] == attributes.size

    @staticmethod
    def call(
        attributes: Interpolate.Attributes, types: Types, arguments: Codes, module: Code | None
    ) -> Code:
        if Interpolate.identity(attributes, types):
            return arguments[0]
        return call("F.interpolate", *arguments, attributes.size, mode="bilinear")

    @staticmethod
    def reference(
        attributes: Interpolate.Attributes, arguments: Tensors, weights: WeightTensors
    ) -> Tensor:
        import torch

        (y,) = arguments
        for axis, size in zip((2, 3), attributes.size, strict=True):
            old = y.shape[axis]
            middles = (torch.arange(size, dtype=torch.float64) + 0.5) * old / size - 0.5
            # A tent of width 1 over the middle of every pixel that there was.
            places = middles.clamp(0, old - 1)[:, None] - torch.arange(old)
            tents = (1 - places.abs()).clamp(min=0).to(y)
            y = (y.movedim(axis, -1) @ tents.T).movedim(-1, axis)
        return y

    @staticmethod
    def examples() -> Iterator[Example]:
        yield Example(Interpolate.Attributes(size=(6, 8)), ((BATCH, 2, 3, 4),), "twice as large")
        odd = Interpolate.Attributes(size=(5, 3))
        yield Example(odd, ((BATCH, 2, 3, 4),), "one side larger, one smaller")
        same = Interpolate.Attributes(size=(3, 4))
        yield Example(same, ((BATCH, 2, 3, 4),), "the same size")
