"""`sin`: the sine."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from linvit_dsl.ops.attributes import Attributes
from linvit_dsl.ops.code import Code, call
from linvit_dsl.ops.op import BATCH, Codes, Example, Saved, Tensors, Types, WeightTensors
from linvit_dsl.ops.pointwise import Pointwise

if TYPE_CHECKING:
    from torch import Tensor


class Sin(Pointwise):
    """The sine of an angle in radians."""

    name = "sin"

    class Attributes(Attributes):
        """None."""

    @staticmethod
    def saved(attributes: Sin.Attributes, arguments: Types) -> Saved:
        return Saved(arguments=(0,))

    @staticmethod
    def call(
        attributes: Sin.Attributes, types: Types, arguments: Codes, module: Code | None
    ) -> Code:
        return call("torch.sin", *arguments)

    @staticmethod
    def reference(attributes: Sin.Attributes, arguments: Tensors, weights: WeightTensors) -> Tensor:
        import torch

        (x,) = arguments
        on_circle = torch.polar(torch.ones_like(x), x)
        return on_circle.imag

    @staticmethod
    def examples() -> Iterator[Example]:
        yield Example(Sin.Attributes(), ((BATCH, 3, 5),))
