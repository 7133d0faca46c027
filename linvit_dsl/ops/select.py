"""`select`: one entry of an axis."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from linvit_dsl.graph.ir import TensorType
from linvit_dsl.ops.attributes import Attributes, Axis, Index
from linvit_dsl.ops.code import Code
from linvit_dsl.ops.movement import Movement
from linvit_dsl.ops.op import BATCH, Codes, Example, OpProblem, Tensors, Types, WeightTensors
from linvit_dsl.ops.shapes import along, axis_index, fixed

if TYPE_CHECKING:
    from torch import Tensor


class Select(Movement):
    """The entry `index` of an axis, which goes away: `select[1, 0]` is the class token."""

    name = "select"
    view = True

    class Attributes(Attributes):
        """`index` counts from 0, or from the last if negative."""

        axis: Axis
        index: Index

    @staticmethod
    def rule(attributes: Select.Attributes, arguments: Types) -> Types:
        (x,) = arguments
        axis = axis_index("select", attributes.axis, x)
        size = fixed("select", x, axis)
        if not -size <= attributes.index < size:
            problem = f"there is no entry {attributes.index} among {size}"
            raise OpProblem(
                "E0328", axes=((0, axis),), op="select", axis=axis, given=x, difference=problem
            )
        return (TensorType((*x.dims[:axis], *x.dims[axis + 1 :]), x.dtype),)

    @staticmethod
    def call(
        attributes: Select.Attributes, types: Types, arguments: Codes, module: Code | None
    ) -> Code:
        return arguments[0].item(*along(attributes.axis, types[0], attributes.index))

    @staticmethod
    def reference(
        attributes: Select.Attributes, arguments: Tensors, weights: WeightTensors
    ) -> Tensor:
        return arguments[0].unbind(attributes.axis)[attributes.index]

    @staticmethod
    def examples() -> Iterator[Example]:
        yield Example(Select.Attributes(axis=1, index=0), ((BATCH, 3, 5),))
        yield Example(Select.Attributes(axis=-1, index=-2), ((BATCH, 2, 3, 4),), "from the last")
        yield Example(Select.Attributes(axis=0, index=1), ((3, 4),), "the first axis")
