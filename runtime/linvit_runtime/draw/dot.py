"""Pictures as Graphviz text.

What works alike in Graphviz 2.43 to 16: heavy edges along the spine keep it straight, colours have
six digits, and the font is Arial, whose widths every build knows. A skip connection is a rail of
three edges through two points, each on the rank of one of its ends, which Graphviz keeps vertical;
as one edge it would bulge around the frame. Ranks must span all clusters for that (`newrank`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from html import escape

from linvit_runtime.draw.palette import THEMES, Theme
from linvit_runtime.draw.picture import Arrow, Box, Frame, Item, Picture

FONT = "Arial"
NAME, DETAIL = 10, 8
SPINE, BRANCH = 20, 3
"""Weights of edges: how hard Graphviz tries to draw them short and straight."""
RAILS = {"residual": 1.5, "skip": 1.0}
"""Widths of the lines that pass by other boxes, in points."""


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
    picture: Picture
    theme: Theme
    dpi: int | None
    lines: list[str] = field(default_factory=list)
    frame_of: dict[str, str] = field(default_factory=dict)
    rails: dict[str, list[Arrow]] = field(default_factory=dict)

    def text(self) -> str:
        self._locate(self.picture.items, "")
        plain: list[Arrow] = []
        for arrow in self.picture.arrows:
            frame = self.frame_of[arrow.target]
            if arrow.kind in RAILS and self.frame_of[arrow.source] == frame:
                self.rails.setdefault(frame, []).append(arrow)
            else:
                plain.append(arrow)
        self._defaults()
        self._items(self.picture.items, "", 0)
        self._rails("", "  ")
        for arrow in plain:
            self._arrow(arrow)
        return "\n".join([f"digraph {_quoted(self.picture.title)} {{", *self.lines, "}", ""])

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
        self.lines.append(f"{indent}subgraph {_quoted('cluster_' + frame.id)} {{")
        self._line(
            "graph",
            indent + "  ",
            label=_Html(self._frame_title(frame)),
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
        self._rails(frame.id, indent + "  ")
        self.lines.append(indent + "}")

    def _frame_title(self, frame: Frame) -> str:
        """The title, the count, and an empty cell as wide: the spine passes on their right."""
        width = round(text_width(frame.title, NAME)) + (30 if frame.count > 1 else 0) + 8
        return (
            '<TABLE BORDER="0" CELLBORDER="0" CELLSPACING="0" CELLPADDING="2"><TR><TD>'
            f'<FONT COLOR="{self.theme.detail}">{_html(frame.title)}</FONT></TD>'
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
                "label": _Html(self._label(box)),
                "style": "filled",
                "color": theme.page,
                "fillcolor": theme.page,
            }
        else:
            looks = {"label": _Html(self._label(box)), "color": line, "fillcolor": fill}
            if box.kind == "memory":
                looks |= {"shape": "cylinder", "style": "filled", "height": 0.4}
        self._line(box.id, indent, **common, **looks)

    def _label(self, box: Box) -> str:
        title = f"<B>{_html(box.title)}</B>"
        if box.kind in ("input", "output"):
            return f"{title}  {self._small(box.details[0])}"
        small = "".join(f"<BR/>{self._small(detail)}" for detail in box.details)
        if box.count == 1:
            return title + small
        return (
            '<TABLE BORDER="0" CELLBORDER="0" CELLSPACING="1" CELLPADDING="1">'
            f"<TR><TD>{title}</TD>{self._pill(box.count)}</TR>"
            f'<TR><TD COLSPAN="2">{small.removeprefix("<BR/>")}</TD></TR></TABLE>'
        )

    def _small(self, text: str) -> str:
        return f'<FONT POINT-SIZE="{DETAIL}" COLOR="{self.theme.detail}">{_html(text)}</FONT>'

    def _rails(self, frame: str, indent: str) -> None:
        for arrow in self.rails.get(frame, []):
            start = f"rail:{arrow.source}:{arrow.target}"
            end = f"rail:{arrow.target}:{arrow.source}"
            self._corner(start, start, arrow.source, arrow, indent)
            self._corner(end, start, arrow.target, arrow, indent)
            looks = self._looks(arrow)
            self._edge(start, arrow.source, indent, **looks, weight=0, dir="none")
            self._edge(start, end, indent, **looks, weight=BRANCH, dir="none")
            self._edge(end, arrow.target, indent, **looks, weight=0)

    def _corner(self, name: str, rail: str, partner: str, arrow: Arrow, indent: str) -> None:
        """A point on the rank of `partner`, as wide as the line, so that the corner is filled."""
        size = RAILS[arrow.kind] / 72
        color = self.theme.residual
        self._line(name, indent, group=rail, shape="point", width=size, height=size, color=color)
        self.lines.append(f"{indent}{{ rank=same; {_quoted(name)}; {_quoted(partner)} }}")

    def _looks(self, arrow: Arrow) -> dict[str, object]:
        if arrow.kind in RAILS:
            looks = {"color": self.theme.residual, "penwidth": RAILS[arrow.kind]}
        elif arrow.kind == "memory":
            color = self.theme.families["memory"][1]
            looks = {"color": color, "penwidth": 1.2, "style": "dashed"}
        else:
            looks = {}
        return {"class": arrow.kind, **looks}

    def _arrow(self, arrow: Arrow) -> None:
        looks = self._looks(arrow)
        looks["weight"] = 0 if arrow.kind in RAILS else SPINE
        if arrow.shape:
            looks |= _beside(arrow.shape)
        if arrow.target.startswith("tap:"):
            looks["arrowhead"] = "none"
        self._edge(arrow.source, arrow.target, "  ", **looks)

    def _edge(self, source: str, target: str, indent: str, **attributes: object) -> None:
        ends = f"{_quoted(source)} -> {_quoted(target)}"
        self.lines.append(f"{indent}{ends} {_attributes(attributes)}")

    def _line(self, name: str, indent: str = "  ", /, **attributes: object) -> None:
        subject = name if name in ("graph", "node", "edge") else _quoted(name)
        self.lines.append(f"{indent}{subject} {_attributes(attributes)}")


class _Html(str):
    """Text that is an HTML-like label already."""

    __slots__ = ()


def _beside(label: str) -> dict[str, object]:
    """Place a label right of the lower end of a vertical edge, clear of the line."""
    across, up = text_width(label, DETAIL) / 2 + 5, 10
    distance = math.hypot(across, up) / 10
    angle = -math.degrees(math.atan2(across, up))
    return {
        "headlabel": label,
        "labeldistance": round(distance, 2),
        "labelangle": round(angle, 1),
    }


def text_width(text: str, size: float) -> float:
    """About how wide a text in Arial is, in points."""
    narrow = sum(character in "il.,:;'|!()[]fjrt " for character in text)
    wide = sum(character in "mwMW×→·" or character.isupper() for character in text)
    return size * (0.54 * len(text) - 0.25 * narrow + 0.12 * wide)


def _facts(title: str, shape: str, params: int, macs: int, line: str) -> str:
    """The tooltip of an SVG."""
    parts = [title, shape]
    parts += [f"{params:,} params"] if params else []
    parts += [f"{macs:,} MACs"] if macs else []
    return " · ".join(part for part in [*parts, line] if part)


def _attributes(attributes: dict[str, object]) -> str:
    pairs = (
        f"{name}=<{value}>" if isinstance(value, _Html) else f"{name}={_quoted(str(value))}"
        for name, value in attributes.items()
    )
    return f"[{', '.join(pairs)}]"


def _html(text: str) -> str:
    return escape(_printable(text))


def _quoted(text: str) -> str:
    # Graphviz reads entities (`&lt;`) and escapes (`\\N`, the name of the node) in quoted labels.
    text = _printable(text).replace("&", "&amp;").replace("\\", "\\\\").replace('"', '\\"')
    return f'"{text}"'


def _printable(text: str) -> str:
    return "".join(character if character.isprintable() else "�" for character in text)
