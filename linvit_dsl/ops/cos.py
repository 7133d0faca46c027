"""`cos`: the cosine."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from linvit_dsl.ops.attributes import Attributes
from linvit_dsl.ops.code import Code, call
from linvit_dsl.ops.op import BATCH, Codes, Example, Saved, Tensors, Types, WeightTensors
from linvit_dsl.ops.pointwise import Pointwise

if TYPE_CHECKING:
    from torch import Tensor


class Cos(Pointwise):
    """The cosine of an angle in radians."""

    name = "cos"

    class Attributes(Attributes):
        """None."""

    @staticmethod
    def saved(attributes: Cos.Attributes, arguments: Types) -> Saved:
        return Saved(arguments=(0,))

    @staticmethod
    def call(
        attributes: Cos.Attributes, types: Types, arguments: Codes, module: Code | None
    ) -> Code:
        return call("torch.cos", *arguments)

    @staticmethod
    def reference(attributes: Cos.Attributes, arguments: Tensors, weights: WeightTensors) -> Tensor:
        import torch

        (x,) = arguments
        on_circle = torch.polar(torch.ones_like(x), x)
        return on_circle.real

    @staticmethod
    def examples() -> Iterator[Example]:
        yield Example(Cos.Attributes(), ((BATCH, 3, 5),))
