"""`abs`: the absolute value."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from linvit_dsl.ops.attributes import Attributes
from linvit_dsl.ops.code import Code, call
from linvit_dsl.ops.op import BATCH, Codes, Example, Saved, Tensors, Types, WeightTensors
from linvit_dsl.ops.pointwise import Pointwise

if TYPE_CHECKING:
    from torch import Tensor


class Abs(Pointwise):
    """x without its sign; the gradient at 0 is 0."""

    name = "abs"

    class Attributes(Attributes):
        """None."""

    @staticmethod
    def saved(attributes: Abs.Attributes, arguments: Types) -> Saved:
        return Saved(arguments=(0,))

    @staticmethod
    def call(
        attributes: Abs.Attributes, types: Types, arguments: Codes, module: Code | None
    ) -> Code:
        return call("torch.abs", *arguments)

    @staticmethod
    def reference(attributes: Abs.Attributes, arguments: Tensors, weights: WeightTensors) -> Tensor:
        (x,) = arguments
        return x * x.sign()

    @staticmethod
    def examples() -> Iterator[Example]:
        yield Example(Abs.Attributes(), ((BATCH, 3, 5),))
