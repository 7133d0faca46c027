"""The comments of a text, each handed out once while the AST is printed in its order."""

from __future__ import annotations

import re
from bisect import bisect_left

from linvit_dsl.errors import InternalError, Source, Span
from linvit_dsl.syntax.scanner import scan
from linvit_dsl.syntax.tokens import CLOSERS, OPENERS, start_of

# What may stand between the end of something and the comment about it on the same line.
_BEHIND = re.compile(r"[ \t,;]*(?:(?:\.\.|[-+*/%^<>=!]+|and\b|or\b|in\b)[ \t]*)?")
_CLOSING = re.compile(r"(?:\s|#[^\n]*\n)*\)")


class Comments:
    """A queue of the comments in a text without mistakes, and where its brackets are."""

    def __init__(self, source: Source) -> None:
        scanned = scan(source)
        self.text = source.text
        self._comments = scanned.comments
        self._next = 0
        self._openers: list[int] = []
        self._closers: list[int] = []
        self._kinds: list[str] = []
        waiting: list[int] = []
        for token in scanned.tokens:
            if token.type in OPENERS:
                waiting.append(len(self._openers))
                self._openers.append(start_of(token))
                self._closers.append(-1)
                self._kinds.append(token.type)
            elif token.type in CLOSERS:
                self._closers[waiting.pop()] = start_of(token)

    def before(self, offset: int) -> tuple[Span, ...]:
        """Take all comments in front of `offset` that nobody has taken yet."""
        first = self._next
        while self._next < len(self._comments) and self._comments[self._next].start < offset:
            self._next += 1
        return self._comments[first : self._next]

    def first_before(self, offset: int) -> tuple[Span, ...]:
        """Take the first comment in front of `offset`, if one is left."""
        if not self.any_before(offset):
            return ()
        self._next += 1
        return (self._comments[self._next - 1],)

    def behind(self, offset: int) -> tuple[Span, ...]:
        """Take the comment that ends the line of `offset`, if it is about what ends there."""
        if self._next < len(self._comments):
            comment = self._comments[self._next]
            gap = _BEHIND.match(self.text, offset)
            if gap is not None and gap.end() == comment.start:
                self._next += 1
                return (comment,)
        return ()

    def any_before(self, offset: int) -> bool:
        """Whether a comment in front of `offset` is still to be taken."""
        return self._next < len(self._comments) and self._comments[self._next].start < offset

    def brackets(self, kind: str, offset: int) -> tuple[int, int]:
        """Where the first bracket of a kind (`LPAR`) at or behind `offset` opens, and closes."""
        place = bisect_left(self._openers, offset)
        while place < len(self._openers) and self._kinds[place] != kind:
            place += 1
        if place == len(self._openers):
            raise InternalError(f"no {kind} behind character {offset}")
        return self._openers[place], self._closers[place]

    def blank_line_before(self, offset: int) -> bool:
        """Whether the line above `offset` is blank."""
        start = offset
        while start and self.text[start - 1] in " \t\n;":
            start -= 1
        return self.text.count("\n", start, offset) > 1

    def same_line(self, start: int, end: int) -> bool:
        """Whether no line ends between two offsets."""
        return "\n" not in self.text[start:end]

    def past_parentheses(self, offset: int, limit: int | None = None) -> int:
        """The offset behind the parentheses that close behind `offset`, but not behind `limit`."""
        while True:
            found = _CLOSING.match(self.text, offset)
            if found is None or (limit is not None and found.end() > limit):
                return offset
            offset = found.end()
