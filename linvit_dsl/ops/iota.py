"""`iota`: the constant 0, 1, 2, ..."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from linvit_dsl.graph.ir import TensorType
from linvit_dsl.ops.attributes import Attributes, Dimension
from linvit_dsl.ops.code import Code, call
from linvit_dsl.ops.movement import Movement
from linvit_dsl.ops.op import Codes, Example, Tensors, Types, WeightTensors

if TYPE_CHECKING:
    from torch import Tensor


class Iota(Movement):
    """0, 1, ..., size - 1, part of no checkpoint; applied to no tensor.

    They are real numbers like all tensors of the language, so that positions take part in
    arithmetic and follow the model's precision.
    """

    name = "iota"
    arity = 0

    class Attributes(Attributes):
        """`size`: how many."""

        size: Dimension

    @staticmethod
    def rule(attributes: Iota.Attributes, arguments: Types) -> Types:
        return (TensorType.of(attributes.size),)

    @staticmethod
    def module(attributes: Iota.Attributes, arguments: Types) -> Code:
        # Of a real number, torch makes real numbers.
        return call("layers.Constant", call("torch.arange", float(attributes.size)))

    @staticmethod
    def call(
        attributes: Iota.Attributes, types: Types, arguments: Codes, module: Code | None
    ) -> Code:
        return call(str(module))

    @staticmethod
    def reference(
        attributes: Iota.Attributes, arguments: Tensors, weights: WeightTensors
    ) -> Tensor:
        import torch

        return torch.ones(attributes.size, dtype=torch.float64).cumsum(0) - 1

    @staticmethod
    def examples() -> Iterator[Example]:
        yield Example(Iota.Attributes(size=5), ())
