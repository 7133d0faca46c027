"""`sigmoid`: the logistic function."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from linvit_dsl.ops.attributes import Attributes
from linvit_dsl.ops.code import Code, call
from linvit_dsl.ops.op import BATCH, Codes, Example, Saved, Tensors, Types, WeightTensors
from linvit_dsl.ops.pointwise import Pointwise

if TYPE_CHECKING:
    from torch import Tensor


class Sigmoid(Pointwise):
    """1 / (1 + exp(-x))."""

    name = "sigmoid"

    class Attributes(Attributes):
        """None."""

    @staticmethod
    def saved(attributes: Sigmoid.Attributes, arguments: Types) -> Saved:
        return Saved(results=(0,))

    @staticmethod
    def call(
        attributes: Sigmoid.Attributes, types: Types, arguments: Codes, module: Code | None
    ) -> Code:
        return call("torch.sigmoid", *arguments)

    @staticmethod
    def reference(
        attributes: Sigmoid.Attributes, arguments: Tensors, weights: WeightTensors
    ) -> Tensor:
        (x,) = arguments
        return 1 / (1 + (-x).exp())

    @staticmethod
    def examples() -> Iterator[Example]:
        yield Example(Sigmoid.Attributes(), ((BATCH, 3, 5),))
