"""`unfold`: the neighbours of every place of a map."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from linvit_dsl.graph.ir import Dim, TensorType
from linvit_dsl.ops.attributes import Attributes, Dimension, Odd
from linvit_dsl.ops.code import Code, call
from linvit_dsl.ops.movement import Movement
from linvit_dsl.ops.op import BATCH, Codes, Example, Tensors, Types, WeightTensors
from linvit_dsl.ops.shapes import expect_rank, fixed

if TYPE_CHECKING:
    from torch import Tensor


class Unfold(Movement):
    """[B, c, h, w] -> [B, c, kernel^2, h w]: a window around every place, zeros outside the map."""

    name = "unfold"

    class Attributes(Attributes):
        """`kernel`: rows and columns of the window. `dilation`: the step between its entries."""

        kernel: Odd
        dilation: Dimension = 1

    @staticmethod
    def rule(attributes: Unfold.Attributes, arguments: Types) -> Types:
        (x,) = arguments
        expect_rank("unfold", x, 4, "[B, channels, rows, columns]")
        places = fixed("unfold", x, 2) * fixed("unfold", x, 3)
        fixed("unfold", x, 1)
        dims = (x.dims[0], x.dims[1], Dim(attributes.kernel**2), Dim(places))
        return (TensorType(dims, x.dtype),)

    @staticmethod
    def call(
        attributes: Unfold.Attributes, types: Types, arguments: Codes, module: Code | None
    ) -> Code:
        kernel, dilation = attributes.kernel, attributes.dilation
        options = {"dilation": dilation} if dilation != 1 else {}
        if reach := dilation * (kernel // 2):
            options["padding"] = reach
        windows = call("F.unfold", *arguments, kernel, **options)
        return windows.method("unflatten", 1, (fixed("unfold", types[0], 1), kernel**2))

    @staticmethod
    def reference(
        attributes: Unfold.Attributes, arguments: Tensors, weights: WeightTensors
    ) -> Tensor:
        import torch
        from torch.nn import functional as F

        (x,) = arguments
        step, reach = attributes.dilation, attributes.dilation * (attributes.kernel // 2)
        rows, columns = x.shape[2:]
        padded = F.pad(x, (reach,) * 4)
        shifts = [
            padded[:, :, i * step : i * step + rows, j * step : j * step + columns].flatten(2)
            for i in range(attributes.kernel)
            for j in range(attributes.kernel)
        ]
        return torch.stack(shifts, 2)

    @staticmethod
    def examples() -> Iterator[Example]:
        yield Example(Unfold.Attributes(kernel=3), ((BATCH, 2, 3, 4),))
        yield Example(Unfold.Attributes(kernel=3, dilation=2), ((BATCH, 1, 5, 4),), "dilated")
        yield Example(Unfold.Attributes(kernel=1), ((BATCH, 2, 2, 2),), "each place alone")
