"""Which part of an operator's arguments decides about a part of its results.

A region of a tensor is one stretch per axis. Regions only ever err on the large side: an axis that
an operator mixes is needed as a whole, and so is all that an operator takes that is not known here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from linvit_dsl.errors import Span
from linvit_dsl.graph.ir import Apply, TensorType
from linvit_dsl.ops.pattern import parse_pattern, solve, spell_out
from linvit_dsl.ops.pointwise import Pointwise

Stretch = tuple[int, int] | None
"""The entries [first, end) of an axis; None for all of them."""
Name = str | tuple[str, ...]
"""What the axes of arguments and results are called, so that equal names are the same axis."""


@dataclass(frozen=True, slots=True)
class Region:
    """A part of a tensor, never an empty one.

    `cause` is the operator nearest to the result that passes on a part of its argument only.
    """

    stretches: tuple[Stretch, ...]
    cause: Span | None = None

    @staticmethod
    def whole(type_: TensorType, cause: Span | None = None) -> Region:
        """All of a tensor."""
        return Region((None,) * len(type_.dims), cause)

    def joined(self, other: Region | None) -> Region:
        """The smallest region that holds both."""
        if other is None or other == self:
            return self
        pairs = zip(self.stretches, other.stretches, strict=True)
        stretches = tuple(a and b and (min(a[0], b[0]), max(a[1], b[1])) for a, b in pairs)
        return Region(stretches, self.cause)


def needed(node: Apply, results: Sequence[Region | None]) -> tuple[Region | None, ...]:
    """What `node` must be given of each argument to compute `results`; None for nothing.

    Nothing is needed through `detach`: regions follow gradients.
    """
    if all(region is None for region in results) or node.op.name == "detach":
        return (None,) * len(node.arguments)
    if (move := _MOVES.get(node.op.name)) is not None:
        return move(node, node.attributes, results)
    (region,) = results[:1]
    if region is None or len(results) > 1 or not any(region.stretches):
        cause = next(region.cause for region in results if region is not None)
        return tuple(Region.whole(value.type, cause) for value in node.arguments)
    arguments, result = _names(node)
    places = {name: index for index, name in enumerate(result)}
    found: list[Region | None] = []
    for names, type_ in zip(arguments, node.argument_types, strict=True):
        stretches: list[Stretch] = []
        for name, size in zip(names, type_.sizes, strict=True):
            place = places.get(name)
            # An axis of 1 may have been stretched: its one entry is then all of the others.
            stretches.append(region.stretches[place] if place is not None and size != 1 else None)
        found.append(Region(tuple(stretches), region.cause))
    return tuple(found)


def _names(node: Apply) -> tuple[tuple[tuple[Name, ...], ...], tuple[Name, ...]]:
    """The axes of the arguments and of the one result; what has no name in common is mixed."""
    types, name = node.argument_types, node.op.name
    attributes: Any = node.attributes
    if issubclass(node.op, Pointwise) or name in ("add", "sub", "mul", "div", "pow"):
        return tuple(_aligned(type_) for type_ in types), _aligned(node.result_types[0])
    if name in ("linear", "layernorm", "rmsnorm", "softmax"):
        axis = getattr(attributes, "axis", -1) % len(types[0].dims)
        before, after = _aligned(types[0]), _aligned(node.result_types[0])
        return ((*before[:axis], "mixed", *before[axis + 1 :]),), after
    if name in ("rearrange", "reduce", "expand"):
        pattern, axes = attributes.pattern, attributes.axes
        options = {"reduce": {"only_left": True}, "expand": {"new": True}}.get(name, {})
        solution = solve(name, pattern, axes, types[0], **options)
        return (solution.before,), solution.after
    if name == "einsum":
        pattern = parse_pattern(attributes.pattern)
        operands = [
            spell_out(pattern, side, type_)
            for side, type_ in zip(pattern.operands, types, strict=True)
        ]
        return tuple(operands), spell_out(pattern, pattern.result, node.result_types[0])
    if name == "transpose":
        names = list(_aligned(types[0]))
        swapped, a, b = names.copy(), attributes.a, attributes.b
        swapped[a], swapped[b] = names[b], names[a]
        return (tuple(names),), tuple(swapped)
    if name in ("matmul", "attend"):
        columns = ("summed", "column") if name == "matmul" else ("summed", "summed")
        # What attention takes beside queries, keys and values has a row for each query.
        ends = (
            ("row", "summed"),
            columns,
            ("summed", "column"),
            *(("row", "summed"),) * len(types),
        )
        arguments = tuple(
            (*_aligned(TensorType(type_.dims[:-2])), *end)
            for type_, end in zip(types, ends, strict=False)
        )
        result = (*_aligned(TensorType(node.result_types[0].dims[:-2])), "row", "column")
        return arguments, result
    return tuple(("mixed",) * len(type_.dims) for type_ in types), ()


def _aligned(type_: TensorType) -> tuple[str, ...]:
    """Names by the place of an axis, counted from the last."""
    return tuple(str(place) for place in range(-len(type_.dims), 0))


Move = Callable[[Apply, Any, Sequence[Region | None]], tuple[Region | None, ...]]
"""Like `needed`, for an operator that moves numbers along an axis; second are its attributes."""


def _slice(
    node: Apply, attributes: Any, results: Sequence[Region | None]
) -> tuple[Region | None, ...]:
    return (_shifted(node, results[0], attributes.axis, attributes.start, attributes.size),)


def _select(
    node: Apply, attributes: Any, results: Sequence[Region | None]
) -> tuple[Region | None, ...]:
    (type_,), region = node.argument_types, results[0]
    axis = attributes.axis % len(type_.dims)
    size = type_.sizes[axis]
    if region is None or not isinstance(size, int):
        return (region and Region.whole(type_, region.cause),)
    opened = Region((*region.stretches[:axis], None, *region.stretches[axis:]), region.cause)
    return (_shifted(node, opened, axis, attributes.index % size, 1),)


def _split(
    node: Apply, attributes: Any, results: Sequence[Region | None]
) -> tuple[Region | None, ...]:
    total: Region | None = None
    start = 0
    for region, size in zip(results, attributes.sizes, strict=True):
        part = _shifted(node, region, attributes.axis, start, size)
        total = part.joined(total) if part is not None else total
        start += size
    return (total,)


def _concat(
    node: Apply, attributes: Any, results: Sequence[Region | None]
) -> tuple[Region | None, ...]:
    found: list[Region | None] = []
    start = 0
    for type_ in node.argument_types:
        size = type_.sizes[attributes.axis]
        if not isinstance(size, int):
            return tuple(Region.whole(type_) for type_ in node.argument_types)
        found.append(_clipped(results[0], attributes.axis, start, size))
        start += size
    return tuple(found)


def _stack(
    node: Apply, attributes: Any, results: Sequence[Region | None]
) -> tuple[Region | None, ...]:
    axis = attributes.axis % len(node.result_types[0].dims)
    found: list[Region | None] = []
    for index in range(len(node.arguments)):
        part = _clipped(results[0], axis, index, 1)
        if part is not None:
            rest = (*part.stretches[:axis], *part.stretches[axis + 1 :])
            part = Region(rest, part.cause)
        found.append(part)
    return tuple(found)


def _pad(
    node: Apply, attributes: Any, results: Sequence[Region | None]
) -> tuple[Region | None, ...]:
    (type_,) = node.argument_types
    size = type_.sizes[attributes.axis]
    if not isinstance(size, int):
        return (Region.whole(type_),)
    return (_clipped(results[0], attributes.axis, attributes.before, size),)


def _shifted(node: Apply, region: Region | None, axis: int, start: int, size: int) -> Region | None:
    """What a region of the entries [start, start + size) of an axis is in the whole argument."""
    if region is None or size == 0:
        return None
    first, end = region.stretches[axis] or (0, size)
    whole = (first + start, end + start) == (0, node.argument_types[0].sizes[axis])
    stretch = None if whole else (first + start, end + start)
    cause = region.cause if region.cause is not None or whole else node.span
    return Region(_with(region, axis, stretch), cause)


def _clipped(region: Region | None, axis: int, start: int, size: int) -> Region | None:
    """What a region of a joined axis needs of the part that begins at `start`; None for nothing."""
    if region is None or size == 0:
        return None
    if (stretch := region.stretches[axis]) is None:
        return region
    first, end = max(stretch[0] - start, 0), min(stretch[1] - start, size)
    if first >= end:
        return None
    part = None if (first, end) == (0, size) else (first, end)
    return Region(_with(region, axis, part), region.cause)


def _with(region: Region, axis: int, stretch: Stretch) -> tuple[Stretch, ...]:
    stretches = list(region.stretches)
    stretches[axis] = stretch
    return tuple(stretches)


_MOVES: dict[str, Move] = {
    "slice": _slice,
    "select": _select,
    "split": _split,
    "concat": _concat,
    "stack": _stack,
    "pad": _pad,
}
