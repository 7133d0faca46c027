"""`stack`: join tensors along a new axis."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from linvit_dsl.graph.ir import Dim, TensorType
from linvit_dsl.ops.attributes import Attributes, Axis
from linvit_dsl.ops.code import Code, call, tuple_of
from linvit_dsl.ops.concat import expect_alike
from linvit_dsl.ops.movement import Movement
from linvit_dsl.ops.op import BATCH, Codes, Example, OpProblem, Tensors, Types, WeightTensors
from linvit_dsl.ops.shapes import axis_index

if TYPE_CHECKING:
    from torch import Tensor


class Stack(Movement):
    """Any number of tensors of one shape side by side along a new axis."""

    name = "stack"
    arity = None

    class Attributes(Attributes):
        """`axis`: the number of the new axis in the result."""

        axis: Axis

    @staticmethod
    def rule(attributes: Stack.Attributes, arguments: Types) -> Types:
        if not arguments:
            raise OpProblem("E0317", name="stack", expected="1 or more", given=0)
        first = arguments[0]
        axis = axis_index("stack", attributes.axis, first, extra=1)
        for index in range(1, len(arguments)):
            expect_alike("stack", f"on a new axis {axis}", arguments, index)
        dims = (*first.dims[:axis], Dim(len(arguments)), *first.dims[axis:])
        return (TensorType(dims, first.dtype),)

    @staticmethod
    def call(
        attributes: Stack.Attributes, types: Types, arguments: Codes, module: Code | None
    ) -> Code:
        if len(arguments) == 1:
            return arguments[0].method("unsqueeze", attributes.axis)
        return call("torch.stack", tuple_of(arguments), dim=attributes.axis)

    @staticmethod
    def reference(
        attributes: Stack.Attributes, arguments: Tensors, weights: WeightTensors
    ) -> Tensor:
        import torch

        return torch.cat([x.unsqueeze(attributes.axis) for x in arguments], attributes.axis)

    @staticmethod
    def examples() -> Iterator[Example]:
        yield Example(Stack.Attributes(axis=0), ((BATCH, 3), (BATCH, 3)))
        yield Example(Stack.Attributes(axis=2), ((BATCH, 3, 5),) * 3, "in the middle")
        yield Example(Stack.Attributes(axis=-1), ((BATCH, 3),), "one alone")
