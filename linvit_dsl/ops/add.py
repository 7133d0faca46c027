"""`add`: the operator `+`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from linvit_dsl.ops.arithmetic import (
    Arithmetic,
    ArithmeticAttributes,
    combined,
    examples_of,
    operands,
    tensor_operands,
)
from linvit_dsl.ops.code import Code, binary
from linvit_dsl.ops.op import Codes, Example, Saved, Tensors, Types, WeightTensors

if TYPE_CHECKING:
    from torch import Tensor


class Add(Arithmetic):
    """The sum."""

    name = "add"

    @staticmethod
    def rule(attributes: ArithmeticAttributes, arguments: Types) -> Types:
        return combined("add", attributes, arguments)

    @staticmethod
    def saved(attributes: ArithmeticAttributes, arguments: Types) -> Saved:
        return Saved()

    @staticmethod
    def identity(attributes: ArithmeticAttributes, arguments: Types) -> bool:
        return 0 in (attributes.left, attributes.right)

    @staticmethod
    def call(
        attributes: ArithmeticAttributes, types: Types, arguments: Codes, module: Code | None
    ) -> Code:
        return binary("+", *operands(attributes, arguments))

    @staticmethod
    def reference(
        attributes: ArithmeticAttributes, arguments: Tensors, weights: WeightTensors
    ) -> Tensor:
        left, right = tensor_operands(attributes, arguments)
        return left + right

    @staticmethod
    def examples() -> Iterator[Example]:
        yield from examples_of()
