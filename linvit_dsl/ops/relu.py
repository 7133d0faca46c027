"""`relu`: what is positive, else 0."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from linvit_dsl.ops.attributes import Attributes
from linvit_dsl.ops.code import Code, call
from linvit_dsl.ops.op import BATCH, Codes, Example, Saved, Tensors, Types, WeightTensors
from linvit_dsl.ops.pointwise import Pointwise

if TYPE_CHECKING:
    from torch import Tensor


class Relu(Pointwise):
    """max(x, 0); the gradient at 0 is 0."""

    name = "relu"

    class Attributes(Attributes):
        """None."""

    @staticmethod
    def saved(attributes: Relu.Attributes, arguments: Types) -> Saved:
        return Saved(results=(0,))

    @staticmethod
    def call(
        attributes: Relu.Attributes, types: Types, arguments: Codes, module: Code | None
    ) -> Code:
        return call("F.relu", *arguments)

    @staticmethod
    def reference(
        attributes: Relu.Attributes, arguments: Tensors, weights: WeightTensors
    ) -> Tensor:
        (x,) = arguments
        return x * (x > 0)

    @staticmethod
    def examples() -> Iterator[Example]:
        yield Example(Relu.Attributes(), ((BATCH, 3, 5),))
