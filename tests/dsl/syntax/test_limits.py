"""Limits and characters: accepted at the limit, refused one beyond it, and never a crash."""

import sys
from collections.abc import Callable

import pytest

from linvit_dsl.errors import Source
from linvit_dsl.graph import limits
from linvit_dsl.syntax import parse
from tests.dsl.syntax.texts import in_block, parsed


def brackets(depth: int) -> str:
    return f"const a = {'(' * depth}1{')' * depth}"


def braces(depth: int) -> str:
    # The body of the block is one of the levels.
    return in_block("repeat 2 { " * (depth - 1) + "x = x" + " }" * (depth - 1))


def chain(depth: int) -> str:
    return f"const a = 1{' + 1' * (depth - 1)}"


def pipes(depth: int) -> str:
    return f"const a = 1{' |> f' * (depth - 1)}"


def signs(depth: int) -> str:
    return f"const a = {'-' * (depth - 1)}1"


def choices(depth: int) -> str:
    # Each `if` is a level, and so are the assignment in it and the assigned value.
    return in_block("if a { x = y }" + " else if a { x = y }" * (depth - 3))


def lists(depth: int) -> str:
    return f"block A(x: {'list[1] of ' * (depth - 1)}[n]) -> [n] {{ return x }}"


LIMITS: list[tuple[str, int, Callable[[int], str]]] = [
    ("E0709", limits.NESTING, brackets),
    ("E0709", limits.NESTING, braces),
    ("E0710", limits.IDENTIFIER, lambda size: f"const {'a' * size} = 1"),
    ("E0710", limits.IDENTIFIER, lambda size: "const a" + "'" * (size - 1) + " = 1"),
    ("E0711", limits.INTEGER_DIGITS, lambda size: f"const a = {'9' * size}"),
    ("E0711", limits.INTEGER_DIGITS, lambda size: f"const a = {'9' * size}K"),
    ("E0711", limits.FRACTION_DIGITS, lambda size: f"const a = 1.{'9' * size}"),
    ("E0711", limits.EXPONENT, lambda size: f"const a = 1e-{size}"),
    ("E0712", limits.EXPRESSION_DEPTH, chain),
    ("E0712", limits.EXPRESSION_DEPTH, pipes),
    ("E0712", limits.EXPRESSION_DEPTH, signs),
    ("E0712", limits.EXPRESSION_DEPTH, choices),
    ("E0712", limits.EXPRESSION_DEPTH, lists),
]


@pytest.mark.parametrize(("code", "limit", "text"), LIMITS)
def test_limits_hold_exactly(code: str, limit: int, text: Callable[[int], str]) -> None:
    assert parsed(text(limit)).diagnostics == ()
    assert [found.code for found in parsed(text(limit + 1)).diagnostics] == [code]


def test_the_limit_of_a_file_counts_bytes() -> None:
    start = "const a = 1\n# "
    fits = start + "φ" * ((limits.FILE_BYTES - len(start)) // 2)
    assert parsed(fits).diagnostics == ()
    result = parsed(fits + "φ")
    assert [found.code for found in result.diagnostics] == ["E0702"]
    assert result.file.items == ()


def test_one_deep_declaration_leaves_the_others_alone() -> None:
    result = parsed(f"{brackets(1000)}\nconst b = 2\n")
    assert [found.code for found in result.diagnostics] == ["E0709"]
    assert len(result.file.items) == 2


@pytest.mark.parametrize(
    "sign", ["(", "[", "{", "-", "not ", "if ", "a |> ", "f(", "1^", "1+", ")", "}"]
)
@pytest.mark.parametrize("start", ["", "const a = ", "block A(x: [1]) -> [1] { x = "])
def test_very_deep_texts_are_refused_without_deep_calls(sign: str, start: str) -> None:
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(600)
    try:
        assert parsed(start + sign * 5_000).diagnostics
    finally:
        sys.setrecursionlimit(limit)


@pytest.mark.parametrize(
    ("char", "name"),
    [
        ("\u202e", "U+202E RIGHT-TO-LEFT OVERRIDE"),
        ("\u200b", "U+200B ZERO WIDTH SPACE"),
        ("\u00ad", "U+00AD SOFT HYPHEN"),
        ("\ufeff", "U+FEFF ZERO WIDTH NO-BREAK SPACE"),
        ("\u2028", "U+2028 LINE SEPARATOR"),
        ("\0", "U+0000 NULL"),
        ("\x0b", "U+000B LINE TABULATION"),
        ("\r", "U+000D CARRIAGE RETURN"),
        ("\x85", "U+0085 a control character"),
    ],
)
@pytest.mark.parametrize(
    "text", ['const a = "x{}y"', "# x{}y\nconst a = 1", "const a = 1{}2", "const a{}b = 1"]
)
def test_invisible_characters_are_refused_everywhere(char: str, name: str, text: str) -> None:
    result = parsed(f"const first = 1\n{text.format(char)}\n{text.format(char)}\n")
    found = [diagnostic for diagnostic in result.diagnostics if diagnostic.code == "E0124"]
    assert len(found) == 1, "each character is reported once"
    assert name in found[0].message
    assert found[0].primary.span.text == char


@pytest.mark.parametrize(
    ("text", "name", "looks_like"),
    [
        ("const r\u0430te = 1", "CYRILLIC SMALL LETTER A", "a"),
        ("const \u0391 = 1", "GREEK CAPITAL LETTER ALPHA", "A"),
        ("const \u03bf = 1", "GREEK SMALL LETTER OMICRON", "o"),
        ("const \ufb01lter = 1", "LATIN SMALL LIGATURE FI", "fi"),
        ("const \uff41 = 1", "FULLWIDTH LATIN SMALL LETTER A", "a"),
        ("const \u00b5 = 1", "MICRO SIGN", "\u03bc"),
        ("const \u03d5 = 1", "GREEK PHI SYMBOL", "\u03c6"),
        ("const a = 1 \u2212 2", "MINUS SIGN", "-"),
        ("const a = 2 \u00d7 3", "MULTIPLICATION SIGN", "*"),
        ("const a = b \u2264 3", "LESS-THAN OR EQUAL TO", "<="),
        ("const a = \u201ctext\u201d", "LEFT DOUBLE QUOTATION MARK", '"'),
        ("const a =\u00a01", "NO-BREAK SPACE", " "),
        ("const a = \u0663", "ARABIC-INDIC DIGIT THREE", "3"),
    ],
)
def test_lookalikes_are_named_and_read_as_what_they_look_like(
    text: str, name: str, looks_like: str
) -> None:
    result = parsed(text)
    (found,) = result.diagnostics
    assert found.code == "E0123"
    assert name in found.message
    assert found.helps == (f"it looks like `{looks_like}`",)
    assert [fix.replacement for fix in found.fixes] == [looks_like]
    (item,) = result.file.items
    assert item.kind == "const"


def test_greek_letters_of_their_own_shape_are_names() -> None:
    text = "".join(f"const {letter} = 1\n" for letter in "ΓΔΘΛΞΠΣΦΨΩαβγδεζηθικλμνξπρστυφχψω")
    assert parsed(text).diagnostics == ()


def test_a_foreign_word_is_reported_once_however_often_it_is_used() -> None:
    result = parsed("const größe = 1\nconst b = größe + größe\n")
    assert [found.code for found in result.diagnostics] == ["E0123"]
    assert [item.kind for item in result.file.items] == ["const", "const"]


def test_texts_and_comments_may_hold_any_visible_character() -> None:
    assert parsed('# größe → 1\nconst a = "日本語 × “x”"\n').diagnostics == ()


def test_a_byte_order_mark_is_ignored_at_the_start_only() -> None:
    assert parse(Source("a", "\ufeffconst a = 1\n")).diagnostics == ()


@pytest.mark.parametrize(
    "text", ["$" * 20_000, "x\n" * 20_000, "const a = \n" * 5_000, "'\n" * 20_000]
)
def test_a_text_full_of_mistakes_gives_few_messages(text: str) -> None:
    assert 1 <= len(parsed(text).diagnostics) <= limits.ERRORS
