"""`tanh`: the hyperbolic tangent."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from linvit_dsl.ops.attributes import Attributes
from linvit_dsl.ops.code import Code, call
from linvit_dsl.ops.op import BATCH, Codes, Example, Saved, Tensors, Types, WeightTensors
from linvit_dsl.ops.pointwise import Pointwise

if TYPE_CHECKING:
    from torch import Tensor


class Tanh(Pointwise):
    """(exp(x) - exp(-x)) / (exp(x) + exp(-x))."""

    name = "tanh"

    class Attributes(Attributes):
        """None."""

    @staticmethod
    def saved(attributes: Tanh.Attributes, arguments: Types) -> Saved:
        return Saved(results=(0,))

    @staticmethod
    def call(
        attributes: Tanh.Attributes, types: Types, arguments: Codes, module: Code | None
    ) -> Code:
        return call("torch.tanh", *arguments)

    @staticmethod
    def reference(
        attributes: Tanh.Attributes, arguments: Tensors, weights: WeightTensors
    ) -> Tensor:
        (x,) = arguments
        small = (-2 * x.abs()).exp()  # of the other sign, exp would overflow
        return x.sign() * (1 - small) / (1 + small)

    @staticmethod
    def examples() -> Iterator[Example]:
        yield Example(Tanh.Attributes(), ((BATCH, 3, 5),))
