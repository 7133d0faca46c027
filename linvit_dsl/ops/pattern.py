"""Patterns of axes, as in `b n (h c) -> b h n c`: their text, and the sizes of all their axes.

A pattern names the axes of a tensor before and after. `(h c)` is one axis made of two, the last one
running fastest; `1` is an axis of size 1; `...` stands for any axes that are left alone. The
notation is that of einops (Rogozhnikov, ICLR 2022). Sizes may depend on the batch.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, NoReturn

from linvit_dsl.graph.ir import Dim, TensorType
from linvit_dsl.graph.size import Size, at_batch, product, quotient
from linvit_dsl.ops.attributes import Axes
from linvit_dsl.ops.op import OpProblem
from linvit_dsl.ops.shapes import plural

if TYPE_CHECKING:
    from torch import Tensor

Group = tuple[str, ...]
"""The names that make up one axis; none for an axis of size 1."""

ELLIPSIS: Group = ("...",)

_WORD = re.compile(r"\.\.\.|->|[(),]|[A-Za-z_\u0370-\u03ff][A-Za-z0-9_\u0370-\u03ff]*'*|[0-9]+|\S")
_NAME = re.compile(r"[A-Za-z_\u0370-\u03ff]")


@dataclass(frozen=True, slots=True)
class Pattern:
    """A pattern as text and taken apart: the axes of each operand, and those of the result."""

    text: str
    operands: tuple[tuple[Group, ...], ...]
    result: tuple[Group, ...]


@cache
def parse_pattern(text: str) -> Pattern:
    """Take a pattern apart.

    Raises:
        OpProblem: E0340, it cannot be read.
    """
    words = _WORD.findall(text)
    if words.count("->") != 1:
        refuse(text, "it needs one `->` between the axes before and after")
    arrow = words.index("->")
    operands: list[list[str]] = [[]]
    for word in words[:arrow]:
        if word == ",":
            operands.append([])
        else:
            operands[-1].append(word)
    sides = tuple(_side(text, side) for side in [*operands, words[arrow + 1 :]])
    if ELLIPSIS in sides[-1] and all(ELLIPSIS not in side for side in sides[:-1]):
        refuse(text, "`...` stands only on the right")
    return Pattern(text, sides[:-1], sides[-1])


def _side(text: str, words: list[str]) -> tuple[Group, ...]:
    axes: list[Group] = []
    inner: list[str] | None = None
    names: set[str] = set()
    for word in words:
        if word == "(" and inner is None:
            inner = []
        elif word == ")" and inner is not None:
            axes.append(tuple(inner))
            inner = None
        elif word == "1":
            axes += [()] if inner is None else []
        elif word == "..." and inner is not None:
            refuse(text, "`...` cannot stand in parentheses")
        elif not (_NAME.match(word) or word == "..."):
            known = "names, `1`, `...` and one level of parentheses"
            refuse(text, f"`{word}` has no place there; a pattern has {known}")
        elif word in names:
            refuse(text, f"`{word}` stands twice on one side")
        else:
            names.add(word)
            if inner is None:
                axes.append((word,))
            else:
                inner.append(word)
    if inner is not None:
        refuse(text, "a parenthesis is not closed")
    return tuple(axes)


def refuse(text: str, problem: str) -> NoReturn:
    """Say that a pattern cannot be read.

    Raises:
        OpProblem: E0340.
    """
    raise OpProblem("E0340", pattern=text, problem=problem)


@dataclass(frozen=True, slots=True)
class Solution:
    """A pattern of one operand on a given shape, `...` spelled out.

    Args:
        before: What makes up each axis of the argument.
        after: What makes up each axis of the result.
        sizes: Of every name.
        dims: The axes of the result. One that the argument has as well keeps its origin.
    """

    before: tuple[Group, ...]
    after: tuple[Group, ...]
    sizes: dict[str, Size]
    dims: tuple[Dim, ...]

    def size(self, group: Group) -> Size:
        """The size of an axis."""
        return product([self.sizes[name] for name in group])


def solve(
    op: str, text: str, axes: Axes, x: TensorType, *, only_left: bool = False, new: bool = False
) -> Solution:
    """Find the sizes of all axes of a pattern.

    Args:
        op: Who asks.
        text: The pattern.
        axes: Sizes given by name.
        x: Type of the argument.
        only_left: Whether names may be missing on the right (`reduce`).
        new: Whether names may appear on the right, their sizes given (`expand`).

    Raises:
        OpProblem: E0340 to E0346.
    """
    pattern = parse_pattern(text)
    if len(pattern.operands) != 1:
        refuse(text, f"`{op}` takes one tensor, so nothing is separated by commas")
    before = spell_out(pattern, pattern.operands[0], x)
    rest = tuple(group for group in before if group and group[0].startswith("..."))
    after = _replace(pattern.result, rest)
    left = {name for group in before for name in group}
    right = {name for group in after for name in group}
    sizes = _given(pattern, axes, left | right)
    for name in sorted(right - left):
        if not new:
            _alone(text, name, "stands only on the right", "`expand` makes new axes")
        if name not in sizes:
            help = f"give it: `{name} = ...`"
            _alone(text, name, "stands only on the right and has no size", help)
    for name in sorted(left - right):
        if not only_left:
            help = "`reduce` takes axes away; an axis of size 1 is written `1`"
            _alone(text, name, "stands only on the left", help)
    for index, group in enumerate(before):
        _divide(pattern, group, sizes, x, index)
    whole = {group: x.dims[index] for index, group in enumerate(before) if group}
    solved = Solution(before, after, sizes, ())
    dims = tuple(whole.get(group) or Dim(solved.size(group)) for group in after)
    return Solution(before, after, sizes, dims)


def spell_out(pattern: Pattern, side: tuple[Group, ...], x: TensorType) -> tuple[Group, ...]:
    """The axes of one operand with `...` replaced by as many names as it stands for.

    Raises:
        OpProblem: E0341, the pattern has another number of axes.
    """
    spare = len(x.dims) - len(side) + (ELLIPSIS in side)
    if spare < 0 or (spare != 0 and ELLIPSIS not in side):
        named = plural(len(side) - (ELLIPSIS in side), "axis")
        given = plural(len(x.dims), "axis")
        raise OpProblem("E0341", pattern=pattern.text, named=named, given=x, rank=given)
    return _replace(side, tuple((f"...{index}",) for index in range(spare)))


def _replace(side: tuple[Group, ...], rest: tuple[Group, ...]) -> tuple[Group, ...]:
    if ELLIPSIS not in side:
        return side
    index = side.index(ELLIPSIS)
    return side[:index] + rest + side[index + 1 :]


def _given(pattern: Pattern, axes: Axes, names: set[str]) -> dict[str, Size]:
    """The sizes given by name, all of which the pattern has."""
    for name, _ in axes:
        if name not in names:
            known = ", ".join(sorted(word for word in names if not word.startswith("...")))
            _alone(pattern.text, name, "does not occur", f"its axes are {known}")
    return dict(axes)


def _alone(text: str, name: str, problem: str, help: str) -> NoReturn:
    shown = "..." if name.startswith("...") else name
    raise OpProblem("E0343", help=help, pattern=text, name=shown, problem=problem)


def _divide(
    pattern: Pattern, group: Group, sizes: dict[str, Size], x: TensorType, index: int
) -> None:
    """Find the one size that an axis leaves open, or check that the known ones fit."""
    open_names = [name for name in group if name not in sizes]
    size = x.dims[index].size
    known = product([sizes[name] for name in group if name in sizes])
    if not open_names and known == size:
        return
    if len(open_names) == 1 and (whole := quotient(size, known)) is not None:
        sizes[open_names[0]] = whole
        return
    shown = group[0] if len(group) == 1 else f"({' '.join(group)})" if group else "1"
    slots: dict[str, Any] = {"pattern": pattern.text, "given": x, "size": size, "group": shown}
    slots |= {"axis": index, "axes": ((0, index),)}
    if len(open_names) > 1:
        help = f"give the size of one of them: `{open_names[0]} = ...`"
        raise OpProblem("E0346", help=help, **slots)
    if not open_names:
        raise OpProblem("E0342", known=known, **slots)
    raise OpProblem("E0344", help=_divisors(size, known), known=known, **slots)


def _divisors(size: Size, near: Size) -> str:
    """`divisors of 384 near 7: 6, 8`."""
    if not isinstance(size, int) or not isinstance(near, int):
        return ""
    below = next((n for n in range(min(near, size), 0, -1) if size % n == 0), None)
    above = next((n for n in range(near, size + 1) if size % n == 0), None)
    found = ", ".join(str(n) for n in (below, above) if n is not None)
    return f"divisors of {size} near {near}: {found}"


def open_axes(x: Tensor, solution: Solution) -> tuple[Tensor, list[str]]:
    """`x` with one axis for every name on the left of the pattern, and these names."""
    names = [name for group in solution.before for name in group]
    return x.reshape([at_batch(solution.sizes[name], 1) for name in names]), names


def concrete(axes: Axes, batch: int | None = None) -> Axes:
    """The sizes given by name at batch `batch`; without it, those that do not depend on it."""
    if batch is None:
        return tuple((name, size) for name, size in axes if isinstance(size, int))
    return tuple((name, at_batch(size, batch)) for name, size in axes)
