"""From characters to tokens. What is none is reported, and repaired so that parsing can go on."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache

from lark import Token

from linvit_dsl.errors import Diagnostic, Source, Span, diagnose
from linvit_dsl.graph import limits
from linvit_dsl.syntax import strays
from linvit_dsl.syntax.grammar import fixed_texts, hard_words, patterns
from linvit_dsl.syntax.quantities import too_long
from linvit_dsl.syntax.tokens import end_of, new_token


@dataclass(frozen=True, slots=True)
class Scan:
    """The tokens of a text, newlines and `;` among them as `_NL`, and its comments."""

    tokens: tuple[Token, ...]
    comments: tuple[Span, ...]
    diagnostics: tuple[Diagnostic, ...]

    @property
    def docs(self) -> tuple[Span, ...]:
        """The `##` comments."""
        return tuple(comment for comment in self.comments if comment.text.startswith("##"))


def scan(source: Source, start: int = 0, end: int | None = None) -> Scan:
    """Take the characters `[start, end)` apart. Positions are offsets into the whole text."""
    return _Scanner(source, start, len(source.text) if end is None else end).run()


@cache
def _master() -> re.Pattern[str]:
    """One expression for all tokens, with a group for each kind."""
    symbols = [text for text in fixed_texts() if not text.isalpha()]
    symbols.sort(key=len, reverse=True)
    terminals = patterns()
    kinds = {
        "BLANK": terminals["BLANK"],
        "NAME": terminals["NAME"],
        "FOREIGN": strays.FOREIGN_OPERATOR,
        "SYMBOL": "|".join(map(re.escape, symbols)),
        "QUANTITY": terminals["QUANTITY"],
        "NUMBER": terminals["NUMBER"],
        "_NL": terminals["_NL"],
        # NAME refuses these words only where they end.
        "WORD": "|".join(sorted(hard_words(), key=len, reverse=True)),
        "STRING": terminals["STRING"],
        "COMMENT": terminals["COMMENT"],
    }
    return re.compile("|".join(f"(?P<{kind}>{pattern})" for kind, pattern in kinds.items()))


class _Scanner:
    """One run over a text."""

    def __init__(self, source: Source, start: int, end: int) -> None:
        self.source = source
        self.start = start
        self.end = end
        self.tokens: list[Token] = []
        self.comments: list[Span] = []
        self.reported: set[str] = set()
        self.diagnostics = strays.invisible_characters(source, start, end)

    def run(self) -> Scan:
        text, match = self.source.text, _master().match
        position = self.start
        if position == 0 and text.startswith("\ufeff"):
            position = 1
        while position < self.end:
            found = match(text, position, self.end)
            if found is None or found.lastgroup is None:
                position = self.repair(strays.stray(self.source, position, self.end))
                continue
            self.token(found.lastgroup, found.group(), position)
            position = found.end()
        return Scan(tuple(self.tokens), tuple(self.comments), tuple(self.diagnostics))

    def token(self, kind: str, text: str, position: int) -> None:
        """Add what the master expression found."""
        if kind == "BLANK":
            return
        end = position + len(text)
        if kind == "COMMENT":
            self.comments.append(Span(self.source, position, end))
            return
        if kind == "FOREIGN":
            self.repair(strays.foreign_operator(self.source, position, end))
            return
        if kind in {"SYMBOL", "WORD"}:
            kind = fixed_texts()[text]
        elif kind == "NAME" and len(text) > limits.IDENTIFIER:
            span = Span(self.source, position, end)
            self.report(diagnose("E0710", span, value=len(text), limit=limits.IDENTIFIER))
        elif kind in {"NUMBER", "QUANTITY"} and too_long(text):
            self.report(strays.long_number(Span(self.source, position, end)))
            text = "1"
        self.add(kind, text, position, end)

    def repair(self, found: strays.Stray) -> int:
        """Report a stray, put the token it stands for in its place, and say where to go on."""
        word = self.source.text[found.start : found.end]
        if word not in self.reported:
            self.report(*found.diagnostics)
        if found.diagnostics and found.diagnostics[0].code == "E0123":
            self.reported.add(word)
        while self.tokens and end_of(self.tokens[-1]) > found.start:
            self.tokens.pop()
        if found.kind:
            self.add(found.kind, found.text, found.start, found.end)
        return found.end

    def report(self, *found: Diagnostic) -> None:
        """Add diagnostics, as long as any will be shown."""
        if len(self.diagnostics) < limits.ERRORS:
            self.diagnostics += found

    def add(self, kind: str, text: str, start: int, end: int) -> None:
        self.tokens.append(new_token(kind, text, start, end))
