"""`matmul`: the product of matrices."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from linvit_dsl.graph.ir import TensorType
from linvit_dsl.graph.size import Size, product
from linvit_dsl.ops.attributes import Attributes
from linvit_dsl.ops.code import Code, binary
from linvit_dsl.ops.op import (
    BATCH,
    Codes,
    Example,
    Op,
    OpProblem,
    Saved,
    Tensors,
    Types,
    WeightTensors,
)
from linvit_dsl.ops.shapes import axis_index, broadcast, clash

if TYPE_CHECKING:
    from torch import Tensor


class Matmul(Op):
    """[*b, n, k] [*b, k, m] -> [*b, n, m]; leading axes of size 1 stretch."""

    name = "matmul"
    family = "glue"
    arity = 2

    class Attributes(Attributes):
        """None."""

    @staticmethod
    def rule(attributes: Matmul.Attributes, arguments: Types) -> Types:
        left, right = arguments
        for x in arguments:
            axis_index("matmul", -2, x)
        rows, columns = len(left.dims), len(right.dims)
        lead = TensorType(left.dims[:-2]), TensorType(right.dims[:-2])
        if left.sizes[-1] != right.sizes[-2]:
            axes = ((0, rows - 1), (1, columns - 2))
            problem = f"{left.sizes[-1]} columns meet {right.sizes[-2]} rows"
            raise OpProblem("E0325", axes=axes, left=left, right=right, difference=problem)
        if (pair := clash(*lead)) is not None:
            axes = ((0, pair[0]), (1, pair[1]))
            problem = f"axis {pair[0]} differs"
            raise OpProblem("E0325", axes=axes, left=left, right=right, difference=problem)
        dims = (*broadcast(*lead), left.dims[-2], right.dims[-1])
        return (TensorType(dims, left.dtype),)

    @staticmethod
    def macs(attributes: Matmul.Attributes, arguments: Types, results: Types) -> Size:
        # One row or one column is a weighted sum, not a product of matrices.
        if 1 in results[0].sizes[-2:]:
            return 0
        return results[0].elements * arguments[0].sizes[-1]

    @classmethod
    def products(cls, attributes: Matmul.Attributes, arguments: Types, results: Types) -> Size:
        """All multiply-adds, those of single rows and columns too."""
        return results[0].elements * arguments[0].sizes[-1]

    @staticmethod
    def saved(attributes: Matmul.Attributes, arguments: Types) -> Saved:
        # A stack of matrices that stretches is copied out before it is multiplied.
        lead = broadcast(*(TensorType(x.dims[:-2]) for x in arguments))
        stretched = [
            index for index, x in enumerate(arguments) if len(x.dims) > 2 and x.dims[:-2] != lead
        ]
        copied = product([*(dim.size for dim in lead), 1])
        copies: Size = 0
        for index in stretched:
            copies += copied * product(arguments[index].sizes[-2:])
        whole = tuple(index for index in (0, 1) if index not in stretched)
        return Saved(arguments=whole, elements=copies)

    @staticmethod
    def call(
        attributes: Matmul.Attributes, types: Types, arguments: Codes, module: Code | None
    ) -> Code:
        return binary("@", *arguments)

    @staticmethod
    def reference(
        attributes: Matmul.Attributes, arguments: Tensors, weights: WeightTensors
    ) -> Tensor:
        left, right = arguments
        return (left.unsqueeze(-1) * right.unsqueeze(-3)).sum(-2)

    @staticmethod
    def examples() -> Iterator[Example]:
        yield Example(Matmul.Attributes(), ((BATCH, 2, 3, 4), (BATCH, 2, 4, 5)))
        yield Example(Matmul.Attributes(), ((BATCH, 3, 4), (4, 5)), "a leading axis is missing")
        yield Example(Matmul.Attributes(), ((BATCH, 2, 3, 4), (BATCH, 1, 4, 5)), "one for all")
        yield Example(Matmul.Attributes(), ((BATCH, 3, 4), (BATCH, 4, 1)), "a weighted sum")
