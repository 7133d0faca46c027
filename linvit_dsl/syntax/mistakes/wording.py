"""Sets of terminals in words: "an expression, `)` or `,`"."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache

from lark import Token

from linvit_dsl.syntax.grammar import fixed_texts

OPERATORS = {
    *("PLUS", "MINUS", "STAR", "SLASH", "FLOORDIV", "PERCENT", "CARET", "_RANGE"),
    *("EQ", "NE", "LE", "GE", "LT", "GT", "IN", "AND", "OR"),
}
COMPARISONS = {"EQ", "NE", "LE", "GE", "LT", "GT", "IN"}
EXPRESSION_STARTS = {
    *("NAME", "NUMBER", "QUANTITY", "STRING", "TRUE", "FALSE"),
    *("LPAR", "LSQB", "MINUS", "NOT", "IF"),
}
_SUFFIXES = {"_PIPE", "LPAR", "LSQB", "DOT", "_LABEL"}
_STATEMENT_STARTS = {
    *("DIM", "REQUIRE", "PREFER", "EXPECT", "PARAM", "BUFFER", "LAYER", "REPEAT"),
    *("FOR", "IF", "RETURN", "NAME", "LPAR"),
}
_ITEM_STARTS = {
    *("IMPORT", "FROM", "CONST", "INTRINSIC", "BLOCK", "MODEL"),
    *("RECIPE", "TRAIN", "SWEEP", "CHECK"),
}

# A set of terminals that says the same as a few words, the more telling first.
_FOLDED: tuple[tuple[set[str], str, set[str]], ...] = (
    ({"BLOCK", "IMPORT"}, "a declaration (`block`, `model`, `from`, ...)", _ITEM_STARTS),
    ({"DIM", "RETURN"}, "a statement", _STATEMENT_STARTS),
    (
        {"DIM", "BLOCK", "LIST"},
        "a kind (`dim`, `int`, `real`, ...)",
        {"DIM", "BLOCK", "LIST", "NAME"},
    ),
    ({"NUMBER", "STRING", "NAME"}, "an expression", EXPRESSION_STARTS | {"STAR"}),
    ({"LSQB", "LIST"}, "a shape such as `[B, n, d]`", {"LSQB", "LIST"}),
)
_WORDS = {
    "NAME": "a name",
    "STRING": "a text",
    "_NL": "the end of the line",
    "$END": "the end of the line",
}


def expected(accepts: Iterable[str]) -> str:
    """What could have stood in a place."""
    rest = set(accepts)
    words: list[str] = []
    for sign, word, folded in _FOLDED:
        if sign <= rest:
            words.append(word)
            rest -= folded
    if {"PLUS", "STAR"} <= rest or {"_PIPE", "_LABEL"} <= rest:
        rest -= OPERATORS | _SUFFIXES
        if not rest and not words:
            return "an operator"
    names = {_WORDS.get(kind) or spelling(kind) for kind in rest}
    words += sorted(names, key=lambda word: (word.startswith("the end"), word))
    return f"{', '.join(words[:-1])} or {words[-1]}" if len(words) > 1 else "".join(words)


def found(token: Token | None) -> str:
    """A token that is in the way, in words; None is the end of a piece."""
    if token is None or (token.type == "_NL" and ";" not in token):
        return "the end of the line"
    if token.type == "_NL":
        return "`;`"
    text = token.value
    if token.type == "STRING":
        return "a text" if len(text) > 20 else f"the text {text}"
    return f"`{text}`" if len(text) <= 40 else f"`{text[:36]}...`"


def spelling(kind: str) -> str:
    """A keyword or symbol in backticks."""
    return f"`{_texts()[kind]}`"


@cache
def _texts() -> dict[str, str]:
    return {kind: text for text, kind in fixed_texts().items()}
