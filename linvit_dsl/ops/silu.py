"""`silu`: the sigmoid linear unit."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from linvit_dsl.ops.attributes import Attributes
from linvit_dsl.ops.code import Code, call
from linvit_dsl.ops.op import BATCH, Codes, Example, Saved, Tensors, Types, WeightTensors
from linvit_dsl.ops.pointwise import Pointwise

if TYPE_CHECKING:
    from torch import Tensor


class Silu(Pointwise):
    """x sigmoid(x), also called swish."""

    name = "silu"

    class Attributes(Attributes):
        """None."""

    @staticmethod
    def saved(attributes: Silu.Attributes, arguments: Types) -> Saved:
        return Saved(arguments=(0,))

    @staticmethod
    def call(
        attributes: Silu.Attributes, types: Types, arguments: Codes, module: Code | None
    ) -> Code:
        return call("F.silu", *arguments)

    @staticmethod
    def reference(
        attributes: Silu.Attributes, arguments: Tensors, weights: WeightTensors
    ) -> Tensor:
        (x,) = arguments
        return x / (1 + (-x).exp())

    @staticmethod
    def examples() -> Iterator[Example]:
        yield Example(Silu.Attributes(), ((BATCH, 3, 5),))
