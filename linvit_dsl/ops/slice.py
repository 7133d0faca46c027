"""`slice`: a stretch of an axis."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from linvit_dsl.graph.ir import Dim, TensorType
from linvit_dsl.ops.attributes import Attributes, Axis, Count, Dimension
from linvit_dsl.ops.code import Code
from linvit_dsl.ops.movement import Movement
from linvit_dsl.ops.op import BATCH, Codes, Example, OpProblem, Tensors, Types, WeightTensors
from linvit_dsl.ops.shapes import along, axis_index, fixed

if TYPE_CHECKING:
    from torch import Tensor


class Slice(Movement):
    """The `size` entries of an axis from `start` on."""

    name = "slice"
    view = True

    class Attributes(Attributes):
        """`start` counts from 0."""

        axis: Axis
        start: Count
        size: Dimension

    @staticmethod
    def rule(attributes: Slice.Attributes, arguments: Types) -> Types:
        (x,) = arguments
        axis = axis_index("slice", attributes.axis, x)
        size, end = fixed("slice", x, axis), attributes.start + attributes.size
        if end > size:
            problem = f"entries {attributes.start} to {end - 1} of {size}"
            help = f"start + size is at most {size}"
            raise OpProblem(
                "E0328",
                axes=((0, axis),),
                help=help,
                op="slice",
                axis=axis,
                given=x,
                difference=problem,
            )
        dim = x.dims[axis] if attributes.size == size else Dim(attributes.size)
        return (TensorType((*x.dims[:axis], dim, *x.dims[axis + 1 :]), x.dtype),)

    @staticmethod
    def identity(attributes: Slice.Attributes, arguments: Types) -> bool:
        return arguments[0].sizes[attributes.axis] == attributes.size

    @staticmethod
    def call(
        attributes: Slice.Attributes, types: Types, arguments: Codes, module: Code | None
    ) -> Code:
        if Slice.identity(attributes, types):
            return arguments[0]
        end = attributes.start + attributes.size
        is_rest = types[0].sizes[attributes.axis] == end
        part = slice(attributes.start or None, None if is_rest else end)
        return arguments[0].item(*along(attributes.axis, types[0], part))

    @staticmethod
    def reference(
        attributes: Slice.Attributes, arguments: Tensors, weights: WeightTensors
    ) -> Tensor:
        import torch

        (x,) = arguments
        entries = torch.arange(attributes.start, attributes.start + attributes.size)
        return x.index_select(attributes.axis, entries.to(x.device))

    @staticmethod
    def examples() -> Iterator[Example]:
        yield Example(Slice.Attributes(axis=1, start=1, size=2), ((BATCH, 4, 5),))
        yield Example(Slice.Attributes(axis=1, start=1, size=3), ((BATCH, 4, 5),), "the rest")
        yield Example(Slice.Attributes(axis=-1, start=0, size=3), ((BATCH, 4, 5),), "the last axis")
        yield Example(Slice.Attributes(axis=1, start=0, size=4), ((BATCH, 4),), "everything")
