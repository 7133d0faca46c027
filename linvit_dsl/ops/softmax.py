"""`softmax`: positive numbers that sum to 1 along an axis."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from linvit_dsl.graph.size import Size
from linvit_dsl.ops.attributes import Attributes, Axis
from linvit_dsl.ops.code import Code
from linvit_dsl.ops.op import BATCH, Codes, Example, Op, Saved, Tensors, Types, WeightTensors
from linvit_dsl.ops.shapes import axis_index

if TYPE_CHECKING:
    from torch import Tensor


class Softmax(Op):
    """exp(x), divided by its sum along `axis`."""

    name = "softmax"
    family = "glue"

    class Attributes(Attributes):
        """`axis`: along which the result sums to 1."""

        axis: Axis

    @staticmethod
    def rule(attributes: Softmax.Attributes, arguments: Types) -> Types:
        axis_index("softmax", attributes.axis, arguments[0])
        return arguments

    @staticmethod
    def macs(attributes: Softmax.Attributes, arguments: Types, results: Types) -> Size:
        return 0

    @staticmethod
    def saved(attributes: Softmax.Attributes, arguments: Types) -> Saved:
        return Saved(results=(0,))

    @staticmethod
    def call(
        attributes: Softmax.Attributes, types: Types, arguments: Codes, module: Code | None
    ) -> Code:
        return arguments[0].method("softmax", attributes.axis)

    @staticmethod
    def reference(
        attributes: Softmax.Attributes, arguments: Tensors, weights: WeightTensors
    ) -> Tensor:
        (x,) = arguments
        y = (x - x.amax(attributes.axis, keepdim=True).detach()).exp()
        return y / y.sum(attributes.axis, keepdim=True)

    @staticmethod
    def examples() -> Iterator[Example]:
        yield Example(Softmax.Attributes(axis=-1), ((BATCH, 3, 5),))
        yield Example(Softmax.Attributes(axis=0), ((4, 3),), "another axis")
