"""`rmsnorm`: root mean square 1 over the last axis."""

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


class RmsNorm(Op):
    """Rows of the last axis with root mean square 1, then scaled (Zhang and Sennrich 2019)."""

    name = "rmsnorm"
    family = "norm"

    class Attributes(Attributes):
        """`eps`: added to the mean square."""

        eps: Positive = 1e-6

    @staticmethod
    def rule(attributes: RmsNorm.Attributes, arguments: Types) -> Types:
        fixed("rmsnorm", arguments[0], -1)
        return arguments

    @staticmethod
    def weights(attributes: RmsNorm.Attributes, arguments: Types) -> tuple[Weight, ...]:
        width = fixed("rmsnorm", arguments[0], -1)
        return (Weight("weight", (width,), Initializer("constant", (1.0,))),)

    @staticmethod
    def macs(attributes: RmsNorm.Attributes, arguments: Types, results: Types) -> Size:
        return 0

    @staticmethod
    def saved(attributes: RmsNorm.Attributes, arguments: Types) -> Saved:
        # The inverse root mean square of every row.
        return Saved(arguments=(0,), elements=product(arguments[0].sizes[:-1]))

    @staticmethod
    def module(attributes: RmsNorm.Attributes, arguments: Types) -> Code:
        width = fixed("rmsnorm", arguments[0], -1)
        return call("nn.RMSNorm", width, eps=attributes.eps)

    @staticmethod
    def call(
        attributes: RmsNorm.Attributes, types: Types, arguments: Codes, module: Code | None
    ) -> Code:
        return call(str(module), *arguments)

    @staticmethod
    def reference(
        attributes: RmsNorm.Attributes, arguments: Tensors, weights: WeightTensors
    ) -> Tensor:
        (x,) = arguments
        square = (x * x).mean(-1, keepdim=True)
        return x / (square + attributes.eps) ** 0.5 * weights["weight"]

    @staticmethod
    def examples() -> Iterator[Example]:
        yield Example(RmsNorm.Attributes(), ((BATCH, 3, 5),))
        yield Example(RmsNorm.Attributes(eps=0.1), ((BATCH, 4),), "a large eps")
