"""`layernorm`: zero mean and unit variance over the last axis."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from linvit_dsl.graph.ir import Initializer, Weight
from linvit_dsl.graph.size import Size, product
from linvit_dsl.ops.attributes import Attributes, Positive
from linvit_dsl.ops.code import Code, call
from linvit_dsl.ops.op import BATCH, Codes, Example, Op, Saved, Tensors, Types, WeightTensors
from linvit_dsl.ops.shapes import fixed

if TYPE_CHECKING:
    from torch import Tensor


class LayerNorm(Op):
    """Rows of the last axis with mean 0, variance 1, then scaled and shifted (Ba et al. 2016)."""

    name = "layernorm"
    family = "norm"

    class Attributes(Attributes):
        """`eps`: added to the variance."""

        eps: Positive = 1e-6

    @staticmethod
    def rule(attributes: LayerNorm.Attributes, arguments: Types) -> Types:
        fixed("layernorm", arguments[0], -1)
        return arguments

    @staticmethod
    def weights(attributes: LayerNorm.Attributes, arguments: Types) -> tuple[Weight, ...]:
        width = fixed("layernorm", arguments[0], -1)
        one, zero = Initializer("constant", (1.0,)), Initializer("zeros")
        return Weight("weight", (width,), one), Weight("bias", (width,), zero)

    @staticmethod
    def macs(attributes: LayerNorm.Attributes, arguments: Types, results: Types) -> Size:
        return 0

    @staticmethod
    def saved(attributes: LayerNorm.Attributes, arguments: Types) -> Saved:
        # The mean and the inverse deviation of every row.
        return Saved(arguments=(0,), elements=2 * product(arguments[0].sizes[:-1]))

    @staticmethod
    def module(attributes: LayerNorm.Attributes, arguments: Types) -> Code:
        width = fixed("layernorm", arguments[0], -1)
        return call("nn.LayerNorm", width, eps=attributes.eps)

    @staticmethod
    def call(
        attributes: LayerNorm.Attributes, types: Types, arguments: Codes, module: Code | None
    ) -> Code:
        return call(str(module), *arguments)

    @staticmethod
    def reference(
        attributes: LayerNorm.Attributes, arguments: Tensors, weights: WeightTensors
    ) -> Tensor:
        (x,) = arguments
        centred = x - x.mean(-1, keepdim=True)
        variance = (centred * centred).mean(-1, keepdim=True)
        return centred / (variance + attributes.eps) ** 0.5 * weights["weight"] + weights["bias"]

    @staticmethod
    def examples() -> Iterator[Example]:
        yield Example(LayerNorm.Attributes(), ((BATCH, 3, 5),))
        yield Example(LayerNorm.Attributes(eps=0.1), ((BATCH, 4),), "a large eps")
