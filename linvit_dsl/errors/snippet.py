"""An excerpt of a source with its labels, laid out as rustc does it.

    23 |   dim c = d / heads
       |           -   ^^^^^ 7
       |           |
       |           384

Marks of several labels share a line; the text of the rightmost stands beside its mark, the others
hang below. A label over several lines has a rail in front of the text, from its first character to
its last. Columns are those of a terminal: a tab has four, a wide character two.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from unicodedata import category, east_asian_width

from linvit_dsl.errors.diagnostic import Label
from linvit_dsl.errors.span import Source

TAB = 4
WIDEST = 160
"""Columns of a source line that are shown; a longer line is cut to the part where labels begin."""
RAIL_LINES = 6
"""Lines of a label that are all shown; of a longer one only the first two and the last."""


Piece = tuple[int, str, str]
"""Column, text and style of something to draw in a row."""


class Canvas:
    """One row of characters, each with a style: `primary`, `secondary`, `gutter`, or none."""

    def __init__(self) -> None:
        self._cells: list[tuple[str, str]] = []

    def put(self, column: int, text: str, style: str = "") -> None:
        """Write `text` at `column`, over whatever is there."""
        self._cells += [(" ", "")] * (column - len(self._cells))
        self._cells[column : column + len(text)] = [(char, style) for char in text]

    def runs(self) -> Iterator[tuple[str, str]]:
        """The row as pieces (text, style) of equal style, without blanks at the end."""
        cells = list(self._cells)
        while cells and cells[-1][0] == " ":
            cells.pop()
        while cells:
            style = cells[0][1]
            length = next((i for i, cell in enumerate(cells) if cell[1] != style), len(cells))
            yield "".join(char for char, _ in cells[:length]), style
            del cells[:length]


@dataclass(frozen=True, slots=True)
class Mark:
    """A label on the screen: lines from 1, columns of the terminal from 0, `end` exclusive."""

    text: str
    style: str
    line: int
    column: int
    end_line: int
    end: int

    @property
    def sign(self) -> str:
        """What underlines it."""
        return "^" if self.style == "primary" else "-"


def printable(text: str) -> str:
    """`text` with a box for each character that moves the cursor, hides, or reorders text."""
    return "".join("\ufffd" if category(char) in _UNPRINTABLE else char for char in text)


_UNPRINTABLE = ("Cc", "Cf", "Cs", "Zl", "Zp")


def snippet(labels: tuple[tuple[Label, str], ...]) -> list[tuple[str, Canvas]]:
    """Lay out labels that point into one source.

    Args:
        labels: Each label with its style.

    Returns:
        Rows from top to bottom: the gutter's text (a line number, "" or "..."), and the rest.
    """
    source = labels[0][0].span.source
    marks = [_mark(label, style) for label, style in labels]
    rails = [mark for mark in marks if mark.end_line > mark.line]
    rows: list[tuple[str, Canvas]] = []
    previous = 0
    for line in _lines_shown(marks):
        if previous and line > previous + 1:
            rows.append(("...", _row(rails, [m for m in rails if m.line < line <= m.end_line])))
        rows += _line(source, line, marks, rails)
        previous = line
    return rows


def _mark(label: Label, style: str) -> Mark:
    source, start, end = label.span.source, label.span.start, label.span.end
    # A label that ends with a line break ends before it on the screen.
    while end > start and source.text[end - 1] in "\r\n":
        end -= 1
    line, column = source.position(start)
    end_line, end_column = source.position(end)
    first = _columns(source.line(line)[: column - 1])
    last = _columns(source.line(end_line)[: end_column - 1])
    if end_line == line:
        last = max(last, first + 1)
    return Mark(printable(label.text), style, line, first, end_line, last)


def _width(char: str, column: int) -> int:
    """Columns that `char` takes on a terminal when it stands at `column`."""
    if char == "\t":
        return TAB - column % TAB
    if category(char) in ("Mn", "Me"):
        return 0
    return 2 if east_asian_width(char) in "WF" else 1


def _columns(text: str) -> int:
    total = 0
    for char in text:
        total += _width(char, total)
    return total


def _lines_shown(marks: list[Mark]) -> list[int]:
    lines: set[int] = set()
    for mark in marks:
        lines |= {mark.line, mark.end_line}
        if mark.end_line - mark.line < RAIL_LINES:
            lines |= set(range(mark.line, mark.end_line))
        else:
            lines.add(mark.line + 1)
    # A gap of one line takes no more room than the dots that would stand for it.
    lines |= {line + 1 for line in lines if line + 2 in lines}
    return sorted(lines)


def _row(rails: list[Mark], running: list[Mark]) -> Canvas:
    """A row with the rails of the labels that run through it."""
    canvas = Canvas()
    for mark in running:
        canvas.put(rails.index(mark), "|", mark.style)
    return canvas


def _line(
    source: Source, line: int, marks: list[Mark], rails: list[Mark]
) -> Iterator[tuple[str, Canvas]]:
    """A source line and the rows of marks below it."""
    flat = [mark for mark in marks if mark.line == line == mark.end_line]
    begins = [mark for mark in rails if mark.line == line]
    ends = [mark for mark in rails if mark.end_line == line]
    running = [mark for mark in rails if mark.line < line <= mark.end_line]
    margin = len(rails) + 1 if rails else 0
    starts = [mark.column for mark in flat + begins] + [mark.end - 1 for mark in ends]
    text, cut = _window(source.line(line).rstrip("\r"), min(starts, default=0))

    def place(column: int) -> int:
        return margin + min(max(column - cut, 0), WIDEST)

    top = _row(rails, running)
    top.put(margin, text)
    yield str(line), top
    for pieces in _underlines(flat, place):
        canvas = _row(rails, running)
        for column, piece, style in pieces:
            canvas.put(column, piece, style)
        yield "", canvas
    for mark in begins:
        canvas = _row(rails, running)
        rail = rails.index(mark) + 1
        canvas.put(rail, "_" * (place(mark.column) - rail) + mark.sign, mark.style)
        yield "", canvas
        running.append(mark)
    for mark in ends:
        canvas = _row(rails, running)
        rail = rails.index(mark) + 1
        bar = "_" * (place(mark.end - 1) - rail) + mark.sign
        canvas.put(rail, f"{bar} {mark.text}", mark.style)
        yield "", canvas
        running.remove(mark)


def _underlines(marks: list[Mark], place: Callable[[int], int]) -> list[list[Piece]]:
    """The rows below a line for the labels that begin and end on it."""
    if not marks:
        return []
    end = max(mark.end for mark in marks)
    # The text beside the marks is that of the last one; it must not seem to be of a longer one.
    right = next((mark for mark in marks if mark.text and mark.end == end), None)
    underline: list[Piece] = [
        (place(m.column), m.sign * max(place(m.end) - place(m.column), 1), m.style)
        for m in _outer_first(marks)
    ]
    if right:
        underline.append((place(end) + 1, right.text, right.style))
    rows = [underline]
    hanging = [mark for mark in marks if mark.text and mark is not right]
    hanging.sort(key=lambda mark: mark.column)
    bars = [(place(mark.column), "|", mark.style) for mark in hanging]
    if hanging:
        rows.append(bars)
    for index in reversed(range(len(hanging))):
        mark = hanging[index]
        rows.append([*bars[:index], (place(mark.column), mark.text, mark.style)])
    return rows


def _outer_first(marks: list[Mark]) -> list[Mark]:
    """The order in which marks are drawn: short ones over long ones, but never all of `^`."""
    order = sorted(marks, key=lambda m: (m.column - m.end, m.style == "primary"))
    for index, mark in enumerate(order):
        above = {column for m in order[index + 1 :] for column in range(m.column, m.end)}
        if mark.style == "primary" and above.issuperset(range(mark.column, mark.end)):
            return [*order[:index], *order[index + 1 :], mark]
    return order


def _window(line: str, start: int) -> tuple[str, int]:
    """The part of a line that is shown, tabs expanded, and the columns cut off before it."""
    cut = max(start - WIDEST // 4, 0) if _columns(line) > WIDEST else 0
    shown: list[str] = []
    column = 0
    for char in line:
        size = _width(char, column)
        if cut <= column < cut + WIDEST:
            shown.append(" " * size if char == "\t" else printable(char))
        column += size
    if cut:
        shown[0] = "…"
    if column > cut + WIDEST:
        shown[-1] = "…"
    return "".join(shown), cut
