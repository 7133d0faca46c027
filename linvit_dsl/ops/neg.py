"""`neg`: the minus sign in front of a tensor."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from linvit_dsl.ops.attributes import Attributes
from linvit_dsl.ops.code import ATOM, UNARY, Code
from linvit_dsl.ops.op import BATCH, Codes, Example, Saved, Tensors, Types, WeightTensors
from linvit_dsl.ops.pointwise import Pointwise

if TYPE_CHECKING:
    from torch import Tensor


class Neg(Pointwise):
    """-x."""

    name = "neg"

    class Attributes(Attributes):
        """None."""

    @staticmethod
    def saved(attributes: Neg.Attributes, arguments: Types) -> Saved:
        return Saved()

    @staticmethod
    def call(
        attributes: Neg.Attributes, types: Types, arguments: Codes, module: Code | None
    ) -> Code:
        return Code(f"-{arguments[0].at(ATOM)}", UNARY)

    @staticmethod
    def reference(attributes: Neg.Attributes, arguments: Tensors, weights: WeightTensors) -> Tensor:
        return 0 - arguments[0]

    @staticmethod
    def examples() -> Iterator[Example]:
        yield Example(Neg.Attributes(), ((BATCH, 3, 5),))
