"""`transpose`: exchange two axes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from linvit_dsl.graph.ir import TensorType
from linvit_dsl.ops.attributes import Attributes, Axis
from linvit_dsl.ops.code import Code
from linvit_dsl.ops.movement import Movement
from linvit_dsl.ops.op import BATCH, Codes, Example, Tensors, Types, WeightTensors
from linvit_dsl.ops.shapes import axis_index

if TYPE_CHECKING:
    from torch import Tensor


class Transpose(Movement):
    """Axis `a` takes the place of axis `b`, and the other way round."""

    name = "transpose"
    view = True

    class Attributes(Attributes):
        """`a`, `b`: the axes."""

        a: Axis
        b: Axis

    @staticmethod
    def rule(attributes: Transpose.Attributes, arguments: Types) -> Types:
        (x,) = arguments
        a = axis_index("transpose", attributes.a, x)
        b = axis_index("transpose", attributes.b, x)
        dims = list(x.dims)
        dims[a], dims[b] = dims[b], dims[a]
        return (TensorType(tuple(dims), x.dtype),)

    @staticmethod
    def identity(attributes: Transpose.Attributes, arguments: Types) -> bool:
        rank = len(arguments[0].dims)
        return attributes.a % rank == attributes.b % rank

    @staticmethod
    def call(
        attributes: Transpose.Attributes, types: Types, arguments: Codes, module: Code | None
    ) -> Code:
        return arguments[0].method("transpose", attributes.a, attributes.b)

    @staticmethod
    def reference(
        attributes: Transpose.Attributes, arguments: Tensors, weights: WeightTensors
    ) -> Tensor:
        (x,) = arguments
        order = list(range(x.ndim))
        order[attributes.a], order[attributes.b] = order[attributes.b], order[attributes.a]
        return x.permute(order)

    @staticmethod
    def examples() -> Iterator[Example]:
        yield Example(Transpose.Attributes(a=1, b=2), ((BATCH, 3, 5),))
        yield Example(Transpose.Attributes(a=-1, b=1), ((BATCH, 2, 3, 4),), "from the last")
