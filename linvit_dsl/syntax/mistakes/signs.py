"""Signs that are missing, or stand in the place of another."""

from __future__ import annotations

from linvit_dsl.errors import Fix, diagnose
from linvit_dsl.syntax.mistakes import wording
from linvit_dsl.syntax.mistakes.failure import Failure
from linvit_dsl.syntax.mistakes.problem import Problem, unexpected

_SIGNS = {
    ("EQUAL", "EQ"): "`=` gives a value its name; `==` compares",
    ("EQ", "EQUAL"): "`==` compares; `=` gives a value its name",
    ("COLON", "EQUAL"): "a value stands behind `=`; a kind or a shape behind `:`",
    ("EQUAL", "COLON"): "a kind or a shape stands behind `:`; a value behind `=`",
}


def wrong_sign(failure: Failure) -> Problem | None:
    """`if a = b`, `epochs: 10`, `x == 3` as a statement."""
    token = failure.found
    if token is None:
        return None
    for (kind, wanted), meaning in _SIGNS.items():
        if token.type != kind or wanted not in failure.accepts:
            continue
        if wanted == "EQ" and failure.tokens[0].value not in _CONDITIONS:
            continue
        text = wording.spelling(wanted).strip("`")
        tokens = failure.with_tokens(failure.index, 1, (wanted, text))
        if failure.helped_by(tokens):
            fix = Fix(failure.place, text, f"write `{text}`")
            diagnostic = diagnose(
                "E0112", failure.place, expected=text, found=token, helps=(meaning,), fixes=(fix,)
            )
            return Problem(diagnostic, tokens)
    return None


_CONDITIONS = {"if", "require", "prefer", "expect", "claim", "where"}


def names_without_brackets(failure: Failure) -> Problem | None:
    """`q, k, v = ...`, `dim h, w = grid`, `for a, b in list`."""
    if failure.kind(0) != "COMMA" or failure.kind(-1) != "NAME" or failure.start == "field":
        return None
    end = failure.index
    while end + 1 < len(failure.tokens) and failure.tokens[end].type == "COMMA":
        end += 2
    start = failure.index - 1
    opener = failure.with_tokens(start, 0, ("LPAR", "("))[start]
    closer = failure.with_tokens(end, 0, ("RPAR", ")"))[end]
    names = failure.tokens[start:end]
    tokens = [*failure.tokens[:start], opener, *names, closer, *failure.tokens[end:]]
    if not failure.helped_by(tokens):
        return None
    span = failure.span(names[0]).to(failure.span(names[-1]))
    fix = Fix(span, f"({span.text})", "add parentheses")
    help_ = f"several names stand in parentheses: `({span.text})`"
    return unexpected(failure, help_, fix=fix, repaired=tokens)


def brackets_around_import(failure: Failure) -> Problem | None:
    """`from std.nn import (A, B)`."""
    if (
        failure.tokens[0].type != "FROM"
        or failure.kind(0) != "LPAR"
        or failure.kind(-1) != "IMPORT"
    ):
        return None
    tokens = [token for token in failure.tokens if token.type not in {"LPAR", "RPAR"}]
    fix = Fix(failure.place, "", "remove it")
    help_ = "imported names stand without parentheses, on one line"
    return unexpected(failure, help_, fix=fix, repaired=tokens)


def record_as_value(failure: Failure) -> Problem | None:
    """`schedule = { ... }`."""
    if failure.kind(0) != "LBRACE" or failure.kind(-1) != "EQUAL" or failure.start != "field":
        return None
    at = failure.index - 1
    tokens = failure.with_tokens(at, 1)
    fix = Fix(failure.span(failure.tokens[at]), "", "remove `=`")
    help_ = "a group of fields follows its name without `=`"
    return unexpected(failure, help_, fix=fix, repaired=tokens)


def missing_comma(failure: Failure) -> Problem | None:
    """`f(a b)`."""
    token, before = failure.found, failure.before
    if token is None or before is None or "COMMA" not in failure.accepts:
        return None
    if token.type not in wording.EXPRESSION_STARTS | {"DIM", "BLOCK"}:
        return None
    tokens = failure.with_tokens(failure.index, 0, ("COMMA", ","))
    if not failure.helped_by(tokens):
        return None
    fix = Fix(failure.gap, ",", "insert `,`")
    diagnostic = diagnose("E0115", failure.gap, found=wording.found(token), fixes=(fix,))
    return Problem(diagnostic, tokens)


def missing_sign(failure: Failure) -> Problem | None:
    """Only one sign or word could stand here, and with it the piece goes on."""
    if len(failure.accepts) != 1 or failure.found is None:
        return None
    (wanted,) = failure.accepts
    text = wording.spelling(wanted).strip("`") if wanted in _MISSED else ""
    if not text:
        return None
    # A word in the place of a word is replaced: `for x of list`.
    for width in (1, 0) if text.isalpha() and failure.kind(0) == "NAME" else (0,):
        tokens = failure.with_tokens(failure.index, width, (wanted, text))
        if failure.helped_by(tokens):
            missing = f" {text}" if text.isalpha() else text
            fix = Fix(failure.gap, missing, f"insert `{text}`")
            if width:
                fix = Fix(failure.place, text, f"write `{text}`")
            return unexpected(failure, fix=fix, repaired=tokens)
    return None


_MISSED = {"COLON", "EQUAL", "_ARROW", "OF", "IN"}
