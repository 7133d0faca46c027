"""A table of text: columns aligned, no colour codes."""

from __future__ import annotations

from collections.abc import Sequence

GAP = "  "


def table(
    headings: Sequence[str],
    rows: Sequence[Sequence[str]],
    left: Sequence[bool],
    width: int | None = None,
) -> str:
    """Rows below their headings; `left` tells which columns are not aligned to the right.

    With a `width` the last column ends there, with `...` where something is cut off.
    """
    lines = [headings, *rows]
    widths = [max(len(line[column]) for line in lines) for column in range(len(headings))]
    written: list[str] = []
    for line in lines:
        cells = zip(line, widths, left, strict=True)
        text = GAP.join(
            cell.ljust(columns) if is_left else cell.rjust(columns)
            for cell, columns, is_left in cells
        ).rstrip()
        cut = width is not None and len(text) > width
        written.append(f"{text[: width - 3].rstrip()}..." if cut and width else text)
    return "\n".join(written) + "\n"
