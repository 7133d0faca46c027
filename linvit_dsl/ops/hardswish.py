"""`hardswish`: a swish of straight pieces."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from linvit_dsl.ops.attributes import Attributes
from linvit_dsl.ops.code import Code, call
from linvit_dsl.ops.op import BATCH, Codes, Example, Saved, Tensors, Types, WeightTensors
from linvit_dsl.ops.pointwise import Pointwise

if TYPE_CHECKING:
    from torch import Tensor


class Hardswish(Pointwise):
    """x min(max(x + 3, 0), 6) / 6, close to `silu` and cheaper (Howard et al., ICCV 2019)."""

    name = "hardswish"

    class Attributes(Attributes):
        """None."""

    @staticmethod
    def saved(attributes: Hardswish.Attributes, arguments: Types) -> Saved:
        return Saved(arguments=(0,))

    @staticmethod
    def call(
        attributes: Hardswish.Attributes, types: Types, arguments: Codes, module: Code | None
    ) -> Code:
        return call("F.hardswish", *arguments)

    @staticmethod
    def reference(
        attributes: Hardswish.Attributes, arguments: Tensors, weights: WeightTensors
    ) -> Tensor:
        (x,) = arguments
        return x * (x + 3).clamp(0, 6) / 6

    @staticmethod
    def examples() -> Iterator[Example]:
        yield Example(Hardswish.Attributes(), ((BATCH, 3, 5),))
