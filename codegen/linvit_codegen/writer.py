"""Collects the lines of a generated file, and for each line the statement that it comes from."""

from __future__ import annotations

import re
from dataclasses import dataclass

from linvit_codegen.embedded import Embedding
from linvit_codegen.layout import WIDTH, signature, statement
from linvit_dsl.errors import Span

_ASSIGNMENT = re.compile(
    r"([A-Za-z_\u0370-\u03ff][A-Za-z0-9_\u0370-\u03ff]*'*)\s*(:[^=]*)?\+?=(?!=)"
)


_LIBRARY = re.compile(r"(?<![\w.])(F|init|kernels|layers|torch|trace)\.")

# Where a list is broken into lines: behind its opening bracket, and before the closing one. Texts
# are matched to be left alone.
_BROKEN = re.compile(
    r'(?P<text>"(?:[^"\\\n]|\\.)*")|(?P<opening>[\[(])[ \t]*\n\s*|,?[ \t]*\n\s*(?=[\])])'
)

_GLUE = "\x00"
"""Stands for a space at which a line must not end; `printable` text has none."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a generated line comes from: a statement of a block."""

    statement: Span
    block: str


class Writer:
    """Lines of Python, each with its `Place` if it has one.

    Args:
        embedding: Of a standalone module: expressions use what it carries along.

    Attributes:
        lines: All of them.
        places: By line, from 0.
        libraries: Which of the modules that may be imported are used.
    """

    def __init__(self, embedding: Embedding | None = None) -> None:
        self._embedding = embedding
        self.lines: list[str] = []
        self.places: dict[int, Place] = {}
        self.libraries: set[str] = set()

    def text(self, indent: int, *lines: str) -> None:
        """Add lines as they are."""
        self.lines += [f"{' ' * indent}{line}".rstrip() for line in lines]

    def statement(
        self,
        indent: int,
        prefix: str,
        expression: str,
        suffix: str = "",
        place: Place | None = None,
    ) -> None:
        """Add `prefix expression suffix`, broken where it is too long."""
        first = len(self.lines)
        if self._embedding is not None:
            expression = self._embedding.local(expression)
        self.libraries.update(_LIBRARY.findall(expression))
        self.lines += statement(prefix, expression, indent, suffix)
        if place is not None:
            self.places.update(dict.fromkeys(range(first, len(self.lines)), place))

    def signature(self, indent: int, head: str, parameters: list[str], result: str) -> None:
        """Add `def head(parameters) -> result:`."""
        self.lines += signature(head, parameters, result, indent)

    def decorator(self, indent: int, expression: str) -> None:
        """Add `@expression`."""
        self.statement(indent, "@", expression)

    def comment(self, indent: int, text: str) -> None:
        """Add a comment, wrapped."""
        self.text(indent, *wrapped(text, WIDTH - indent, "# ", "#     "))

    def docstring(self, indent: int, summary: str, *paragraphs: str) -> None:
        """Add a docstring: one line if it fits, else paragraphs."""
        blocks = [wrapped(printable(text), WIDTH - indent - 3, "", "") for text in paragraphs]
        head = wrapped(printable(summary), WIDTH - indent - 3, "", "")
        if not blocks and len(head) == 1 and len(head[0]) + indent + 6 <= WIDTH:
            self.text(indent, f'"""{head[0]}"""')
            return
        self.text(indent, f'"""{head[0]}', *head[1:])
        for block in blocks:
            self.text(indent, "", *block)
        self.text(indent, '"""')


def printable(text: str) -> str:
    """Text that can stand in a docstring or comment and end neither.

    It has no quotes that close one, no backslash, no line break and no invisible character.
    """
    text = re.sub(r"\s+", " ", text).strip()
    if not text.isprintable():
        text = "".join(char if char.isprintable() else "?" for char in text)
    return text.replace("\\", "/").replace('"""', "'''")


def wrapped(text: str, width: int, first: str, later: str) -> list[str]:
    """Text in lines of at most `width`, longer only where one part is.

    Strings and shapes stay whole, and `|>` goes with what follows.
    """
    whole = re.sub(r'"[^"]*"|\|> |[\d,]+ parameters', _glued, text)
    whole = re.sub(r"\[[^\[\]]{,30}\]", _glued, whole)
    words: list[str] = []
    for word in whole.split(" "):
        words += [word] if len(later) + len(word) <= width else word.split(_GLUE)
    lines: list[str] = []
    line = first
    for word in words:
        if len(line) + len(word) > width and line.strip("# "):
            lines.append(line.rstrip())
            line = later
        line += f"{word} "
    return [line.replace(_GLUE, " ") for line in (*lines, line.rstrip())]


def _glued(match: re.Match[str]) -> str:
    return match[0].replace(" ", _GLUE)


def source_line(span: Span) -> str:
    """A statement as one line of text: of a statement with a body, the head up to its brace."""
    text = _without_comments(span.text)
    head = text.split("{", 1)[0] if re.match(r"(repeat|for|if)\b", text) else text
    return printable(head)


def target(span: Span) -> str:
    """The name that a statement assigns to, "" if it is no simple assignment."""
    match = _ASSIGNMENT.match(span.text)
    return match[1] if match else ""


def _without_comments(text: str) -> str:
    parts = re.findall(r'"(?:[^"\\\n]|\\.)*"|#[^\n]*|[^"#]+|"', text)
    code = "".join(part for part in parts if not part.startswith("#"))
    return _BROKEN.sub(lambda found: found["text"] or found["opening"] or "", code)
