"""What +, -, * and / have in common: two tensors whose axes combine, or a tensor and a number."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from linvit_dsl.graph.ir import TensorType
from linvit_dsl.graph.size import Size
from linvit_dsl.ops.attributes import Attributes, Real
from linvit_dsl.ops.code import Code, number
from linvit_dsl.ops.op import BATCH, Codes, Draw, Example, Op, OpProblem, Tensors, Types
from linvit_dsl.ops.shapes import broadcast, clash

if TYPE_CHECKING:
    from torch import Tensor


_VERBS = {"add": "add", "sub": "subtract", "mul": "multiply", "div": "divide"}


class ArithmeticAttributes(Attributes):
    """The operand that is a number, if one is: `2 * x` has `left` = 2, `x / 2` has `right` = 2."""

    left: Real | None = None
    right: Real | None = None


class Arithmetic(Op, abstract=True):
    """Base of the operators with a sign, of one tensor and a number or of two tensors.

    Axes are aligned at the last; sizes are equal, or one of them is 1 and stretches.
    """

    family = "glue"
    arity = None
    Attributes = ArithmeticAttributes

    @staticmethod
    def macs(attributes: Any, arguments: Types, results: Types) -> Size:
        return 0


def combined(name: str, attributes: ArithmeticAttributes, arguments: Types) -> Types:
    """The type of the result.

    Raises:
        OpProblem: E0317, not two operands; E0323, the axes do not combine.
    """
    numbers = [value for value in (attributes.left, attributes.right) if value is not None]
    if len(arguments) + len(numbers) != 2 or not arguments:
        raise OpProblem("E0317", name=name, expected="1 or 2", given=len(arguments))
    if numbers:
        return arguments
    left, right = arguments
    if (axes := clash(left, right)) is not None:
        i, j = axes
        help = "axes combine when they are equal or one of them is 1, counted from the last"
        slots = {"first": left.dims[i], "second": right.dims[j]}
        raise OpProblem(
            "E0323",
            axes=((0, i), (1, j)),
            help=help,
            op=_VERBS[name],
            left=left,
            right=right,
            **slots,
        )
    return (TensorType(broadcast(left, right), left.dtype),)


def operands(attributes: ArithmeticAttributes, arguments: Codes) -> tuple[Code, Code]:
    """Both operands as code, the number in its place."""
    if attributes.left is not None:
        return number(attributes.left), arguments[0]
    if attributes.right is not None:
        return arguments[0], number(attributes.right)
    return arguments[0], arguments[1]


def tensor_operands(attributes: ArithmeticAttributes, arguments: Tensors) -> tuple[Tensor, Tensor]:
    """Both operands as tensors, the number as one without axes."""
    if attributes.left is not None:
        return arguments[0].new_tensor(attributes.left), arguments[0]
    if attributes.right is not None:
        return arguments[0], arguments[0].new_tensor(attributes.right)
    return arguments[0], arguments[1]


def examples_of(right: Draw = "normal") -> Iterator[Example]:
    """The applications that each of them shows; `right` says how to draw the right operand."""
    draws: tuple[Draw, ...] = ("normal", right)
    two = ArithmeticAttributes()
    yield Example(two, ((BATCH, 3, 5), (BATCH, 3, 5)), "", draws)
    yield Example(two, ((BATCH, 4, 3, 1), (4, 1, 5)), "axes of 1 stretch", draws)
    yield Example(two, ((5,), (BATCH, 3, 5)), "a leading axis is missing", draws)
    yield Example(ArithmeticAttributes(left=2), ((BATCH, 3),), "a number on the left", (right,))
    yield Example(ArithmeticAttributes(right=-0.5), ((BATCH, 3),), "a number on the right")
    yield Example(ArithmeticAttributes(right=1), ((BATCH, 3),), "one")
    if right == "normal":
        yield Example(ArithmeticAttributes(right=0), ((BATCH, 3),), "nought")
