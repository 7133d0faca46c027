"""`conv2d`: a convolution of images or maps."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from linvit_dsl.graph.ir import Dim, Initializer, TensorType, Weight
from linvit_dsl.graph.size import Size
from linvit_dsl.ops.attributes import Attributes, CountPair, Dimension, Flag, Init, Pair
from linvit_dsl.ops.code import Code, call
from linvit_dsl.ops.initializers import check_initializer, initialized
from linvit_dsl.ops.op import (
    BATCH,
    Codes,
    Example,
    Op,
    OpProblem,
    Saved,
    Tensors,
    Types,
    WeightTensors,
)
from linvit_dsl.ops.shapes import expect_rank, fixed

if TYPE_CHECKING:
    from torch import Tensor


class Conv2d(Op):
    """Cross-correlation over the last two axes, zeros around: [B, i, h, w] -> [B, out, h', w'].

    h' = floor((h + 2 pad - dilation (kernel - 1) - 1) / stride) + 1, and so for w'.
    """

    name = "conv2d"
    family = "convolution"

    class Attributes(Attributes):
        """`out`: channels of the result. One number for rows and columns, or a pair."""

        out: Dimension
        kernel: Pair = (1, 1)
        stride: Pair = (1, 1)
        pad: CountPair = (0, 0)
        dilation: Pair = (1, 1)
        groups: Dimension = 1
        bias: Flag = True
        init: Init = None

    @staticmethod
    def rule(attributes: Conv2d.Attributes, arguments: Types) -> Types:
        (x,) = arguments
        expect_rank("conv2d", x, 4, "[B, channels, rows, columns]")
        channels = fixed("conv2d", x, 1)
        for count, axes in ((channels, ((0, 1),)), (attributes.out, ())):
            if count % attributes.groups:
                help = _divisors(channels, attributes.out, attributes.groups)
                raise OpProblem(
                    "E0331", axes=axes, help=help, channels=count, groups=attributes.groups
                )
        check_initializer(attributes.init, _weight_shape(attributes, channels))
        rows, columns = (_output_size(attributes, x, axis) for axis in (0, 1))
        return (TensorType((x.dims[0], Dim(attributes.out), rows, columns), x.dtype),)

    @staticmethod
    def weights(attributes: Conv2d.Attributes, arguments: Types) -> tuple[Weight, ...]:
        shape = _weight_shape(attributes, fixed("conv2d", arguments[0], 1))
        weight = Weight("weight", shape, attributes.init)
        if not attributes.bias:
            return (weight,)
        start = None if attributes.init is None else Initializer("zeros")
        return weight, Weight("bias", (attributes.out,), start)

    @staticmethod
    def macs(attributes: Conv2d.Attributes, arguments: Types, results: Types) -> Size:
        channels = fixed("conv2d", arguments[0], 1)
        window = attributes.kernel[0] * attributes.kernel[1]
        return results[0].elements * (channels // attributes.groups * window)

    @staticmethod
    def saved(attributes: Conv2d.Attributes, arguments: Types) -> Saved:
        return Saved(arguments=(0,))

    @staticmethod
    def module(attributes: Conv2d.Attributes, arguments: Types) -> Code:
        options: dict[str, object] = {}
        for keyword, pair, default in (
            ("stride", attributes.stride, 1),
            ("padding", attributes.pad, 0),
            ("dilation", attributes.dilation, 1),
        ):
            if pair != (default, default):
                options[keyword] = _short(pair)
        if attributes.groups != 1:
            options["groups"] = attributes.groups
        if not attributes.bias:
            options["bias"] = False
        channels = fixed("conv2d", arguments[0], 1)
        kernel = _short(attributes.kernel)
        conv = call("nn.Conv2d", channels, attributes.out, kernel, **options)
        return initialized(conv, attributes.init)

    @staticmethod
    def call(
        attributes: Conv2d.Attributes, types: Types, arguments: Codes, module: Code | None
    ) -> Code:
        return call(str(module), *arguments)

    @staticmethod
    def reference(
        attributes: Conv2d.Attributes, arguments: Tensors, weights: WeightTensors
    ) -> Tensor:
        import torch
        from torch.nn import functional as F

        (x,), weight, groups = arguments, weights["weight"], attributes.groups
        (down, right), (strides, steps) = attributes.dilation, attributes.stride
        rows, columns = (_output_size(attributes, TensorType.of(*x.shape), i).size for i in (0, 1))
        assert isinstance(rows, int)
        assert isinstance(columns, int)
        x = F.pad(x, (attributes.pad[1], attributes.pad[1], attributes.pad[0], attributes.pad[0]))
        parts = x.unflatten(1, (groups, -1)).unsqueeze(2)
        filters = weight.unflatten(0, (groups, -1))
        y = x.new_zeros(())
        for i in range(attributes.kernel[0]):
            for j in range(attributes.kernel[1]):
                top, left = i * down, j * right
                window = parts[..., top : top + strides * (rows - 1) + 1 : strides, :]
                window = window[..., left : left + steps * (columns - 1) + 1 : steps]
                y = y + (window * filters[..., i, j, None, None]).sum(3)
        y = y.flatten(1, 2)
        bias = weights["bias"] if attributes.bias else torch.zeros_like(weight[:, 0, 0, 0])
        return y + bias[:, None, None]

    @staticmethod
    def examples() -> Iterator[Example]:
        image = (BATCH, 4, 6, 5)
        yield Example(Conv2d.Attributes(out=3, kernel=(2, 2), stride=(2, 2)), (image,), "patches")
        tall = Conv2d.Attributes(out=6, kernel=(3, 1), pad=(1, 0), groups=2, bias=False)
        yield Example(tall, (image,), "a column, in groups")
        wide = Conv2d.Attributes(out=2, kernel=(2, 3), stride=(1, 2), pad=(0, 2), dilation=(2, 1))
        yield Example(wide, (image,), "all settings differ in rows and columns")
        shift = Conv2d.Attributes(
            out=4, kernel=(3, 3), pad=(1, 1), groups=4, init=Initializer("dirac")
        )
        yield Example(shift, (image,), "depth-wise, starting as the identity")


def _weight_shape(attributes: Conv2d.Attributes, channels: int) -> tuple[int, int, int, int]:
    return (attributes.out, channels // attributes.groups, *attributes.kernel)


def _output_size(attributes: Conv2d.Attributes, x: TensorType, axis: int) -> Dim:
    """Rows (`axis` 0) or columns (1) of the result.

    Raises:
        OpProblem: E0330, the kernel is larger than the padded image; E0334.
    """
    pick = axis + 2
    size, pad = fixed("conv2d", x, pick), attributes.pad[axis]
    reach = attributes.dilation[axis] * (attributes.kernel[axis] - 1) + 1
    if size + 2 * pad < reach:
        padded = size + 2 * pad
        help = f"the kernel reaches over {reach}, axis {pick} has {padded} with its padding"
        kernel = "x".join(map(str, attributes.kernel))
        raise OpProblem("E0330", axes=((0, pick),), help=help, kernel=kernel, given=x)
    result = (size + 2 * pad - reach) // attributes.stride[axis] + 1
    return x.dims[pick] if result == size else Dim(result)


def _short(pair: tuple[int, int]) -> int | tuple[int, int]:
    return pair[0] if pair[0] == pair[1] else pair


def _divisors(channels: int, out: int, groups: int) -> str:
    common = [n for n in range(1, min(channels, out) + 1) if channels % n == out % n == 0]
    near = sorted(sorted(common, key=lambda n: abs(n - groups))[:3])
    numbers = ", ".join(map(str, near))
    return f"groups that divide {channels} and {out} near {groups}: {numbers}"
