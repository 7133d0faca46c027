"""What several shape rules ask: which axis, how large, do two shapes fit."""

from __future__ import annotations

from linvit_dsl.graph.ir import Dim, TensorType
from linvit_dsl.ops.code import Key
from linvit_dsl.ops.op import OpProblem


def expect_rank(op: str, x: TensorType, rank: int, shape: str) -> None:
    """Demand exactly `rank` axes, described by `shape` (`[B, C, H, W]`).

    Raises:
        OpProblem: E0332.
    """
    if len(x.dims) != rank:
        expected = f"a tensor of {rank} axes {shape}"
        given = plural(len(x.dims), "axis")
        raise OpProblem("E0332", op=op, expected=expected, given=x, rank=given)


def axis_index(op: str, axis: int, x: TensorType, *, extra: int = 0) -> int:
    """`axis` counted from the first; `extra` for one more place than there are axes (`stack`).

    Raises:
        OpProblem: E0333, there is no such axis.
    """
    rank = len(x.dims) + extra
    if not -rank <= axis < rank:
        help = f"axes are 0 to {rank - 1}, or -1 to -{rank} from the last" if rank else ""
        given = plural(len(x.dims), "axis")
        raise OpProblem("E0333", help=help, op=op, axis=axis, given=x, rank=given)
    return axis % rank


def fixed(op: str, x: TensorType, axis: int, argument: int = 0) -> int:
    """The size of an axis that must not vary with the batch.

    Raises:
        OpProblem: E0333, there is no such axis; E0334, its size depends on the batch.
    """
    index = axis_index(op, axis, x)
    size = x.sizes[index]
    if isinstance(size, int):
        return size
    raise OpProblem("E0334", axes=((argument, index),), op=op, axis=index, given=x)


def clash(left: TensorType, right: TensorType) -> tuple[int, int] | None:
    """Where two shapes cannot be combined: the axis of each, aligned at the last axis; else None.

    Sizes combine when they are equal or one of them is 1; missing leading axes count as 1.
    """
    shared = min(len(left.dims), len(right.dims))
    for back in range(1, shared + 1):
        a, b = left.sizes[-back], right.sizes[-back]
        if a != b and 1 not in (a, b):
            return len(left.dims) - back, len(right.dims) - back
    return None


def broadcast(left: TensorType, right: TensorType) -> tuple[Dim, ...]:
    """The axes of two shapes combined, when nothing clashes."""
    longer, shorter = (left, right) if len(left.dims) >= len(right.dims) else (right, left)
    missing = len(longer.dims) - len(shorter.dims)
    shared = zip(longer.dims[missing:], shorter.dims, strict=True)
    return longer.dims[:missing] + tuple(b if a.size == 1 else a for a, b in shared)


def difference(left: TensorType, right: TensorType, skip: int | None = None) -> int | None:
    """The first axis at which two shapes of equal rank differ, `skip` aside."""
    for index, (a, b) in enumerate(zip(left.sizes, right.sizes, strict=True)):
        if index != skip and a != b:
            return index
    return None


def along(axis: int, x: TensorType, key: int | slice) -> tuple[Key, ...]:
    """An index along one axis: `:, :, key`, or `..., key` for the last of several."""
    rank = len(x.dims)
    axis %= rank
    if axis == rank - 1 and rank > 2:
        return "...", key
    return (*(slice(None),) * axis, key)


def plural(number: int, noun: str) -> str:
    """`1 axis`, `3 axes`, `2 tensors`."""
    several = noun[:-2] + "es" if noun.endswith("is") else noun + "s"
    return f"{number} {noun if number == 1 else several}"
