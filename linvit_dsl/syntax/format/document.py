"""Documents that lay themselves out in lines of bounded width.

The algebra is Wadler's ("A prettier printer", 2003) with what comments need beside it: `Suffix`,
text that waits for the end of its line, and lines that must break. A `Group` stands on one line if
all of it fits, together with what follows up to the next place where a line may break.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

INDENT = 2


@dataclass(frozen=True, slots=True)
class Line:
    """A place that may break: `flat` is what stands there if it does not. None: it must break."""

    flat: str | None


@dataclass(frozen=True, slots=True)
class Suffix:
    """A comment that closes its line, whatever else comes on that line."""

    text: str


@dataclass(frozen=True, slots=True)
class IfBroken:
    """Text that stands only where the group around it is broken: a trailing comma."""

    text: str


@dataclass(frozen=True, slots=True)
class Joined:
    """Parts one after the other. `breaks`: they cannot stand on one line."""

    parts: tuple[Document, ...]
    breaks: bool = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "breaks", any(map(must_break, self.parts)))


@dataclass(frozen=True, slots=True)
class Nest:
    """What is inside begins its lines further right."""

    inside: Document


@dataclass(frozen=True, slots=True)
class Group:
    """On one line if it fits, else broken at each of its own lines."""

    inside: Document


@dataclass(frozen=True, slots=True)
class Fill:
    """Items with commas between, in rows.

    The rows of a broken fill are those of the author (`rows[i]`: `items[i + 1]` begins one) if all
    of them fit; else an item begins a row where it would not fit behind the one before.
    """

    items: tuple[Document, ...]
    rows: tuple[bool, ...]
    line: int = -1
    """Of a fill that is half written: the line where the item before began, from 0."""


@dataclass(frozen=True, slots=True)
class Choice:
    """`compact` if it fits up to its first break, else `wide`."""

    compact: Document
    wide: Document


Document = str | Line | Suffix | IfBroken | Joined | Nest | Group | Fill | Choice

SPACE = Line(" ")
NOTHING = Line("")
BREAK = Line(None)


def join(*parts: Document) -> Joined:
    """Parts one after the other."""
    return Joined(parts)


def between(separator: Document, parts: Iterable[Document]) -> Joined:
    """Parts with a separator between each two."""
    found: list[Document] = []
    for part in parts:
        found += [separator, part] if found else [part]
    return Joined(tuple(found))


def must_break(document: Document) -> bool:
    """Whether a document cannot stand on one line: a comment ends it, or a line that must break."""
    match document:
        case Line():
            return document.flat is None
        case Suffix():
            return True
        case Joined():
            return document.breaks
        case Nest() | Group():
            return must_break(document.inside)
        case Fill():
            return any(map(must_break, document.items))
        case Choice():
            return must_break(document.wide)
        case _:
            return False


def flat_text(document: Document) -> str:
    """A document on one line, without the comment at its end."""
    return "".join(_flat(document))


def _flat(document: Document) -> Iterator[str]:
    stack = [document]
    while stack:
        match part := stack.pop():
            case str():
                yield part
            case Line():
                yield part.flat or ""
            case Joined():
                stack += reversed(part.parts)
            case Nest() | Group():
                stack.append(part.inside)
            case Fill():
                stack.append(between(", ", part.items))
            case Choice():
                stack.append(part.compact)
            case Suffix() | IfBroken():
                pass


_Entry = tuple[int, bool, Document]
"""The indentation, whether on one line, and what is still to be written."""


def layout(document: Document, width: int) -> str:
    """The lines of a document, at most `width` columns wide where that is possible."""
    return _Writer(width).write(document)


class _Writer:
    """Writes one document."""

    def __init__(self, width: int) -> None:
        self.width = width
        self.lines: list[str] = []
        self.line: list[str] = []
        self.column = 0
        self.comments: list[str] = []

    def write(self, document: Document) -> str:
        stack: list[_Entry] = [(0, False, document)]
        while stack:
            indent, flat, part = stack.pop()
            match part:
                case str():
                    self.text(part)
                case Suffix():
                    self.comments.append(part.text)
                case IfBroken():
                    self.text("" if flat else part.text)
                case Line():
                    if flat and part.flat is not None:
                        self.text(part.flat)
                    else:
                        self.newline(indent)
                case Joined():
                    stack += [(indent, flat, inner) for inner in reversed(part.parts)]
                case Nest():
                    stack.append((indent + INDENT, flat, part.inside))
                case Group():
                    entry = (indent, True, part.inside)
                    stack.append((indent, flat or self.fits(entry, stack), part.inside))
                case Fill():
                    self.fill(indent, part, stack, flat=flat)
                case Choice():
                    stack.append(self.choose(indent, part, stack, flat=flat))
        self.newline(0)
        return "\n".join(self.lines)

    def text(self, text: str) -> None:
        self.line.append(text)
        self.column += len(text)

    def newline(self, indent: int) -> None:
        """End the line, with the comments that waited for that."""
        line = "".join(self.line).rstrip()
        self.lines.append("  ".join([line, *self.comments] if line else self.comments))
        self.comments.clear()
        self.line = [" " * indent]
        self.column = indent

    def fill(self, indent: int, fill: Fill, stack: list[_Entry], *, flat: bool) -> None:
        """Write the first item of a fill, and leave the others for later."""
        item, rest, rows = fill.items[0], fill.items[1:], fill.rows
        begun = fill.line >= 0
        if not begun and not self.rows_fit(fill):
            rows = (False,) * len(rows)
        if begun:
            begins = rows[0] or self.comments or fill.line < len(self.lines)
            room = self.width - self.column - len(" ,")
            if flat or not (begins or must_break(item) or len(flat_text(item)) > room):
                self.text(" ")
            else:
                self.newline(indent)
        if rest:
            stack.append((indent, flat, Fill(rest, rows[begun:], len(self.lines))))
            stack.append((indent, flat, ","))
        stack.append((indent, flat, item))

    def rows_fit(self, fill: Fill) -> bool:
        """Whether every row of the author fits."""
        width = self.column
        for item, begins in zip(fill.items, (True, *fill.rows), strict=True):
            if must_break(item):
                width = self.width
                continue
            width = len(flat_text(item)) + (self.column if begins else width + len(", "))
            if width + len(",") > self.width:
                return False
        return True

    def choose(self, indent: int, choice: Choice, stack: list[_Entry], *, flat: bool) -> _Entry:
        if flat or self.fits((indent, True, choice.compact), stack):
            return indent, True, choice.compact
        compact = (indent, False, choice.compact)
        return compact if self.fits(compact, stack) else (indent, False, choice.wide)

    def fits(self, entry: _Entry, rest: list[_Entry]) -> bool:
        """Whether an entry, and what comes behind it up to a break, ends within the width."""
        _, flat, document = entry
        if flat and must_break(document):
            return False
        room = self.width - self.column
        waiting = len(rest)
        stack = [(flat, document)]
        while room >= 0:
            if not stack:
                if not waiting:
                    return True
                waiting -= 1
                _, flat, document = rest[waiting]
                stack.append((flat, document))
            flat, part = stack.pop()
            match part:
                case str():
                    room -= len(part)
                case Line():
                    if not flat or part.flat is None:
                        return True
                    room -= len(part.flat)
                case IfBroken():
                    room -= 0 if flat else len(part.text)
                case Joined():
                    stack += [(flat, inner) for inner in reversed(part.parts)]
                case Nest() | Group():
                    stack.append((flat, part.inside))
                case Fill():
                    if part.line >= 0 and not flat:
                        return True
                    stack.append((flat, between(join(",", Line(" ")), part.items)))
                case Choice():
                    stack.append((flat, part.compact))
                case Suffix():
                    pass
        return False
