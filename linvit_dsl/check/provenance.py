"""Where numbers came from, as the lines that an error prints."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

from linvit_dsl.errors import Diagnostic, Span, SpecError
from linvit_dsl.graph.ir import Origin
from linvit_dsl.graph.size import Size

if TYPE_CHECKING:
    from linvit_dsl.check.values import Division

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
    level = [origin for origin in origins if origin is not None]
    for _ in range(LONGEST_CHAIN):
        below: list[Origin] = []
        for origin in _named(level):
            for link in _links(origin):
                row = (f"{link.name} = {link.value}", link.how, str(link.span))
                # The batch is whatever it is: `B = B` explains nothing.
                if row not in rows and link.name != link.value:
                    rows.append(row)
            below += _source(origin).operands
        level = below
    rows = rows[:LONGEST_CHAIN]
    widths = [max((len(row[column]) for row in rows), default=0) for column in (0, 1)]
    return tuple(f"{a.ljust(widths[0])}   {b.ljust(widths[1])}   {c}" for a, b, c in rows)


def _named(level: list[Origin]) -> list[Origin]:
    """The numbers of an expression that have names, in its order; its steps are passed through.

    Each once: a sum that a loop makes longer has as many steps as the loop has iterations.
    """
    found: list[Origin] = []
    seen: set[int] = set()
    pending = list(reversed(level))
    while pending:
        origin = pending.pop()
        if id(origin) in seen:
            continue
        seen.add(id(origin))
        if origin.name or not origin.operands:
            found.append(origin)
        else:
            pending += reversed(origin.operands)
    return found


def roots(*origins: Origin | None) -> frozenset[Span]:
    """The places where the numbers behind `origins` are written: their first causes."""
    found: set[Span] = set()
    level = [origin for origin in origins if origin is not None]
    while level:
        found |= {origin.span for origin in level if not origin.operands}
        level = list({id(o): o for origin in level for o in origin.operands}.values())
    return frozenset(found)


def _links(origin: Origin) -> Iterator[Origin]:
    """A number as the error's line names it, and where it was set, if that is elsewhere.

    A value that is handed from block to block under one name is told once, where it was set.
    """
    source = _source(origin)
    if origin.name and origin.name != source.name:
        yield origin
    if source.name:
        yield source


def _source(origin: Origin) -> Origin:
    """The last named link of those that hand on the same value."""
    last = origin
    while len(origin.operands) == 1 and origin.operands[0].value == origin.value:
        origin = origin.operands[0]
        last = origin if origin.name or not last.name else last
    return last


class CausedError(SpecError):
    """An error about a number, with the places where its causes are written.

    Another error with no other causes says nothing new: one wrong number is one mistake, however
    many blocks divide by it. `division` is the one that left a rest, if that is the mistake.
    """

    def __init__(
        self, diagnostic: Diagnostic, causes: frozenset[Span], division: Division | None = None
    ) -> None:
        super().__init__(diagnostic)
        self.causes = causes
        self.division = division


class Misfit(SpecError):
    """Two sizes that ought to fit, and do not; `causes` are the places where they are written."""

    def __init__(
        self, diagnostic: Diagnostic, sizes: tuple[Size, ...], causes: frozenset[Span]
    ) -> None:
        super().__init__(diagnostic)
        self.sizes = sizes
        self.causes = causes


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
