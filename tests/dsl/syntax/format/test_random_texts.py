"""On random texts: the formatter keeps what they say, loses no comment, and has nothing to redo."""

from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st

from linvit_dsl.errors import Source
from linvit_dsl.syntax import parse
from linvit_dsl.syntax.format import format_source
from linvit_dsl.syntax.scanner import scan
from tests.dsl.syntax.format.random_texts import dressed, files
from tests.dsl.syntax.texts import plain


def source(text: str) -> Source:
    return Source("a.vit", text)


def read(text: str) -> object:
    result = parse(source(text))
    assert result.diagnostics == (), (result.diagnostics[0].message, text)
    return plain(result.file)


def comments(text: str) -> Counter[str]:
    return Counter(comment.text.rstrip() for comment in scan(source(text)).comments)


@settings(max_examples=60)
@given(files(), st.integers(0, 2**32), st.booleans())
def test_a_formatted_text_says_the_same_and_stays_as_it_is(
    declarations: list[list[str]], seed: int, with_comments: bool
) -> None:
    text = dressed(declarations, seed, comments=with_comments)
    before = read(text)
    formatted = format_source(source(text))
    assert read(formatted) == before
    assert comments(formatted) == comments(text)
    assert format_source(source(formatted)) == formatted


@settings(max_examples=30)
@given(files(), st.integers(0, 2**32), st.integers(0, 2**32))
def test_blanks_do_not_matter(declarations: list[list[str]], one: int, other: int) -> None:
    """But for newlines, which an author may use to make rows and blank lines."""
    first = dressed(declarations, one, comments=False).replace("\n\n", "\n")
    second = " ".join(part for part in first.split(" ") if part)
    assert format_source(source(first)) == format_source(source(second))
