"""Where skip connections run: left or right of the boxes that they pass, and how far out.

Lines that would cross go to different sides, so that a U-shaped network keeps its skips nested on
the left while a class token passes on the right.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from linvit_runtime.draw.picture import Arrow

Side = Literal["left", "right"]


@dataclass(frozen=True, slots=True)
class Rail:
    """A skip connection beside the boxes from place `start` to place `end`.

    Args:
        arrow: The connection.
        start, end: Places of its boxes, counted along the picture.
        side: Of the boxes that it passes.
        column: How far out: 0 is next to the boxes.
    """

    arrow: Arrow
    start: int
    end: int
    side: Side
    column: int


def place_rails(arrows: Sequence[Arrow], places: Mapping[str, int]) -> list[Rail]:
    """Give each skip connection of one frame a side and a column; inner ones come first."""
    spans = [(places[arrow.source], places[arrow.target], arrow) for arrow in arrows]
    sides: dict[Side, list[tuple[int, int]]] = {"left": [], "right": []}
    chosen: list[tuple[int, int, Arrow, Side]] = []
    # Long ones choose first: they leave the least choice to the others.
    for start, end, arrow in sorted(spans, key=lambda span: (span[0] - span[1], span[0])):
        free: list[Side] = [
            side
            for side, taken in sides.items()
            if not any(_cross((start, end), other) for other in taken)
        ]
        side: Side = free[0] if free else "left"
        sides[side].append((start, end))
        chosen.append((start, end, arrow, side))
    rails: list[Rail] = []
    for start, end, arrow, side in sorted(chosen, key=lambda c: (c[1] - c[0], c[0])):
        inside = [r.column for r in rails if r.side == side and r.start < end and start < r.end]
        rails.append(Rail(arrow, start, end, side, max(inside, default=-1) + 1))
    return rails


def _cross(one: tuple[int, int], other: tuple[int, int]) -> bool:
    """Whether two spans overlap with neither inside the other."""
    (a, b), (c, d) = sorted((one, other))
    return a < c < b < d
