"""`ones`: a constant tensor of ones."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from linvit_dsl.graph.ir import TensorType
from linvit_dsl.ops.attributes import Attributes, Sizes
from linvit_dsl.ops.code import Code, call
from linvit_dsl.ops.movement import Movement
from linvit_dsl.ops.op import Codes, Example, Tensors, Types, WeightTensors

if TYPE_CHECKING:
    from torch import Tensor


class Ones(Movement):
    """Ones of a given shape, part of no checkpoint; applied to no tensor."""

    name = "ones"
    arity = 0

    class Attributes(Attributes):
        """`shape`: the sizes of the axes."""

        shape: Sizes

    @staticmethod
    def rule(attributes: Ones.Attributes, arguments: Types) -> Types:
        return (TensorType.of(*attributes.shape),)

    @staticmethod
    def module(attributes: Ones.Attributes, arguments: Types) -> Code:
        return call("layers.Constant", call("torch.ones", *attributes.shape))

    @staticmethod
    def call(
        attributes: Ones.Attributes, types: Types, arguments: Codes, module: Code | None
    ) -> Code:
        return call(str(module))

    @staticmethod
    def reference(
        attributes: Ones.Attributes, arguments: Tensors, weights: WeightTensors
    ) -> Tensor:
        import torch

        return torch.full_like(torch.empty(attributes.shape), 1)

    @staticmethod
    def examples() -> Iterator[Example]:
        yield Example(Ones.Attributes(shape=(1, 1, 3, 1)), ())
        yield Example(Ones.Attributes(shape=(4,)), (), "one axis")
