"""Where numbers came from, as the lines that an error prints."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise

from linvit_dsl.errors import Span
from linvit_dsl.graph.ir import Origin

LONGEST_CHAIN = 4
"""Lines of origins under one error; more would hide the message."""


@dataclass(frozen=True, slots=True)
class Frame:
    """One block on the way from the model to the error.

    Args:
        name: The block.
        kind: `block` or `model`.
        parameter: The block-typed parameter through which the caller got it, if any.
        call: Where the caller applies it; None for the model itself.
    """

    name: str
    kind: str
    parameter: str = ""
    call: Span | None = None


def named(name: str, value: object, how: str, span: Span, *sources: Origin) -> Origin:
    """The origin of a number that gets a name."""
    return Origin(name, str(value), how, span, sources)


def quote(text: str, longest: int = 48) -> str:
    """Program text inside a note: one line, shortened in the middle if long."""
    line = " ".join(text.split())
    if len(line) > longest:
        line = f"{line[: longest - 12]} ... {line[-7:]}"
    return f"`{line}`"


def chain(origins: Iterable[Origin | None]) -> tuple[str, ...]:
    """The named numbers behind `origins`, one aligned line each, nearest first.

    `d = 384      from `d = 384`      specs/my.vit:3:49`
    """
    rows: list[tuple[str, str, str]] = []
    seen: set[tuple[str, str]] = set()
    for origin in _nearest_first(tuple(o for o in origins if o is not None)):
        row = (f"{origin.name} = {origin.value}", origin.how, str(origin.span))
        if (row[0], row[2]) not in seen:
            seen.add((row[0], row[2]))
            rows.append(row)
    rows = rows[:LONGEST_CHAIN]
    widths = [max((len(row[column]) for row in rows), default=0) for column in (0, 1)]
    return tuple(f"{a.ljust(widths[0])}   {b.ljust(widths[1])}   {c}" for a, b, c in rows)


def _nearest_first(level: tuple[Origin, ...]) -> Iterator[Origin]:
    """Breadth first; unnamed steps of a computation are passed through."""
    for _ in range(16):
        if not level:
            return
        below: list[Origin] = []
        for origin in level:
            if origin.name:
                yield origin
            below += origin.operands
        level = tuple(below)


def path(frames: list[Frame]) -> tuple[str, ...]:
    """One note: the blocks from the innermost to the model, with the places of the calls."""
    if len(frames) < 2:
        return ()
    parts = [f"in `{frames[-1].name}`"]
    for inner, caller in pairwise(reversed(frames)):
        how = f"used as `{inner.parameter}` by" if inner.parameter else "in"
        noun = "model " if caller.kind == "model" and caller is frames[0] else ""
        where = f" ({inner.call.source.name}:{inner.call.line})" if inner.call else ""
        parts.append(f"{how} {noun}`{caller.name}`{where}")
    return (", ".join(parts),)
