"""`eye`: a constant identity matrix."""

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


class Eye(Movement):
    """The identity matrix, part of no checkpoint; applied to no tensor."""

    name = "eye"
    arity = 0

    class Attributes(Attributes):
        """`size`: rows and columns."""

        size: Dimension

    @staticmethod
    def rule(attributes: Eye.Attributes, arguments: Types) -> Types:
        return (TensorType.of(*(attributes.size, attributes.size)),)

    @staticmethod
    def module(attributes: Eye.Attributes, arguments: Types) -> Code:
        return call("layers.Constant", call("torch.eye", attributes.size))

    @staticmethod
    def call(
        attributes: Eye.Attributes, types: Types, arguments: Codes, module: Code | None
    ) -> Code:
        return call(str(module))

    @staticmethod
    def reference(attributes: Eye.Attributes, arguments: Tensors, weights: WeightTensors) -> Tensor:
        import torch

        return torch.diag(torch.ones(attributes.size))

    @staticmethod
    def examples() -> Iterator[Example]:
        yield Example(Eye.Attributes(size=3), ())
