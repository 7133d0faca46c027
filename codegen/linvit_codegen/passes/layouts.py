"""Patterns of axes that follow each other, as one pattern.

A `Layout` is a rearrangement of a tensor of known shape: the names that make up each axis before
and after, and the size of every name. Two layouts compose when the axes between them can be cut
into pieces that both can name: 12 as (3 4) meets 12 as (3 2 2), but not 12 as (4 3).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from linvit_dsl.graph.ir import Apply, TensorType
from linvit_dsl.graph.size import Size, product, quotient
from linvit_dsl.ops.pattern import Group, Solution, solve
from linvit_dsl.ops.pattern_code import rearrangement
from linvit_dsl.ops.rearrange import Rearrange
from linvit_dsl.ops.transpose import Transpose

_NAMES = "abcdefghijklmnopqrstuvwxyz"


@dataclass(frozen=True, slots=True)
class Layout:
    """What a rearrangement does: `before` and `after` hold the same names, each once."""

    before: tuple[Group, ...]
    after: tuple[Group, ...]
    sizes: dict[str, Size]

    @property
    def is_identity(self) -> bool:
        """Whether the tensor stays as it is."""
        return self.before == self.after

    @property
    def calls(self) -> int:
        """How many methods of torch it takes."""
        return len(rearrangement(Solution(self.before, self.after, self.sizes, ())))

    def attributes(self) -> Rearrange.Attributes:
        """The static arguments of the `rearrange` that does it."""
        short = dict(zip(self.sizes, _NAMES, strict=False))
        pattern = " -> ".join(_side(side, short) for side in (self.before, self.after))
        inner = {name for group in (*self.before, *self.after) if len(group) > 1 for name in group}
        axes = tuple((short[name], size) for name, size in self.sizes.items() if name in inner)
        return Rearrange.Attributes(pattern=pattern, axes=axes)


def layout_of(node: Apply) -> Layout | None:
    """The rearrangement that an operator is, None if it is none."""
    (x, *_) = node.argument_types
    if node.op is Rearrange:
        attributes = node.attributes
        assert isinstance(attributes, Rearrange.Attributes), "of its own operator"
        solution = solve("rearrange", attributes.pattern, attributes.axes, x)
        sizes = {name: solution.sizes[name] for group in solution.before for name in group}
        return Layout(solution.before, solution.after, sizes)
    if node.op is Transpose:
        attributes = node.attributes
        assert isinstance(attributes, Transpose.Attributes), "of its own operator"
        before = _axes(x)
        after = list(before)
        a, b = attributes.a, attributes.b
        after[a], after[b] = after[b], after[a]
        return Layout(tuple(before), tuple(after), _sizes(before, x))
    return None


def identity_of(type_: TensorType) -> Layout:
    """The layout that changes nothing."""
    axes = _axes(type_)
    return Layout(tuple(axes), tuple(axes), _sizes(axes, type_))


def composed(first: Layout, second: Layout) -> Layout | None:
    """`first`, then `second`; None if no pattern says it."""
    pieces: dict[str, Size] = {}
    cut_first: dict[str, Group] = {}
    cut_second: dict[str, Group] = {}
    for left, right in zip(first.after, second.before, strict=True):
        if not _cut(left, right, first.sizes, second.sizes, pieces, cut_first, cut_second):
            return None
    before = tuple(tuple(p for name in group for p in cut_first[name]) for group in first.before)
    after = tuple(tuple(p for name in group for p in cut_second[name]) for group in second.after)
    layout = _coarse(before, after, pieces)
    return layout if len(layout.sizes) <= len(_NAMES) else None


def _cut(
    left: Group,
    right: Group,
    left_sizes: dict[str, Size],
    right_sizes: dict[str, Size],
    pieces: dict[str, Size],
    cut_left: dict[str, Group],
    cut_right: dict[str, Group],
) -> bool:
    """Cut the names of one axis, as two patterns see it, into common pieces; False if none fit."""
    ours = [(name, left_sizes[name]) for name in left]
    theirs = [(name, right_sizes[name]) for name in right]
    for name in left:
        cut_left[name] = ()
    for name in right:
        cut_right[name] = ()
    # Pieces of size 1 may stand on one side alone, and take part in nothing.
    ours = [(name, size) for name, size in ours if size != 1]
    theirs = [(name, size) for name, size in theirs if size != 1]
    while ours and theirs:
        (a, a_size), (b, b_size) = ours.pop(), theirs.pop()
        rest_a, rest_b = quotient(a_size, b_size), quotient(b_size, a_size)
        if rest_a is None and rest_b is None:
            return False
        piece = f"p{len(pieces)}"
        pieces[piece] = b_size if rest_a is not None else a_size
        cut_left[a] = (piece, *cut_left[a])
        cut_right[b] = (piece, *cut_right[b])
        if rest_a is not None and rest_a != 1:
            ours.append((a, rest_a))
        if rest_b is not None and rest_b != 1:
            theirs.append((b, rest_b))
    return not ours and not theirs


def _coarse(before: tuple[Group, ...], after: tuple[Group, ...], sizes: dict[str, Size]) -> Layout:
    """The same with pieces joined that are neighbours on both sides."""
    follows_before, follows_after = _followers(before), _followers(after)
    joined = {a: b for a, b in follows_before.items() if follows_after.get(a) == b}
    inner = set(joined.values())
    runs: dict[str, Size] = {}
    for start in (name for group in before for name in group if name not in inner):
        size, name = sizes[start], start
        while name in joined:
            name = joined[name]
            size = product((size, sizes[name]))
        runs[start] = size

    def heads(side: tuple[Group, ...]) -> tuple[Group, ...]:
        return tuple(tuple(name for name in group if name in runs) for group in side)

    return Layout(heads(before), heads(after), runs)


def _followers(side: tuple[Group, ...]) -> dict[str, str]:
    return {a: b for group in side for a, b in pairwise(group)}


def _axes(type_: TensorType) -> list[Group]:
    return [(f"x{axis}",) for axis in range(len(type_.dims))]


def _sizes(axes: Sequence[Group], type_: TensorType) -> dict[str, Size]:
    return {name: size for (name,), size in zip(axes, type_.sizes, strict=True)}


def _side(side: tuple[Group, ...], short: dict[str, str]) -> str:
    words: list[str] = []
    for group in side:
        names = " ".join(short[name] for name in group)
        words.append(names if len(group) == 1 else f"({names})" if group else "1")
    return " ".join(words)
