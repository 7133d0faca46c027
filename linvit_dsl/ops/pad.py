"""`pad`: zeros around an axis."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from linvit_dsl.graph.ir import Dim, TensorType
from linvit_dsl.ops.attributes import Attributes, Axis, Count
from linvit_dsl.ops.code import Code, call
from linvit_dsl.ops.movement import Movement
from linvit_dsl.ops.op import BATCH, Codes, Example, Tensors, Types, WeightTensors
from linvit_dsl.ops.shapes import axis_index, fixed

if TYPE_CHECKING:
    from torch import Tensor


class Pad(Movement):
    """`before` zeros in front of an axis and `after` behind it."""

    name = "pad"

    class Attributes(Attributes):
        """Numbers of zeros; both may be 0."""

        axis: Axis
        before: Count
        after: Count

    @staticmethod
    def rule(attributes: Pad.Attributes, arguments: Types) -> Types:
        (x,) = arguments
        axis = axis_index("pad", attributes.axis, x)
        if attributes.before == attributes.after == 0:
            return (x,)
        size = fixed("pad", x, axis) + attributes.before + attributes.after
        return (TensorType((*x.dims[:axis], Dim(size), *x.dims[axis + 1 :]), x.dtype),)

    @staticmethod
    def identity(attributes: Pad.Attributes, arguments: Types) -> bool:
        return attributes.before == attributes.after == 0

    @staticmethod
    def call(
        attributes: Pad.Attributes, types: Types, arguments: Codes, module: Code | None
    ) -> Code:
        if Pad.identity(attributes, types):
            return arguments[0]
        # torch lists the axes from the last to the first.
        rank = len(types[0].dims)
        untouched = (0, 0) * (rank - 1 - attributes.axis % rank)
        return call("F.pad", *arguments, (*untouched, attributes.before, attributes.after))

    @staticmethod
    def reference(attributes: Pad.Attributes, arguments: Tensors, weights: WeightTensors) -> Tensor:
        import torch

        (x,) = arguments
        sides = []
        for width in (attributes.before, attributes.after):
            shape = list(x.shape)
            shape[attributes.axis] = width
            sides.append(x.new_zeros(shape))
        return torch.cat((sides[0], x, sides[1]), attributes.axis)

    @staticmethod
    def examples() -> Iterator[Example]:
        yield Example(Pad.Attributes(axis=2, before=0, after=1), ((BATCH, 2, 3, 4),))
        yield Example(Pad.Attributes(axis=-1, before=2, after=1), ((BATCH, 3),), "both sides")
        yield Example(Pad.Attributes(axis=1, before=0, after=0), ((BATCH, 3),), "nothing")
