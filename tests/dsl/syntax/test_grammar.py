"""The grammar: free of conflicts, in step with its tables, and scanned as lark would scan it."""

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from lark import Lark, LarkError, Token
from lark.lexer import PatternStr

from linvit_dsl.errors import Source
from linvit_dsl.syntax import build_tables, grammar, parse, tables
from linvit_dsl.syntax.layout import layout
from linvit_dsl.syntax.lowering import Lowering
from linvit_dsl.syntax.scanner import scan
from tests.dsl.syntax.texts import CORPUS, SHIPPED, plain


class KeepNewlines:
    """lark needs to be told that newlines may come anywhere; `layout` then drops most of them."""

    always_accept = ("_NL",)

    def process(self, stream: Iterator[Token]) -> Iterator[Token]:
        return stream


@pytest.fixture(scope="module")
def lark_lexer() -> Lark:
    return grammar.build(lexer="basic")


def test_the_grammar_has_no_conflicts_and_no_colliding_terminals() -> None:
    strict = grammar.build(lexer="contextual", postlex=KeepNewlines(), strict=True)
    assert {rule.origin.name for rule in strict.rules} > {*grammar.STARTS}


@pytest.mark.parametrize(
    "text",
    ["start: a | b\na: X\nb: X\nX: /x/", "start: A | B\nA: /x+/\nB: /[xy]+/"],
    ids=["reduce/reduce", "collision"],
)
def test_strict_refuses_a_grammar_with_conflicts(text: str) -> None:
    with pytest.raises(LarkError):
        Lark(text, parser="lalr", strict=True)


def test_the_tables_are_those_of_the_grammar() -> None:
    text = Path(tables.__file__).read_text(encoding="utf-8")
    assert text == build_tables.module_text(grammar.build()), (
        "run `python -m linvit_dsl.syntax.build_tables`"
    )


def test_the_tables_change_with_the_grammar() -> None:
    packed = [
        build_tables.pack(Lark(f'start: "{word}"', parser="lalr", lexer=grammar.Words))
        for word in ("a", "b")
    ]
    assert packed[0] != packed[1]


def test_another_version_of_lark_builds_its_own_tables(monkeypatch: pytest.MonkeyPatch) -> None:
    source = Source("a.vit", CORPUS[0].read_text(encoding="utf-8"))
    usual = parse(source).file
    monkeypatch.setattr(tables, "LARK", "0.0")
    grammar.parser.cache_clear()
    try:
        assert plain(parse(source).file) == plain(usual)
    finally:
        grammar.parser.cache_clear()


def test_hard_words_are_never_names() -> None:
    hard = {"if", "then", "else", "for", "in", "and", "or", "not", "true", "false", "return"}
    hard |= {"import", "from", "const", "block", "model", "dim", "param", "buffer", "layer"}
    hard |= {"repeat", "require", "prefer", "expect"}
    assert grammar.hard_words().keys() == hard
    name = re.compile(grammar.patterns()["NAME"])
    for word in hard:
        assert name.match(word) is None
        assert name.fullmatch(f"{word}s")
        assert name.fullmatch(f"{word}'")
        assert name.fullmatch(f"{word}φ")


@pytest.mark.parametrize(
    "repeated", ["a", "1", "1_", "a'", "''", '"', '"a', "\\", "#", "\n", " ", ";"]
)
def test_no_terminal_takes_long_on_repeats(repeated: str) -> None:
    """A pattern with two ways to split a repetition would not come to an end here."""
    text = repeated * (100_000 // len(repeated))
    for pattern in grammar.patterns().values():
        found = re.compile(pattern).match(text + "\0")
        assert found is None or found.end() <= len(text) + 1
    source = Source("a.vit", text)
    assert len(scan(source).tokens) <= len(text)


@pytest.mark.parametrize("path", [*CORPUS, *SHIPPED], ids=lambda path: path.name)
def test_the_scanner_finds_the_tokens_of_larks_own_lexer(path: Path, lark_lexer: Lark) -> None:
    text = path.read_text(encoding="utf-8")
    soft = set(grammar.soft_words().values())
    expected = [
        ("NAME" if token.type in soft else token.type, token.value, token.start_pos)
        for token in lark_lexer.lex(text)
    ]
    found = scan(Source(path.name, text)).tokens
    assert [(token.type, token.value, token.start_pos) for token in found] == expected


@pytest.mark.parametrize("path", [*CORPUS, *SHIPPED], ids=lambda path: path.name)
def test_a_file_is_the_sum_of_its_declarations(path: Path) -> None:
    """Cutting a file before parsing it gives what the rule for whole files gives."""
    source = Source(path.name, path.read_text(encoding="utf-8"))
    tree: Any = grammar.parse_tokens(layout(scan(source).tokens), "start")
    whole = [Lowering(source).item(child) for child in tree.children if child is not None]
    result = parse(source)
    assert result.diagnostics == ()
    assert [plain(item) for item in result.file.items] == [plain(item) for item in whole]


def test_parsing_imports_nothing_heavy() -> None:
    """`linvit check` starts in a fraction of the time that any of these takes to import."""
    heavy = ("torch", "numba", "numpy", "networkx", "sympy", "graphviz")
    program = (
        "import sys; from linvit_dsl.errors import Source; from linvit_dsl.syntax import parse; "
        "parse(Source('a', 'const a = 1')); print(*sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    loaded = done.stdout.split()
    assert "lark" in loaded
    assert not set(heavy) & set(loaded)


def test_every_word_and_sign_of_the_grammar_stands_in_the_corpus() -> None:
    texts = [scan(Source("a", path.read_text(encoding="utf-8"))).tokens for path in CORPUS]
    seen = {token.value for tokens in texts for token in tokens}
    fixed = {
        t.pattern.value for t in grammar.parser().terminals if isinstance(t.pattern, PatternStr)
    }
    assert fixed <= seen
