"""Whatever a text says: no exception, and messages that point into it."""

import random
from contextlib import suppress

from hypothesis import given, settings
from hypothesis import strategies as st

from linvit_dsl.errors import Source, SpecError
from linvit_dsl.errors.render import render_all
from linvit_dsl.graph import limits
from linvit_dsl.syntax import ast, parse, parse_expression
from linvit_dsl.syntax.grammar import fixed_texts
from linvit_dsl.syntax.scanner import scan
from tests.dsl.syntax.texts import CORPUS, plain

TEXTS = [path.read_text(encoding="utf-8") for path in CORPUS]
PIECES = [
    *fixed_texts(),
    *("x", "A", "d'", "3", "5%", '"text"', '"', "'", "#", "\n", "\r\n", ";", "\\", "$", "é", "φ"),
    *(
        "\u202e",
        "\0",
        "{n}",
        "**",
        "repaet",
        "def",
        "é'",
        "\ufeff",
        "99999999999",
        "1e999999",
        "0x1",
    ),
]


def survives(text: str) -> None:
    source = Source("a.vit", text)
    result = parse(source)
    assert len(result.diagnostics) <= limits.ERRORS
    for found in result.diagnostics:
        labels = [found.primary, *found.secondary]
        spans = [label.span for label in labels] + [fix.span for fix in found.fixes]
        for span in spans:
            assert 0 <= span.start <= span.end <= len(text)
        assert found.message
    render_all(result.diagnostics)
    for item in result.file.items:
        assert 0 <= item.span.start <= item.span.end <= len(text)


def mutated(text: str, seed: int, edits: int) -> str:
    """The text with some of its tokens deleted, doubled, swapped or replaced."""
    chance = random.Random(seed)
    tokens = [token.value for token in scan(Source("a", text)).tokens]
    for _ in range(edits):
        at = chance.randrange(len(tokens))
        match chance.randrange(4):
            case 0:
                del tokens[at]
            case 1:
                tokens.insert(at, tokens[chance.randrange(len(tokens))])
            case 2:
                tokens[at] = chance.choice(PIECES)
            case _:
                tokens[at - 1], tokens[at] = tokens[at], tokens[at - 1]
        if not tokens:
            break
    return " ".join(tokens)


@settings(max_examples=150, derandomize=True)
@given(st.sampled_from(TEXTS), st.integers(0, 2**32), st.integers(1, 8))
def test_mutated_files_are_survived(text: str, seed: int, edits: int) -> None:
    survives(mutated(text, seed, edits))


@settings(max_examples=150, derandomize=True)
@given(st.lists(st.sampled_from(PIECES), max_size=40), st.booleans())
def test_heaps_of_tokens_are_survived(pieces: list[str], in_a_block: bool) -> None:
    text = " ".join(pieces)
    survives(f"block A(x: [1]) -> [1] {{\n{text}\n}}\n" if in_a_block else text)


@settings(max_examples=150, derandomize=True)
@given(st.text(max_size=80))
def test_any_text_is_survived(text: str) -> None:
    survives(text)
    with suppress(SpecError):
        parse_expression(Source("--set", text))


@settings(max_examples=60, derandomize=True)
@given(st.sampled_from(TEXTS), st.data())
def test_a_cut_file_keeps_its_whole_declarations(text: str, data: st.DataObject) -> None:
    """Everything before the declaration that is cut in two stays as it was."""
    cut = data.draw(st.integers(0, len(text)))
    whole = parse(Source("a", text)).file.items
    left = parse(Source("a", text[:cut])).file.items
    untouched = [
        item for item in whole if item.span.end < cut and "\n" in text[item.span.end : cut]
    ]
    assert [plain(item) for item in left[: len(untouched)]] == [plain(item) for item in untouched]


@settings(max_examples=60, derandomize=True)
@given(st.sampled_from(TEXTS), st.integers(0, 2**32))
def test_a_broken_declaration_leaves_its_neighbours_alone(text: str, seed: int) -> None:
    broken = mutated(text, seed, 2).replace("\n", " ")
    result = parse(Source("a", f"const first = 1\n{broken}\nconst last = 2\n"))
    assert [
        item.name.name
        for item in (result.file.items[0], result.file.items[-1])
        if isinstance(item, ast.Constant)
    ] == ["first", "last"]
