"""Pictures without a picture: a tree for the terminal, and Mermaid text for READMEs."""

from __future__ import annotations

from linvit_runtime.draw.palette import THEMES
from linvit_runtime.draw.picture import Box, Frame, Item, Picture

_MERMAID_SHAPES = {"memory": ("[(", ")]"), "sum": ("((", "))"), "tap": ("((", "))")}


def to_text(picture: Picture) -> str:
    """A tree of frames and boxes in order of execution, with the shape that each box makes."""
    rows = [("", picture.title, "", "")]
    _rows(picture, picture.items, "", rows)
    width = max(len(stem) + len(title) for stem, title, _, _ in rows)
    middle = max(len(details) for _, _, details, _ in rows)
    lines = []
    for stem, title, details, shape in rows:
        name = (stem + title).ljust(width)
        lines.append(f"{name}  {details.ljust(middle)}  {shape}".rstrip())
    return "\n".join(lines) + "\n"


def _rows(
    picture: Picture, items: tuple[Item, ...], stem: str, rows: list[tuple[str, str, str, str]]
) -> None:
    shown = [item for item in items if isinstance(item, Frame) or item.kind != "tap"]
    for item in shown:
        last = item is shown[-1]
        branch, inside = ("└─ ", "   ") if last else ("├─ ", "│  ")
        times = f" ×{item.count}" if item.count > 1 else ""
        if isinstance(item, Frame):
            rows.append((stem + branch, item.title + times, "", ""))
            _rows(picture, item.items, stem + inside, rows)
        else:
            title = f"({item.title})" if item.kind == "sum" else item.title
            details = (
                _sum_details(picture, item) if item.kind == "sum" else " · ".join(item.details)
            )
            if item.kind in ("input", "output"):
                details = ""
            rows.append((stem + branch, title + times, details, item.shape))


def _sum_details(picture: Picture, box: Box) -> str:
    residual = any(a.target == box.id and a.kind == "residual" for a in picture.arrows)
    return "residual" if residual else ""


def to_mermaid(picture: Picture) -> str:
    """A Mermaid flowchart, which GitHub draws in Markdown."""
    names = {item.id: f"n{index}" for index, item in enumerate(picture.walk())}
    lines = ["flowchart TB"]
    _mermaid_items(picture.items, names, "  ", lines)
    for arrow in picture.arrows:
        line = {"residual": "==>", "memory": "-.->"}.get(arrow.kind, "-->")
        label = f"|{_mermaid(arrow.shape)}|" if arrow.shape else ""
        lines.append(f"  {names[arrow.source]} {line}{label} {names[arrow.target]}")
    for family, (fill, stroke) in THEMES["light"].families.items():
        lines.append(f"  classDef {family} fill:{fill},stroke:{stroke},color:#1A1A1A")
        members = [names[box.id] for box in picture.boxes() if box.family == family]
        if members:
            lines.append(f"  class {','.join(members)} {family}")
    return "\n".join(lines) + "\n"


def _mermaid_items(
    items: tuple[Item, ...], names: dict[str, str], indent: str, lines: list[str]
) -> None:
    for item in items:
        times = f" ×{item.count}" if item.count > 1 else ""
        if isinstance(item, Frame):
            lines.append(f"{indent}subgraph {names[item.id]} [{_mermaid(item.title + times)}]")
            _mermaid_items(item.items, names, indent + "  ", lines)
            lines.append(f"{indent}end")
        else:
            opening, closing = _MERMAID_SHAPES.get(item.kind, ("[", "]"))
            text = _mermaid(item.title + times, *item.details)
            lines.append(f"{indent}{names[item.id]}{opening}{text}{closing}")


def _mermaid(*lines: str) -> str:
    # Mermaid writes a character by its number between # and ;, which no markup can be made of.
    safe = [
        "".join(c if c.isalnum() or c in " .·×→−+÷" else f"#{ord(c)};" for c in line)
        for line in lines
    ]
    return f'"{"<br/>".join(safe)}"'
