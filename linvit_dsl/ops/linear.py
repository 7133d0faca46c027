"""`linear`: an affine map of the last axis."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from linvit_dsl.graph.ir import Dim, Initializer, TensorType, Weight
from linvit_dsl.graph.size import Size
from linvit_dsl.ops.attributes import Attributes, Dimension, Flag, Init
from linvit_dsl.ops.code import Code, call
from linvit_dsl.ops.initializers import check_initializer, initialized
from linvit_dsl.ops.op import BATCH, Codes, Example, Op, Saved, Tensors, Types, WeightTensors
from linvit_dsl.ops.shapes import fixed

if TYPE_CHECKING:
    from torch import Tensor


class Linear(Op):
    """x W^T + b over the last axis: [..., i] -> [..., out]."""

    name = "linear"
    family = "linear"

    class Attributes(Attributes):
        """`out`: channels of the result. `init` applies to the weight; a bias starts at 0."""

        out: Dimension
        bias: Flag = True
        init: Init = Initializer("trunc_normal", (0.02,))

    @staticmethod
    def rule(attributes: Linear.Attributes, arguments: Types) -> Types:
        (x,) = arguments
        width = fixed("linear", x, -1)
        check_initializer(attributes.init, (attributes.out, width))
        return (TensorType((*x.dims[:-1], Dim(attributes.out)), x.dtype),)

    @staticmethod
    def weights(attributes: Linear.Attributes, arguments: Types) -> tuple[Weight, ...]:
        width = fixed("linear", arguments[0], -1)
        weight = Weight("weight", (attributes.out, width), attributes.init)
        bias = Weight("bias", (attributes.out,), Initializer("zeros"))
        return (weight, bias) if attributes.bias else (weight,)

    @staticmethod
    def macs(attributes: Linear.Attributes, arguments: Types, results: Types) -> Size:
        return arguments[0].elements * attributes.out

    @staticmethod
    def saved(attributes: Linear.Attributes, arguments: Types) -> Saved:
        return Saved(arguments=(0,))

    @staticmethod
    def module(attributes: Linear.Attributes, arguments: Types) -> Code:
        width = fixed("linear", arguments[0], -1)
        options = {} if attributes.bias else {"bias": False}
        return initialized(call("nn.Linear", width, attributes.out, **options), attributes.init)

    @staticmethod
    def call(
        attributes: Linear.Attributes, types: Types, arguments: Codes, module: Code | None
    ) -> Code:
        return call(str(module), *arguments)

    @staticmethod
    def reference(
        attributes: Linear.Attributes, arguments: Tensors, weights: WeightTensors
    ) -> Tensor:
        (x,) = arguments
        y = (x.unsqueeze(-2) * weights["weight"]).sum(-1)
        return y + weights["bias"] if attributes.bias else y

    @staticmethod
    def examples() -> Iterator[Example]:
        yield Example(Linear.Attributes(out=5), ((BATCH, 3, 7),))
        yield Example(Linear.Attributes(out=4, bias=False), ((BATCH, 6),), "no bias")
        xavier = Linear.Attributes(out=64, init=Initializer("xavier"))
        yield Example(xavier, ((BATCH, 48),), "another start")
