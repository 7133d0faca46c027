"""lark's tokens as linvit uses them: a type, a text, and a place in the source."""

from __future__ import annotations

from collections.abc import Sequence

from lark import Token

from linvit_dsl.errors import Source, Span

OPENERS = {"LPAR": "RPAR", "LSQB": "RSQB", "LBRACE": "RBRACE"}
"""Type of the bracket that closes each type of bracket."""
CLOSERS = {closer: opener for opener, closer in OPENERS.items()}


def new_token(kind: str, text: str, start: int, end: int) -> Token:
    """A token at `[start, end)`. lark only copies lines and columns; ours come from the source."""
    return Token(kind, text, start, 1, 1, 1, 1, end)


def start_of(token: Token) -> int:
    """Offset of the first character."""
    return token.start_pos or 0


def end_of(token: Token) -> int:
    """Offset behind the last character."""
    return token.end_pos or 0


def span_of(source: Source, first: Token, last: Token | None = None) -> Span:
    """The characters of a token, or from one to another."""
    return Span(source, start_of(first), end_of(first if last is None else last))


def partner(opened: Sequence[Token], closer: Token) -> int | None:
    """Place, among the open brackets, of the one that `closer` closes; None for a stray one.

    Brackets opened later were forgotten. A brace closes only a brace; `]` for `)` is a slip.
    """
    wanted = CLOSERS[closer.type]
    for place in range(len(opened) - 1, -1, -1):
        if opened[place].type == wanted:
            return place
        if opened[place].type == "LBRACE":
            break
    is_slip = bool(opened) and wanted != "LBRACE" and opened[-1].type != "LBRACE"
    return len(opened) - 1 if is_slip else None
