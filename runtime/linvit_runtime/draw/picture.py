"""The drawing model: boxes in frames, joined by arrows. What every writer starts from.

A picture knows what is shown and in which order, but no positions, colours or file formats.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

BoxKind = Literal["input", "output", "op", "block", "memory", "sum", "tap"]
"""`sum` is a round sign that joins two streams, `tap` a dot at which a skip leaves the spine."""

ArrowKind = Literal["data", "residual", "skip", "memory"]
"""`residual` ends in a sum, `skip` passes by some steps and ends elsewhere, `memory` brings a
declared tensor."""

RAILS: tuple[ArrowKind, ...] = ("residual", "skip")
"""What runs beside the boxes that it passes."""


@dataclass(frozen=True, slots=True)
class Box:
    """One thing to see.

    Args:
        id: Unique in the picture; the path of the step in the graph.
        kind: See `BoxKind`.
        title: In bold: `Linear`, `RippleAttention`; the sign of a `sum`.
        details: Smaller lines below: `384 → 1536 · GELU`.
        family: Decides the colour; see `linvit_dsl.ops.op.Family`.
        shape: Of the result, such as `B×65×384`; several separated by commas.
        params, macs: Of one execution, at batch 1.
        count: How many alike executions it stands for.
        line: `file:line` in the spec, "" where there is none.
    """

    id: str
    kind: BoxKind
    title: str
    details: tuple[str, ...] = ()
    family: str = "glue"
    shape: str = ""
    params: int = 0
    macs: int = 0
    count: int = 1
    line: str = ""


@dataclass(frozen=True, slots=True)
class Frame:
    """A block that is open, or a loop: its items in order of execution.

    `params` and `macs` are those of one execution at batch 1, `count` says how many follow.
    """

    id: str
    title: str
    items: tuple[Item, ...]
    count: int = 1
    params: int = 0
    macs: int = 0
    line: str = ""


Item = Box | Frame


@dataclass(frozen=True, slots=True)
class Arrow:
    """A tensor on its way.

    Args:
        source, target: Boxes.
        kind: See `ArrowKind`.
        shape: What to write beside it; "" where the number of elements did not change.
        spine: Whether it lies on the one longest chain of boxes, which is drawn straight.
    """

    source: str
    target: str
    kind: ArrowKind
    shape: str = ""
    spine: bool = False


@dataclass(frozen=True, slots=True)
class Picture:
    """A whole drawing. `arrows` stand in the order of their targets."""

    title: str
    items: tuple[Item, ...]
    arrows: tuple[Arrow, ...]

    def boxes(self) -> Iterator[Box]:
        """All boxes, in order of execution."""
        for item in self.walk():
            if isinstance(item, Box):
                yield item

    def walk(self) -> Iterator[Item]:
        """All boxes and frames; a frame comes before what is in it."""
        yield from _walk(self.items)


def _walk(items: tuple[Item, ...]) -> Iterator[Item]:
    for item in items:
        yield item
        if isinstance(item, Frame):
            yield from _walk(item.items)
