"""Patterns as chains of torch methods, the shortest that a person would write.

`b n (h c) -> b h n c` becomes `x.unflatten(-1, (6, 64)).transpose(1, 2)`. No chain names the batch:
its axis is passed over, or written -1.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import groupby, pairwise

from linvit_dsl.graph.size import Size, product
from linvit_dsl.ops.code import Code, binary, literal
from linvit_dsl.ops.op import BATCH
from linvit_dsl.ops.pattern import Group, Solution

Sizes = dict[str, Size]


@dataclass(frozen=True, slots=True)
class Step:
    """One method call of a chain."""

    method: str
    arguments: tuple[object, ...]
    keywords: dict[str, object] = field(default_factory=dict)


def chain(x: Code, steps: list[Step]) -> Code:
    """`x.method(...).method(...)`."""
    for step in steps:
        x = x.method(step.method, *step.arguments, **step.keywords)
    return x


def rearrangement(solution: Solution) -> list[Step]:
    """The steps of a `rearrange`."""
    return rearranged(list(solution.before), list(solution.after), solution.sizes)


def rearranged(before: list[Group], after: list[Group], sizes: Sizes) -> list[Step]:
    """Turn axes `before` into axes `after`, which are made of the same names.

    Names that stay neighbours move as one block: before the move, axes are joined or split into
    blocks; after it, blocks are split or joined into axes.
    """
    before, after, sizes = _name_units(before, after, sizes)
    source = [name for group in before for name in group]
    target = [name for group in after for name in group]
    if source == target:
        return regrouped(before, after, sizes)
    blocks = _blocks(before, after, source, target)
    moved = sorted(blocks, key=lambda block: target.index(block[0]))
    order = [blocks.index(block) for block in moved]
    return [*regrouped(before, blocks, sizes), _permutation(order), *regrouped(moved, after, sizes)]


def _name_units(
    before: list[Group], after: list[Group], sizes: Sizes
) -> tuple[list[Group], list[Group], Sizes]:
    """Give axes of size 1 that both sides have a name, in order, so that they move as others do."""
    shared = min(before.count(()), after.count(()))
    names = [(f"1.{index}",) for index in range(shared)]

    def named(side: list[Group]) -> list[Group]:
        rest = iter(names)
        return [group if group else next(rest, ()) for group in side]

    return named(before), named(after), sizes | {name: 1 for (name,) in names}


def _blocks(
    before: list[Group], after: list[Group], source: list[str], target: list[str]
) -> list[Group]:
    """The names in their order before, cut wherever neighbours part.

    Neighbours stay together when they follow each other on both sides and are one axis on one of
    them: joining two axes only to split them again would be two calls for nothing.
    """
    axis_before = {name: index for index, group in enumerate(before) for name in group}
    axis_after = {name: index for index, group in enumerate(after) for name in group}
    blocks = [[source[0]]]
    for last, name in pairwise(source):
        follows = target.index(name) == target.index(last) + 1
        same = axis_before[last] == axis_before[name] or axis_after[last] == axis_after[name]
        if follows and same:
            blocks[-1].append(name)
        else:
            blocks.append([name])
    return [tuple(block) for block in blocks]


def _permutation(order: list[int]) -> Step:
    moved = [index for index, axis in enumerate(order) if index != axis]
    if len(moved) == 2:
        return Step("transpose", tuple(moved))
    return Step("permute", tuple(order))


def regrouped(before: list[Group], after: list[Group], sizes: Sizes) -> list[Step]:
    """Join and split axes without changing the order of what they are made of."""
    segments = _segments(before, after)
    changes = [(old, new) for old, new in segments if old != new]
    if len(changes) > 1 or any(len(old) > 1 and len(new) > 1 for old, new in changes):
        # -1 stands for one axis only.
        whole = [_size(group, sizes) for group in after]
        if whole.count(-1) <= 1:
            return [Step("reshape", tuple(whole))]
    steps: list[Step] = []
    axis, rank = 0, len(before)
    for old, new in segments:
        if old != new:
            steps += _change(old, new, axis, rank, sizes)
            rank += len(new) - len(old)
        axis += len(new)
    return steps


def _change(old: list[Group], new: list[Group], axis: int, rank: int, sizes: Sizes) -> list[Step]:
    """Turn the `old` axes from `axis` on, of `rank` in all, into `new` ones."""
    is_last = axis + len(old) == rank
    if not old:
        return [Step("unsqueeze", (-1 if is_last else axis,))]
    if not new:
        return [Step("squeeze", (-1 if is_last else axis,))]
    steps: list[Step] = []
    if len(old) > 1:
        end = () if is_last else (axis + len(old) - 1,)
        steps.append(Step("flatten", (axis, *end)))
    if len(new) > 1:
        parts = tuple(_size(group, sizes) for group in new)
        steps.append(Step("unflatten", (-1 if is_last else axis, parts)))
    return steps


def _segments(before: list[Group], after: list[Group]) -> list[tuple[list[Group], list[Group]]]:
    """Cut both sides at the places where their axes end together."""
    segments: list[tuple[list[Group], list[Group]]] = []
    i = j = 0
    while i < len(before) or j < len(after):
        if before[i : i + 1] == after[j : j + 1]:
            segments.append(([before[i]], [after[j]]))
            i, j = i + 1, j + 1
            continue
        if i < len(before) and not before[i]:
            segments.append(([()], []))
            i += 1
            continue
        if j < len(after) and not after[j]:
            segments.append(([], [()]))
            j += 1
            continue
        start_i, start_j, surplus = i, j, 0
        while i == start_i or surplus:
            if surplus <= 0:
                surplus += len(before[i])
                i += 1
            else:
                surplus -= len(after[j])
                j += 1
        segments.append((before[start_i:i], after[start_j:j]))
    return segments


def _size(group: Group, sizes: Sizes) -> int:
    """The size of an axis, -1 if it varies with the batch."""
    size = 1
    for name in group:
        factor = sizes[name]
        if not isinstance(factor, int):
            return -1
        size *= factor
    return size


def reduction(solution: Solution, method: str) -> list[Step]:
    """The steps of a `reduce`; `method` takes the axes and `keepdim`."""
    before, sizes = list(solution.before), solution.sizes
    kept = {name for group in solution.after for name in group}
    opened = [run for group in before for run in _runs(group, kept)]
    axes = [index for index, group in enumerate(opened) if group and group[0] not in kept]
    first, last = regrouped(before, opened, sizes), list(solution.after)
    if not axes:
        return [*first, *rearranged(opened, last, sizes)]
    where = axes[0] if len(axes) == 1 else tuple(axes)
    where = -1 if where == len(opened) - 1 else where
    dropped = [group for index, group in enumerate(opened) if index not in axes]
    emptied = [() if index in axes else group for index, group in enumerate(opened)]
    ways = (
        [*first, Step(method, (where,)), *rearranged(dropped, last, sizes)],
        [*first, Step(method, (where,), {"keepdim": True}), *rearranged(emptied, last, sizes)],
    )
    return min(ways, key=len)


def _runs(group: Group, kept: set[str]) -> list[Group]:
    """An axis cut into what stays and what goes."""
    return [tuple(run) for _, run in groupby(group, lambda name: name in kept)] or [()]


def expansion(solution: Solution, batch: Code) -> list[Step]:
    """The steps of an `expand`; `batch` is the code of the batch size.

    A new axis of its own stretches an axis of size 1. One that is the fast part of an axis repeats
    every entry.
    """
    sizes = solution.sizes
    old = {name for group in solution.before for name in group}
    opened: list[Group] = []
    filled: list[Group] = []
    stretched: list[int | Code] = []
    repeats: list[Step] = []
    for group in solution.after:
        runs = _runs(group, old)
        if len(runs) == 2 and runs[0][0] in old:
            kept, fresh = runs
            if factors := _repetition(fresh, sizes, batch):
                repeats.append(Step("repeat_interleave", factors, {"dim": len(opened)}))
            opened.append(kept)
            filled.append(group)
            stretched.append(-1)
            continue
        for run in runs:
            fresh = bool(run) and run[0] not in old
            opened.append(() if fresh else run)
            filled.append(run)
            stretched.append(next(iter(_repetition(run, sizes, batch)), -1) if fresh else -1)
    steps = _stretched(list(solution.before), opened, stretched, sizes)
    return [*steps, *repeats, *regrouped(filled, list(solution.after), sizes)]


def upsampling(solution: Solution) -> tuple[int, int] | None:
    """How often an `expand` repeats the rows and columns of a map, if that is all it does.

    At most 40 times: torch finds row i of the result at floor(i * float32(1 / times)), which is one
    too few for 41 and some larger numbers.
    """
    if not len(solution.before) == len(solution.after) == 4:
        return None
    factors: list[Size] = []
    for old, new in zip(solution.before, solution.after, strict=True):
        if len(old) != 1 or new[:1] != old:
            return None
        factors.append(product([solution.sizes[name] for name in new[1:]]))
    match factors:
        case [1, 1, int(rows), int(columns)] if rows * columns > 1 and max(rows, columns) <= 40:
            return rows, columns
        case _:
            return None


def _repetition(names: Group, sizes: Sizes, batch: Code) -> tuple[int | Code, ...]:
    """How often to repeat, as code if that depends on the batch; nothing if it is once."""
    times = product([sizes[name] for name in names])
    if isinstance(times, int):
        return (times,) if times != 1 else ()
    multiple = times.exact_div(BATCH)
    factor = int(multiple.constant or 0) if multiple is not None else 0
    assert factor, "Expand.rule has checked it"
    return (batch if factor == 1 else binary("*", literal(factor), batch),)


def _stretched(
    before: list[Group], opened: list[Group], stretched: list[int | Code], sizes: Sizes
) -> list[Step]:
    if all(size == -1 for size in stretched):
        return rearranged(before, opened, sizes)
    expand = Step("expand", tuple(stretched))
    # torch's expand makes missing leading axes itself.
    leading = next((i for i, size in enumerate(stretched) if size == -1), len(stretched))
    ways = (rearranged(before, opened, sizes), rearranged(before, opened[leading:], sizes))
    return [*min(ways, key=len), expand]
