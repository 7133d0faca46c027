"""`exp`: the exponential."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

from linvit_dsl.ops.attributes import Attributes
from linvit_dsl.ops.code import Code, call
from linvit_dsl.ops.op import BATCH, Codes, Example, Saved, Tensors, Types, WeightTensors
from linvit_dsl.ops.pointwise import Pointwise

if TYPE_CHECKING:
    from torch import Tensor


class Exp(Pointwise):
    """e to the power of x."""

    name = "exp"

    class Attributes(Attributes):
        """None."""

    @staticmethod
    def saved(attributes: Exp.Attributes, arguments: Types) -> Saved:
        return Saved(results=(0,))

    @staticmethod
    def call(
        attributes: Exp.Attributes, types: Types, arguments: Codes, module: Code | None
    ) -> Code:
        return call("torch.exp", *arguments)

    @staticmethod
    def reference(attributes: Exp.Attributes, arguments: Tensors, weights: WeightTensors) -> Tensor:
        (x,) = arguments
        return math.e**x

    @staticmethod
    def examples() -> Iterator[Example]:
        yield Example(Exp.Attributes(), ((BATCH, 3, 5),))
