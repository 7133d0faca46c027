"""`dropout`: zero some numbers in training."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from typing import TYPE_CHECKING

from linvit_dsl.graph.size import Size
from linvit_dsl.ops.attributes import Attributes, Probability
from linvit_dsl.ops.code import Code, call
from linvit_dsl.ops.op import BATCH, Codes, Example, Saved, Tensors, Types, WeightTensors
from linvit_dsl.ops.pointwise import Pointwise

if TYPE_CHECKING:
    from torch import Tensor


class Dropout(Pointwise):
    """Each number is 0 with probability p, else x / (1 - p); only in training."""

    name = "dropout"
    hyper = ("p",)
    random = True

    class Attributes(Attributes):
        """`p`: the probability of a zero."""

        p: Probability

    @staticmethod
    def saved(attributes: Dropout.Attributes, arguments: Types) -> Saved:
        return Saved(elements=mask_elements(arguments[0].elements) if attributes.p else 0)

    @staticmethod
    def identity(attributes: Dropout.Attributes, arguments: Types) -> bool:
        return attributes.p == 0

    @staticmethod
    def module(attributes: Dropout.Attributes, arguments: Types) -> Code:
        return call("nn.Dropout", attributes.p)

    @staticmethod
    def call(
        attributes: Dropout.Attributes, types: Types, arguments: Codes, module: Code | None
    ) -> Code:
        return call(str(module), *arguments)

    @staticmethod
    def reference(
        attributes: Dropout.Attributes, arguments: Tensors, weights: WeightTensors
    ) -> Tensor:
        return arguments[0].clone()

    @staticmethod
    def examples() -> Iterator[Example]:
        yield Example(Dropout.Attributes(p=0.1), ((BATCH, 3, 5),))
        yield Example(Dropout.Attributes(p=0), ((BATCH, 4),), "never")


def mask_elements(elements: Size) -> Size:
    """What a mask of booleans takes, in float32 numbers of four bytes."""
    if isinstance(elements, int):
        return -(-elements // 4)
    return elements * Fraction(1, 4)
