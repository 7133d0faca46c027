"""Brackets without their partners."""

from __future__ import annotations

from collections.abc import Sequence

from lark import Token

from linvit_dsl.errors import Diagnostic, Fix, Label, Source, Span, diagnose
from linvit_dsl.syntax.mistakes import wording
from linvit_dsl.syntax.mistakes.failure import Failure
from linvit_dsl.syntax.mistakes.problem import Problem
from linvit_dsl.syntax.tokens import CLOSERS, OPENERS, span_of


def wrong_closer(failure: Failure) -> Problem | None:
    """`linear[d)`, or a bracket too many."""
    token = failure.found
    if token is None or token.type not in CLOSERS:
        return None
    if not failure.brackets:
        tokens = failure.with_tokens(failure.index, 1)
        cured = tokens if tokens and failure.helped_by(tokens) else None
        span = failure.span(token)
        fix = (Fix(span, "", "remove it", certain=False),)
        diagnostic = diagnose("E0103", span, closer=token, opener="any open bracket", fixes=fix)
        return Problem(diagnostic, cured)
    opener = failure.tokens[failure.brackets[-1]]
    wanted = OPENERS[opener.type]
    if wanted == token.type:
        return None
    text = wording.spelling(wanted).strip("`")
    tokens = failure.with_tokens(failure.index, 1, (wanted, text))
    span = failure.span(token)
    diagnostic = diagnose(
        "E0103",
        span,
        closer=token,
        opener=f"`{opener}`",
        secondary=(Label(failure.span(opener), "opened here"),),
        helps=(f"write `{text}`",),
        fixes=(Fix(span, text, f"write `{text}`"),),
    )
    return Problem(diagnostic, tokens if failure.helped_by(tokens) else None)


def unclosed(failure: Failure) -> Problem | None:
    """The piece ends, or a brace or an arrow follows, inside a bracket."""
    token = failure.found
    ends = token is None or token.type in {"LBRACE", "RBRACE", "_ARROW", "_NL"}
    if not ends or not failure.brackets:
        return None
    opener = failure.tokens[failure.brackets[-1]]
    if opener.type == "LBRACE":
        return None
    label = f"expected {wording.spelling(OPENERS[opener.type])}"
    secondary = (Label(failure.span(opener), "opened here"),)
    return Problem(diagnose("E0102", failure.gap, label, opener=opener, secondary=secondary))


def unclosed_brace(source: Source, tokens: Sequence[Token], opener: Token) -> Diagnostic:
    """A `{` without its `}`; an inner pair with crooked margins is the likely reason."""
    secondary: tuple[Label, ...] = ()
    stack: list[Span] = []
    for token in tokens:
        here = span_of(source, token)
        if token.type == "LBRACE":
            stack.append(here)
        elif token.type == "RBRACE" and stack:
            inner = stack.pop()
            if _margin(here) < _margin(inner):
                text = f"closed by the `}}` of line {here.line}, which stands further left"
                secondary = (Label(inner, text),)
                break
    return diagnose(
        "E0102", span_of(source, opener), "opened here", opener=opener, secondary=secondary
    )


def _margin(span: Span) -> int:
    """Blanks at the beginning of a span's line."""
    line = span.source.line(span.line)
    return len(line) - len(line.lstrip(" \t"))
