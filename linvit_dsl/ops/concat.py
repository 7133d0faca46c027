"""`concat`: join tensors along an axis."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from linvit_dsl.graph.ir import Dim, TensorType
from linvit_dsl.graph.size import Poly, Size, simplify
from linvit_dsl.ops.attributes import Attributes, Axis
from linvit_dsl.ops.code import Code, call, tuple_of
from linvit_dsl.ops.movement import Movement
from linvit_dsl.ops.op import BATCH, Codes, Example, OpProblem, Tensors, Types, WeightTensors
from linvit_dsl.ops.shapes import axis_index, difference, plural

if TYPE_CHECKING:
    from torch import Tensor


class Concat(Movement):
    """Any number of tensors one after the other; those of size 0 along the axis vanish."""

    name = "concat"
    arity = None
    takes_empty = True

    class Attributes(Attributes):
        """`axis`: along which to join."""

        axis: Axis

    @staticmethod
    def rule(attributes: Concat.Attributes, arguments: Types) -> Types:
        if not arguments:
            raise OpProblem("E0317", name="concat", expected="1 or more", given=0)
        first = arguments[0]
        axis = axis_index("concat", attributes.axis, first)
        where = "on the last axis" if axis == len(first.dims) - 1 else f"on axis {axis}"
        total: Size = 0
        for index, x in enumerate(arguments):
            expect_alike("concat", where, arguments, index, skip=axis)
            size = simplify(Poly.of(total) + x.sizes[axis])
            assert isinstance(size, int | Poly), "a sum of whole numbers"
            total = size
        parts = [x.dims[axis] for x in arguments if x.sizes[axis] != 0]
        joined = parts[0] if len(parts) == 1 else Dim(total)
        return (TensorType((*first.dims[:axis], joined, *first.dims[axis + 1 :]), first.dtype),)

    @staticmethod
    def identity(attributes: Concat.Attributes, arguments: Types) -> bool:
        return all(x.sizes[attributes.axis] == 0 for x in arguments[1:])

    @staticmethod
    def call(
        attributes: Concat.Attributes, types: Types, arguments: Codes, module: Code | None
    ) -> Code:
        axis = attributes.axis
        parts = [x for x, type_ in zip(arguments, types, strict=True) if type_.sizes[axis] != 0]
        parts = parts or list(arguments)
        return parts[0] if len(parts) == 1 else call("torch.cat", tuple_of(parts), dim=axis)

    @staticmethod
    def reference(
        attributes: Concat.Attributes, arguments: Tensors, weights: WeightTensors
    ) -> Tensor:
        import torch

        slices = [part for x in arguments for part in x.unbind(attributes.axis)]
        axis = attributes.axis % arguments[0].ndim
        return torch.stack(slices, axis)

    @staticmethod
    def examples() -> Iterator[Example]:
        yield Example(Concat.Attributes(axis=1), ((BATCH, 3, 5), (BATCH, 2, 5), (BATCH, 1, 5)))
        yield Example(Concat.Attributes(axis=-1), ((BATCH, 4), (BATCH, 4)), "the last axis")
        yield Example(Concat.Attributes(axis=1), ((BATCH, 0, 5), (BATCH, 2, 5)), "an empty one")
        yield Example(Concat.Attributes(axis=1), ((BATCH, 2, 5), (BATCH, 0, 5)), "an empty rest")


def expect_alike(
    op: str, where: str, arguments: Types, index: int, *, skip: int | None = None
) -> None:
    """Demand that argument `index` has the shape of the first, axis `skip` aside.

    Raises:
        OpProblem: E0324.
    """
    first, x = arguments[0], arguments[index]
    slots: dict[str, Any] = {"op": op, "left": first, "right": x, "where": where}
    if len(first.dims) != len(x.dims):
        ranks = f"they have {plural(len(first.dims), 'axis')} and {len(x.dims)}"
        raise OpProblem("E0324", difference=ranks, **slots)
    axis = difference(first, x, skip)
    if axis is not None:
        axes = ((0, axis), (index, axis))
        raise OpProblem("E0324", axes=axes, difference=f"axis {axis} differs", **slots)
