"""`linear`: an affine map of the last axis."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from linvit_dsl.graph.ir import Dim, Initializer, TensorType, Weight
from linvit_dsl.graph.size import Size
from linvit_dsl.ops.code import Code, call
from linvit_dsl.ops.initializers import initialized
from linvit_dsl.ops.op import Attributes, Dimension, Example, Init, Op, Saved

if TYPE_CHECKING:
    from torch import Tensor


class Linear(Op):
    """x W^T + b over the last axis: [..., i] -> [..., out]."""

    name = "linear"
    family = "linear"

    class Attributes(Attributes):
        """`out`: channels of the result. `init` applies to the weight; a bias starts at 0."""

        out: Dimension
        bias: bool = True
        init: Init = Initializer("trunc_normal", (0.02,))

    @staticmethod
    def types(attributes: Attributes, arguments: tuple[TensorType, ...]) -> tuple[TensorType, ...]:
        (x,) = arguments
        return (TensorType((*x.dims[:-1], Dim(attributes.out)), x.dtype),)

    @staticmethod
    def weights(attributes: Attributes, arguments: tuple[TensorType, ...]) -> tuple[Weight, ...]:
        width = int(arguments[0].sizes[-1])
        weight = Weight("weight", (attributes.out, width), attributes.init)
        bias = Weight("bias", (attributes.out,), Initializer("zeros"))
        return (weight, bias) if attributes.bias else (weight,)

    @staticmethod
    def macs(
        attributes: Attributes,
        arguments: tuple[TensorType, ...],
        results: tuple[TensorType, ...],
    ) -> Size:
        return arguments[0].elements * attributes.out

    @staticmethod
    def saved(attributes: Attributes, arguments: tuple[TensorType, ...]) -> Saved:
        return Saved(arguments=(0,))

    @staticmethod
    def module(attributes: Attributes, arguments: tuple[TensorType, ...]) -> Code:
        width = int(arguments[0].sizes[-1])
        options = {} if attributes.bias else {"bias": False}
        return initialized(call("nn.Linear", width, attributes.out, **options), attributes.init)

    @staticmethod
    def call(
        attributes: Attributes,
        types: tuple[TensorType, ...],
        arguments: tuple[Code, ...],
        module: Code | None,
    ) -> Code:
        return call(str(module), *arguments)

    @staticmethod
    def reference(
        attributes: Attributes, arguments: tuple[Tensor, ...], weights: Mapping[str, Tensor]
    ) -> Tensor:
        (x,) = arguments
        y = x @ weights["weight"].mT
        return y + weights["bias"] if attributes.bias else y

    @staticmethod
    def examples() -> Iterator[Example]:
        yield Example(Linear.Attributes(out=5), ((2, 3, 7),))
        yield Example(Linear.Attributes(out=4, bias=False), ((3, 6),), "no bias")
