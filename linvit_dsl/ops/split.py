"""`split`: cut an axis into parts."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from linvit_dsl.graph.ir import Dim, TensorType
from linvit_dsl.ops.attributes import Attributes, Axis, Parts
from linvit_dsl.ops.code import Code
from linvit_dsl.ops.movement import Movement
from linvit_dsl.ops.op import BATCH, Codes, Example, OpProblem, Tensors, Types, WeightTensors
from linvit_dsl.ops.shapes import axis_index, fixed

if TYPE_CHECKING:
    pass


class Split(Movement):
    """Parts of given sizes along an axis. A part of size 0 is allowed: it vanishes in `concat`."""

    name = "split"
    view = True

    class Attributes(Attributes):
        """`sizes`: of the parts; they sum to the axis."""

        axis: Axis
        sizes: Parts

    @staticmethod
    def rule(attributes: Split.Attributes, arguments: Types) -> Types:
        (x,) = arguments
        axis = axis_index("split", attributes.axis, x)
        size, total = fixed("split", x, axis), sum(attributes.sizes)
        if total != size:
            parts = " + ".join(map(str, attributes.sizes))
            raise OpProblem(
                "E0328",
                axes=((0, axis),),
                op="split",
                axis=axis,
                given=x,
                difference=f"{parts} = {total}, not {size}",
            )
        dims = (x.dims[axis] if part == size else Dim(part) for part in attributes.sizes)
        return tuple(
            TensorType((*x.dims[:axis], dim, *x.dims[axis + 1 :]), x.dtype) for dim in dims
        )

    @staticmethod
    def identity(attributes: Split.Attributes, arguments: Types) -> bool:
        return len(attributes.sizes) == 1

    @staticmethod
    def call(
        attributes: Split.Attributes, types: Types, arguments: Codes, module: Code | None
    ) -> Code:
        sizes = attributes.sizes
        parts = sizes[0] if len(set(sizes)) == 1 else sizes
        return arguments[0].method("split", parts, dim=attributes.axis)

    @staticmethod
    def reference(
        attributes: Split.Attributes, arguments: Tensors, weights: WeightTensors
    ) -> Tensors:
        (x,) = arguments
        starts = [sum(attributes.sizes[:index]) for index in range(len(attributes.sizes))]
        return tuple(
            x.narrow(attributes.axis, start, size).clone()
            for start, size in zip(starts, attributes.sizes, strict=True)
        )

    @staticmethod
    def examples() -> Iterator[Example]:
        yield Example(Split.Attributes(axis=1, sizes=(1, 4)), ((BATCH, 5, 3),))
        yield Example(Split.Attributes(axis=-1, sizes=(2, 2, 2)), ((BATCH, 6),), "equal parts")
        yield Example(Split.Attributes(axis=1, sizes=(0, 5)), ((BATCH, 5, 3),), "an empty part")
        yield Example(Split.Attributes(axis=1, sizes=(5,)), ((BATCH, 5),), "one part")
