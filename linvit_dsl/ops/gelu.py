"""`gelu`: the Gaussian error linear unit."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Literal

from linvit_dsl.ops.attributes import Attributes
from linvit_dsl.ops.code import Code, call
from linvit_dsl.ops.op import BATCH, Codes, Example, Saved, Tensors, Types, WeightTensors
from linvit_dsl.ops.pointwise import Pointwise

if TYPE_CHECKING:
    from torch import Tensor


class Gelu(Pointwise):
    """x P(N(0, 1) <= x), exactly or approximated with tanh (Hendrycks and Gimpel 2016)."""

    name = "gelu"

    class Attributes(Attributes):
        """`approximate`: "none" for the error function, "tanh" for the approximation."""

        approximate: Literal["none", "tanh"] = "none"

    @staticmethod
    def saved(attributes: Gelu.Attributes, arguments: Types) -> Saved:
        return Saved(arguments=(0,))

    @staticmethod
    def call(
        attributes: Gelu.Attributes, types: Types, arguments: Codes, module: Code | None
    ) -> Code:
        if attributes.approximate == "none":
            return call("F.gelu", *arguments)
        return call("F.gelu", *arguments, approximate=attributes.approximate)

    @staticmethod
    def reference(
        attributes: Gelu.Attributes, arguments: Tensors, weights: WeightTensors
    ) -> Tensor:
        (x,) = arguments
        if attributes.approximate == "none":
            return x * (1 + (x / math.sqrt(2)).erf()) / 2
        return x * (1 + (math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)).tanh()) / 2

    @staticmethod
    def examples() -> Iterator[Example]:
        yield Example(Gelu.Attributes(), ((BATCH, 3, 5),))
        yield Example(Gelu.Attributes(approximate="tanh"), ((BATCH, 4),), "the approximation")
