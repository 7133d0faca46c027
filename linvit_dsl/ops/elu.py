"""`elu`: linear above 0, exponential below."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from linvit_dsl.ops.attributes import Attributes
from linvit_dsl.ops.code import Code, call
from linvit_dsl.ops.op import BATCH, Codes, Example, Saved, Tensors, Types, WeightTensors
from linvit_dsl.ops.pointwise import Pointwise

if TYPE_CHECKING:
    from torch import Tensor


class Elu(Pointwise):
    """x above 0, exp(x) - 1 below."""

    name = "elu"

    class Attributes(Attributes):
        """None."""

    @staticmethod
    def saved(attributes: Elu.Attributes, arguments: Types) -> Saved:
        return Saved(arguments=(0,))

    @staticmethod
    def call(
        attributes: Elu.Attributes, types: Types, arguments: Codes, module: Code | None
    ) -> Code:
        return call("F.elu", *arguments)

    @staticmethod
    def reference(attributes: Elu.Attributes, arguments: Tensors, weights: WeightTensors) -> Tensor:
        (x,) = arguments
        return x.clamp(min=0) + x.clamp(max=0).exp() - 1

    @staticmethod
    def examples() -> Iterator[Example]:
        yield Example(Elu.Attributes(), ((BATCH, 3, 5),))
