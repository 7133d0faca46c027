"""A piece of a text that does not follow the grammar, and what a message may want to know of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from lark import Token, UnexpectedToken

from linvit_dsl.errors import Source, Span
from linvit_dsl.syntax.grammar import Start, accepted, parse_tokens
from linvit_dsl.syntax.layout import UNFINISHED
from linvit_dsl.syntax.tokens import CLOSERS, OPENERS, end_of, new_token, partner, start_of

_TRIED = 2_000
"""Tokens of a piece that is parsed again to see whether a change helps."""


@dataclass(frozen=True)
class Failure:
    """Where a piece stopped making sense.

    Args:
        source: The text.
        tokens: The piece, laid out.
        start: The rule that it should follow.
        index: Of the first token that cannot stand where it stands; `len(tokens)` for the end.
        accepts: Names of the terminals that could stand there instead.
        after: What follows the piece, if anything does.
        behind: The last token before the piece.
    """

    source: Source
    tokens: Sequence[Token]
    start: Start
    index: int
    accepts: frozenset[str]
    after: Token | None = None
    behind: Token | None = None

    @staticmethod
    def of(
        source: Source,
        tokens: Sequence[Token],
        start: Start,
        error: UnexpectedToken,
        after: Token | None = None,
        behind: Token | None = None,
    ) -> Failure:
        """The failure that lark reported for laid-out tokens."""
        index = _index(tokens, error.token)
        return Failure(source, tokens, start, index, accepted(tokens[:index], start), after, behind)

    @property
    def found(self) -> Token | None:
        """The token in the way; None where the piece ends too early."""
        return self.tokens[self.index] if self.index < len(self.tokens) else None

    @property
    def next(self) -> Token | None:
        """The token in the way, or what follows a piece that visibly goes on."""
        if self.found is not None:
            return self.found
        goes_on = bool(self.brackets) or (
            self.before is not None and self.before.type in UNFINISHED
        )
        return self.after if goes_on else None

    @property
    def before(self) -> Token | None:
        """The last token that fits."""
        return self.tokens[self.index - 1] if self.index else None

    def kind(self, offset: int) -> str:
        """Type of the token `offset` places from the failure; empty where there is none."""
        at = self.index + offset
        return self.tokens[at].type if 0 <= at < len(self.tokens) else ""

    @cached_property
    def brackets(self) -> tuple[int, ...]:
        """Places, among the tokens, of the brackets open at the failure; outermost first."""
        places: list[int] = []
        for at, token in enumerate(self.tokens[: self.index]):
            if token.type in OPENERS:
                places.append(at)
            elif token.type in CLOSERS:
                place = partner([self.tokens[held] for held in places], token)
                if place is not None:
                    del places[place:]
        return tuple(places)

    @property
    def place(self) -> Span:
        """What a message points at: the token in the way, or the place where one is missing."""
        return self.gap if self.next is None else self.span(self.next)

    @property
    def gap(self) -> Span:
        """The place behind the last token that fits."""
        at = start_of(self.tokens[0]) if self.before is None else end_of(self.before)
        return Span(self.source, at, at)

    def span(self, token: Token) -> Span:
        """Where a token stands; a line break has no width."""
        start = start_of(token)
        return Span(self.source, start, start if token.type == "_NL" else end_of(token))

    def with_tokens(self, at: int, width: int, *replacement: tuple[str, str]) -> list[Token]:
        """The piece with other tokens, as (type, text), in the place of `width` ones at `at`."""
        start = start_of(self.tokens[at]) if at < len(self.tokens) else self.gap.start
        end = end_of(self.tokens[at + width - 1]) if width else start
        new = [new_token(kind, text, start, end) for kind, text in replacement]
        return [*self.tokens[:at], *new, *self.tokens[at + width :]]

    def helped_by(self, tokens: Sequence[Token]) -> bool:
        """Whether a changed piece fails clearly later than this one, or not at all."""
        if len(tokens) > _TRIED:
            return False
        try:
            parse_tokens(tokens, self.start)
        except UnexpectedToken as error:
            left = len(tokens) - _index(tokens, error.token)
            return left + 1 < len(self.tokens) - self.index
        return True


def _index(tokens: Sequence[Token], token: Token) -> int:
    if token.type == "$END":
        return len(tokens)
    # By identity where lark passed the token on, by place where a soft word became a keyword.
    same = [at for at, held in enumerate(tokens) if held is token]
    return (
        same[0]
        if same
        else max(at for at, held in enumerate(tokens) if held.start_pos == token.start_pos)
    )
