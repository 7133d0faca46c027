"""Pictures as Graphviz text.

What works alike in Graphviz 2.43 to 16: heavy edges along the spine keep it straight, colours have
six digits, and the font is Arial, whose widths every build knows. A skip connection is a rail of
three edges through two points, each on the rank of one of its ends, which Graphviz keeps vertical;
as one edge it would bulge around the frame. Ranks must span all clusters for that (`newrank`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from itertools import pairwise

from linvit_runtime.draw.dot_syntax import Html, attributes_text, html, quoted, text_width
from linvit_runtime.draw.palette import THEMES, Theme
from linvit_runtime.draw.picture import RAILS, Arrow, Box, Frame, Item, Picture
from linvit_runtime.draw.rails import Rail, Side, place_rails

FONT = "Arial"
NAME, DETAIL = 10, 8
SPINE, BRANCH = 1000, 3
"""Weights of edges: how hard Graphviz tries to draw them short and straight."""
WIDTHS = {"residual": 1.5, "skip": 1.0, "memory": 1.2}
"""Of lines, in points; others are 1 wide."""


def to_dot(picture: Picture, *, theme: str = "light", dpi: int | None = None) -> str:
    """The text of a Graphviz file; equal pictures give equal bytes.

    Args:
        picture: What to draw.
        theme: `light` or `dark`.
        dpi: Pixels per inch of a bitmap made from it.

    Raises:
        KeyError: No such theme.
    """
    return _Writer(picture, THEMES[theme], dpi).text()


@dataclass(slots=True)
class _Writer:
    """Writes one picture.

    Attributes:
        frame_of: The frame of every item, "" for the page.
        places: Of boxes, in order of execution.
        passing: The skip connections of each frame.
        ends: The outermost point so far of the lines that meet a box from one side.
    """

    picture: Picture
    theme: Theme
    dpi: int | None
    lines: list[str] = field(default_factory=list)
    frame_of: dict[str, str] = field(default_factory=dict)
    places: dict[str, int] = field(default_factory=dict)
    passing: dict[str, list[Arrow]] = field(default_factory=dict)
    ends: dict[tuple[str, Side], str] = field(default_factory=dict)

    def text(self) -> str:
        self._locate(self.picture.items, "")
        self.places = {box.id: place for place, box in enumerate(self.picture.boxes())}
        plain: list[Arrow] = []
        for arrow in self.picture.arrows:
            frame = self.frame_of[arrow.target]
            if arrow.kind in RAILS and self.frame_of[arrow.source] == frame:
                self.passing.setdefault(frame, []).append(arrow)
            else:
                plain.append(arrow)
        self._defaults()
        self._items(self.picture.items, "", 0)
        self._rails("", "  ")
        for arrow in plain:
            self._arrow(arrow)
        return "\n".join([f"digraph {quoted(self.picture.title)} {{", *self.lines, "}", ""])

    def _locate(self, items: tuple[Item, ...], frame: str) -> None:
        for item in items:
            self.frame_of[item.id] = frame
            if isinstance(item, Frame):
                self._locate(item.items, item.id)

    def _defaults(self) -> None:
        theme = self.theme
        looks: dict[str, object] = {"dpi": self.dpi} if self.dpi else {}
        self._line(
            "graph",
            rankdir="TB",
            splines="spline",
            bgcolor=theme.page,
            fontname=FONT,
            fontsize=NAME,
            fontcolor=theme.ink,
            nodesep=0.2,
            ranksep=0.32,
            pad=0.06,
            compound="true",
            newrank="true",
            remincross="true",
            searchsize=500,
            **looks,
        )
        self._line(
            "node",
            shape="box",
            style="rounded,filled",
            fontname=FONT,
            fontsize=NAME,
            fontcolor=theme.ink,
            penwidth=1,
            margin="0.10,0.05",
            height=0.28,
            width=0.9,
        )
        self._line(
            "edge",
            fontname=FONT,
            fontsize=DETAIL,
            fontcolor=theme.detail,
            color=theme.edge,
            penwidth=1,
            arrowsize=0.55,
        )

    def _items(self, items: tuple[Item, ...], frame: str, depth: int) -> None:
        for item in items:
            if isinstance(item, Frame):
                self._frame(item, depth)
            else:
                self._box(item, "  " * (depth + 1))

    def _frame(self, frame: Frame, depth: int) -> None:
        indent = "  " * (depth + 1)
        fills = self.theme.frame_fills
        self.lines.append(f"{indent}subgraph {quoted('cluster_' + frame.id)} {{")
        self._line(
            "graph",
            indent + "  ",
            label=Html(self._frame_title(frame)),
            labeljust="l",
            labelloc="t",
            style="rounded,filled",
            color=self.theme.frame_line,
            fillcolor=fills[min(depth, len(fills) - 1)],
            penwidth=1.6 if frame.count > 1 else 0.8,
            margin=8,
            id=f"frame-{frame.id}",
            tooltip=_facts(frame.title, "", frame.params, frame.macs, frame.line),
        )
        self._items(frame.items, frame.id, depth + 1)
        self._spacer(frame, indent + "  ")
        self._rails(frame.id, indent + "  ")
        self.lines.append(indent + "}")

    def _spacer(self, frame: Frame, indent: str) -> None:
        """Keep the stream that enters a frame off its title: something as wide left of the tap.

        Where a rail leaves the tap to the left, the spacer is the first part of its line.
        """
        first = frame.items[0]
        if isinstance(first, Frame) or first.kind != "tap":
            return
        rails = place_rails(self.passing.get(frame.id, []), self.places)
        line = next((r for r in rails if r.arrow.source == first.id and r.side == "left"), None)
        spacer = f"spacer:{frame.id}"
        looks: dict[str, object] = {"style": "invis"}
        if line:
            # Graphviz rounds heights to whole points: what is missing to the width is its border.
            border, color = WIDTHS[line.arrow.kind] - 1, self.theme.residual
            looks = {"style": "filled", "penwidth": border, "color": color, "fillcolor": color}
        width = round(_title_width(frame) / 72, 2)
        size = {"label": "", "fixedsize": "true", "width": width, "height": 0.0139}
        self._line(spacer, indent, **looks, **size)
        self.lines.append(f"{indent}{{ rank=same; {quoted(spacer)}; {quoted(first.id)} }}")
        edge = self._looks(line.arrow) if line else {"style": "invis"}
        self._edge(spacer, first.id, indent, **edge, weight=1, dir="none")
        self.ends[first.id, "left"] = spacer

    def _frame_title(self, frame: Frame) -> str:
        """The title, the count, and an empty cell as wide: a lone stream passes on their right."""
        width = round(_title_width(frame))
        return (
            '<TABLE BORDER="0" CELLBORDER="0" CELLSPACING="0" CELLPADDING="2"><TR><TD>'
            f'<FONT COLOR="{self.theme.detail}">{html(frame.title)}</FONT></TD>'
            f'{self._pill(frame.count)}<TD FIXEDSIZE="TRUE" WIDTH="{width}" HEIGHT="4"></TD>'
            "</TR></TABLE>"
        )

    def _pill(self, count: int) -> str:
        if count == 1:
            return ""
        return (
            f'<TD BGCOLOR="{self.theme.badge}" STYLE="ROUNDED" CELLPADDING="2">'
            f'<FONT COLOR="{self.theme.badge_ink}" POINT-SIZE="9"><B> ×{count} </B></FONT></TD>'
        )

    def _box(self, box: Box, indent: str) -> None:
        theme = self.theme
        fill, line = theme.families[box.family]
        common = {"id": f"box-{box.id}", "class": box.family if box.kind != "tap" else "tap"}
        if box.kind == "tap":
            looks = {"shape": "point", "width": 0.05, "height": 0.05, "color": theme.edge}
            self._line(box.id, indent, **common, **looks)
            return
        common["tooltip"] = _facts(box.title, box.shape, box.params, box.macs, box.line)
        if box.kind == "sum":
            looks = {
                "label": box.title,
                "shape": "circle",
                "width": 0.22,
                "height": 0.22,
                "fixedsize": "true",
                "margin": 0,
                "fontsize": 12,
                "color": theme.edge,
                "fillcolor": theme.page,
            }
        elif box.kind in ("input", "output"):
            looks = {
                "label": Html(self._label(box)),
                "style": "filled",
                "color": theme.page,
                "fillcolor": theme.page,
            }
        else:
            looks = {"label": Html(self._label(box)), "color": line, "fillcolor": fill}
            if box.kind == "memory":
                looks |= {"shape": "cylinder", "style": "filled", "height": 0.4}
        self._line(box.id, indent, **common, **looks)

    def _label(self, box: Box) -> str:
        title = f"<B>{html(box.title)}</B>"
        if box.kind in ("input", "output"):
            return f"{title}  {self._small(box.details[0])}"
        small = "".join(f"<BR/>{self._small(detail)}" for detail in box.details)
        if box.count == 1:
            return title + small
        table = '<TABLE BORDER="0" CELLBORDER="0" CELLSPACING="0" CELLPADDING="1">'
        head = f"{table}<TR><TD>{title} </TD>{self._pill(box.count)}</TR></TABLE>"
        below = f"<TR><TD>{small.removeprefix('<BR/>')}</TD></TR>" if small else ""
        return f"{table}<TR><TD>{head}</TD></TR>{below}</TABLE>"

    def _small(self, text: str) -> str:
        return f'<FONT POINT-SIZE="{DETAIL}" COLOR="{self.theme.detail}">{html(text)}</FONT>'

    def _rails(self, frame: str, indent: str) -> None:
        """The skip connections of a frame, inner ones first.

        Lines that leave the same box share the way to the inner corner, and so do lines that end in
        the same box.
        """
        rails = place_rails(self.passing.get(frame, []), self.places)
        for rail in rails:
            arrow = rail.arrow
            start = f"rail:{arrow.source}:{arrow.target}"
            end = f"rail:{arrow.target}:{arrow.source}"
            looks = self._looks(arrow)
            for corner, box, head in ((start, arrow.source, False), (end, arrow.target, True)):
                self._corner(corner, start, box, arrow, indent)
                inner = self.ends.get((box, rail.side), box)
                self.ends[box, rail.side] = corner
                forward = head and inner == box
                # Graphviz puts the tail of a level edge on the left, if the edge has a weight.
                tail, tip = (corner, inner) if rail.side == "left" else (inner, corner)
                way = "none" if not forward else "forward" if rail.side == "left" else "back"
                self._edge(tail, tip, indent, **looks, weight=1, dir=way)
            inwards = -1 if rail.side == "right" else 1
            label = _beside(arrow.shape, inwards) if arrow.shape else {}
            self._edge(start, end, indent, **looks, **label, weight=BRANCH, dir="none")
        self._align(rails, indent)

    def _align(self, rails: list[Rail], indent: str) -> None:
        """Put rails of one column that follow each other on one line."""
        columns: dict[tuple[Side, int], list[Arrow]] = {}
        for rail in sorted(rails, key=lambda rail: rail.start):
            columns.setdefault((rail.side, rail.column), []).append(rail.arrow)
        for arrows in columns.values():
            for above, below in pairwise(arrows):
                end = f"rail:{above.target}:{above.source}"
                start = f"rail:{below.source}:{below.target}"
                self._edge(end, start, indent, style="invis", weight=SPINE)

    def _corner(self, name: str, rail: str, partner: str, arrow: Arrow, indent: str) -> None:
        """A point on the rank of `partner`, as wide as the line, so that the corner is filled."""
        size = round(WIDTHS[arrow.kind] / 72, 4)
        looks = {"shape": "point", "width": size, "height": size, "penwidth": 0}
        self._line(name, indent, group=rail, color=self.theme.residual, **looks)
        self.lines.append(f"{indent}{{ rank=same; {quoted(name)}; {quoted(partner)} }}")

    def _looks(self, arrow: Arrow) -> dict[str, object]:
        if arrow.kind in RAILS:
            looks = {"color": self.theme.residual, "penwidth": WIDTHS[arrow.kind]}
        elif arrow.kind == "memory":
            color = self.theme.families["memory"][1]
            looks = {"color": color, "penwidth": WIDTHS[arrow.kind], "style": "dashed"}
        else:
            looks = {}
        return {"class": arrow.kind, **looks}

    def _arrow(self, arrow: Arrow) -> None:
        looks = self._looks(arrow)
        looks["weight"] = self._weight(arrow)
        if arrow.shape and arrow.kind == "data":
            looks |= _beside(arrow.shape)
        if arrow.target.startswith("tap:"):
            looks["arrowhead"] = "none"
        self._edge(arrow.source, arrow.target, "  ", **looks)

    def _weight(self, arrow: Arrow) -> int:
        if arrow.kind in RAILS:
            return 0
        if arrow.spine:
            return SPINE
        # Frames stay small, and within a frame branches start on one line: what pulls them up is
        # stronger than what pulls them down.
        if self.frame_of[arrow.source] != self.frame_of[arrow.target]:
            return 1
        return BRANCH + 1 if arrow.source.startswith("tap:") else BRANCH

    def _edge(self, source: str, target: str, indent: str, **attributes: object) -> None:
        ends = f"{quoted(source)} -> {quoted(target)}"
        self.lines.append(f"{indent}{ends} {attributes_text(attributes)}")

    def _line(self, name: str, indent: str = "  ", /, **attributes: object) -> None:
        subject = name if name in ("graph", "node", "edge") else quoted(name)
        self.lines.append(f"{indent}{subject} {attributes_text(attributes)}")


def _beside(label: str, side: int = 1) -> dict[str, object]:
    """Place a label right of the lower end of a vertical edge, clear of the line; -1 for left."""
    across, up = text_width(label, DETAIL) / 2 + 5, 10
    distance = math.hypot(across, up) / 10
    angle = -side * math.degrees(math.atan2(across, up))
    return {
        "headlabel": label,
        "labeldistance": round(distance, 2),
        "labelangle": round(angle, 1),
    }


def _title_width(frame: Frame) -> float:
    return text_width(frame.title, NAME) + (38 if frame.count > 1 else 8)


def _facts(title: str, shape: str, params: int, macs: int, line: str) -> str:
    """The tooltip of an SVG."""
    parts = [title, shape]
    parts += [f"{params:,} params"] if params else []
    parts += [f"{macs:,} MACs"] if macs else []
    return " · ".join(part for part in [*parts, line] if part)
