"""The LALR parser for `grammar.lark`, from ready-made tables.

Building the tables takes lark half a second, more than all that `linvit check` does besides.
`tables.py` holds them as lark serialises them for its stand-alone parsers, written by
`python -m linvit_dsl.syntax.build_tables`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from functools import cache
from importlib.resources import files
from operator import itemgetter
from typing import Any, Literal

import lark
from lark import Lark, Token, Tree
from lark.lexer import Lexer, PatternStr

from linvit_dsl.syntax import tables

Start = Literal["start", "item", "stmt", "default", "field", "vary", "expr"]
STARTS: tuple[Start, ...] = ("start", "item", "stmt", "default", "field", "vary", "expr")
"""Rules that can be parsed on their own: a file, and the pieces into which a broken one falls."""


class Words(Lexer):
    """Passes tokens on to lark; a soft word (`of`, `with`) becomes a keyword where one is expected.

    What lark calls a contextual lexer, on tokens instead of characters: the text is scanned once,
    whatever is parsed of it afterwards.
    """

    __future_interface__ = 2  # lark's current protocol for lexers: the input arrives as it is

    def __init__(self, _: object) -> None:
        """Takes lark's configuration of lexers, and needs nothing of it."""

    def lex(self, lexer_state: Any, parser_state: Any) -> Iterator[Token]:
        """The tokens of `lexer_state.text`, a sequence of them."""
        states = parser_state.parse_conf.parse_table.states
        soft = soft_words()
        for token in lexer_state.text:
            if token.type == "NAME":
                keyword = soft.get(token.value)
                if keyword in states[parser_state.position]:
                    token = token.update(type=keyword)
            yield token


def parse_tokens(tokens: Sequence[Token], start: Start) -> Tree[Token]:
    """The parse tree of scanned and laid-out tokens.

    Raises:
        lark.UnexpectedToken: They do not follow the grammar.
    """
    return parser().parse(tokens, start=start)


def accepted(tokens: Sequence[Token], start: Start) -> frozenset[str]:
    """Names of the terminals that may follow tokens which are right so far."""
    # Asked before the offending token is seen: on its sight lark may have closed rules that could
    # have gone on.
    state = parser().parse_interactive(tokens, start=start)
    state.exhaust_lexer()
    return frozenset(state.accepts())


@cache
def parser() -> Lark:
    """The parser of the language."""
    if lark.__version__ == tables.LARK:
        data, memo = unpack(tables.TABLES)
        ready = Lark._load_from_dict(data, memo)
    else:
        ready = build()
    # A name becomes an expression through a dozen rules that do nothing with it, three of four
    # reductions: they hand their only child on without lark looking at its position again.
    for rule in ready.rules:
        if rule.options.expand1 and rule.alias is None and len(rule.expansion) == 1:
            ready._callbacks[rule] = itemgetter(0)
    return ready


def build(lexer: type[Lexer] | str = Words, **options: Any) -> Lark:
    """The parser, made from `grammar.lark` itself: slow. `options` are those of lark."""
    text = (files("linvit_dsl") / "grammar.lark").read_text(encoding="utf-8")
    return Lark(
        text, parser="lalr", lexer=lexer, start=list(STARTS), propagate_positions=True, **options
    )


def unpack(text: str) -> tuple[dict[str, Any], dict[int, Any]]:
    """Turn the text in `tables.py` into lark's own form; `build_tables.pack` is the inverse."""
    packed = json.loads(text)
    data = packed["data"]
    data["options"]["lexer"] = data["parser"]["lexer_conf"]["lexer_type"] = Words
    table = data["parser"]["parser"]
    table["tokens"] = dict(enumerate(table["tokens"]))
    # An entry (token, target) shifts; with a negative target it reduces by the rule of that number.
    table["states"] = {
        number: {
            token: (0, target) if target >= 0 else (1, {"@": ~target})
            for token, target in zip(row[::2], row[1::2], strict=True)
        }
        for number, row in enumerate(table["states"])
    }
    return data, dict(enumerate(packed["memo"]))


@cache
def patterns() -> dict[str, str]:
    """Regular expressions of the terminals that are not fixed texts, by name."""
    return {
        terminal.name: terminal.pattern.value
        for terminal in parser().terminals
        if not isinstance(terminal.pattern, PatternStr)
    }


@cache
def fixed_texts() -> dict[str, str]:
    """Name of the terminal of each keyword and symbol."""
    return {
        terminal.pattern.value: terminal.name
        for terminal in parser().terminals
        if isinstance(terminal.pattern, PatternStr)
    }


@cache
def soft_words() -> dict[str, str]:
    """Name of the terminal of each keyword that is a name wherever it is not expected."""
    name = re.compile(patterns()["NAME"])
    return {text: terminal for text, terminal in fixed_texts().items() if name.fullmatch(text)}


@cache
def hard_words() -> dict[str, str]:
    """Name of the terminal of each keyword that can never be a name."""
    return {
        text: terminal
        for text, terminal in fixed_texts().items()
        if text.isalpha() and text not in soft_words()
    }
