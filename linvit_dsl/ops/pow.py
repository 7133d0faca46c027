"""`pow`: the operator `^` between a tensor and a number."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from linvit_dsl.ops.attributes import Attributes, Real
from linvit_dsl.ops.code import Code, number
from linvit_dsl.ops.op import BATCH, Codes, Example, Saved, Tensors, Types, WeightTensors
from linvit_dsl.ops.pointwise import Pointwise

if TYPE_CHECKING:
    from torch import Tensor


class Pow(Pointwise):
    """Every number to a fixed power: `x ^ 2`, the root `x ^ (1/2)`.

    The slope of a root at 0 is infinite, and a power that is not whole has no value below 0: add
    something to `x` where that can happen.
    """

    name = "pow"

    class Attributes(Attributes):
        """`exponent`: the power."""

        exponent: Real

    @staticmethod
    def saved(attributes: Pow.Attributes, arguments: Types) -> Saved:
        return Saved(arguments=(0,))

    @staticmethod
    def identity(attributes: Pow.Attributes, arguments: Types) -> bool:
        return attributes.exponent == 1

    @staticmethod
    def call(
        attributes: Pow.Attributes, types: Types, arguments: Codes, module: Code | None
    ) -> Code:
        return arguments[0].method("pow", number(attributes.exponent))

    @staticmethod
    def reference(attributes: Pow.Attributes, arguments: Tensors, weights: WeightTensors) -> Tensor:
        (x,) = arguments
        exponent = attributes.exponent
        if exponent.is_integer():
            power = x * 0 + 1
            for _ in range(abs(int(exponent))):
                power = power * x
            return power if exponent >= 0 else 1 / power
        return (x.log() * exponent).exp()

    @staticmethod
    def examples() -> Iterator[Example]:
        yield Example(Pow.Attributes(exponent=3), ((BATCH, 3, 5),))
        yield Example(Pow.Attributes(exponent=0.5), ((BATCH, 4),), "a root", ("positive",))
        yield Example(Pow.Attributes(exponent=-1.5), ((BATCH, 4),), "one over", ("positive",))
        yield Example(Pow.Attributes(exponent=-1), ((BATCH, 4),), "the inverse", ("positive",))
        yield Example(Pow.Attributes(exponent=1), ((BATCH, 4),), "as it is")
        yield Example(Pow.Attributes(exponent=0), ((BATCH, 4),), "ones")
