"""The catalogue: every entry is complete, and its examples do what they claim."""

import re
from pathlib import Path

import pytest

from linvit_dsl.check import check_program, elaborate, open_program, recipe_for
from linvit_dsl.errors import Diagnostic, Source, Span, SpecError, diagnose
from linvit_dsl.errors.catalogue import Entry, catalogue
from linvit_dsl.errors.explain import explain, index
from linvit_dsl.errors.render import render_all
from tests.conftest import Golden

ENTRIES = [pytest.param(entry, id=entry.code) for entry in catalogue().values()]
EXAMPLES = [pytest.param(entry, id=entry.code) for entry in catalogue().values() if entry.wrong]

# What no single text of a few lines can show.
WITHOUT_EXAMPLE = {"E0701", "E0702", "E0708", "E0712"}
# What is no mistake of the file, but of the question asked about it.
ASKED = {
    "E0211": lambda program: elaborate(program),
    "E0605": lambda program: recipe_for(program),
}


def findings(entry: Entry, text: str) -> tuple[Diagnostic, ...]:
    """The diagnostics of an example, which is checked as `example.vit` in the current folder."""
    Path("example.vit").write_text(text, encoding="utf-8")
    program = open_program(Path("example.vit"))
    if entry.code not in ASKED:
        return check_program(program)
    try:
        ASKED[entry.code](program)
    except SpecError as error:
        return error.diagnostics
    return ()


@pytest.fixture(autouse=True)
def _in_an_empty_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("entry", ENTRIES)
def test_an_entry_is_complete_and_in_style(entry: Entry) -> None:
    assert re.fullmatch(r"[EW]0[1-7]\d\d|W0[1-7]\d\d", entry.code)
    for text in (entry.title, entry.message):
        assert text == text.strip()
        assert not text.endswith(".")
        assert not re.match(r"[A-Z][a-z]", text), "begins with a capital letter"
    assert 1 <= len(entry.explanation.strip().splitlines()) <= 16
    assert max(len(line) for line in entry.explanation.splitlines()) <= 100
    assert not re.search(r"\b(unify|poly|atom|TODO)\b", entry.title + entry.message)
    assert bool(entry.wrong) == bool(entry.right) == (entry.code not in WITHOUT_EXAMPLE)


@pytest.mark.parametrize("entry", EXAMPLES)
def test_the_wrong_example_gives_exactly_this_code(entry: Entry) -> None:
    found = findings(entry, entry.wrong)
    assert [diagnostic.code for diagnostic in found] == [entry.code], render_all(found)


@pytest.mark.parametrize("entry", EXAMPLES)
def test_the_right_example_is_free_of_diagnostics(entry: Entry) -> None:
    found = findings(entry, entry.right)
    assert found == (), render_all(found)


@pytest.mark.parametrize("entry", EXAMPLES)
def test_the_rendered_text_of_each_code_is_the_reviewed_one(entry: Entry, golden: Golden) -> None:
    golden.check(f"ui/{entry.code}.txt", render_all(findings(entry, entry.wrong)) + "\n")


@pytest.mark.parametrize("entry", ENTRIES)
def test_explain_has_all_parts(entry: Entry) -> None:
    text = explain(entry)
    assert text.startswith(f"{entry.code}: {entry.title}\n\n{entry.explanation.strip()}")
    for line in (entry.wrong + entry.right).splitlines():
        assert line in text


def test_the_page_of_all_codes_is_up_to_date() -> None:
    page = Path(__file__).parents[3] / "docs" / "errors" / "index.md"
    assert page.read_text(encoding="utf-8") == index(), "run `python docs/errors/update.py`"


def test_a_code_that_is_not_in_the_catalogue_cannot_be_used() -> None:
    span = Span(Source("a.vit", "x"), 0, 1)
    with pytest.raises(KeyError, match="E9999"):
        diagnose("E9999", span)
    with pytest.raises(KeyError, match="message"):
        diagnose("E0301", span)


@pytest.mark.parametrize(
    ("expected", "message"),
    [
        (1, "`f` takes 1 argument, 3 given"),
        (2, "`f` takes 2 arguments, 3 given"),
        ("1 or 2", "`f` takes 1 or 2 arguments, 3 given"),
    ],
)
def test_a_noun_follows_its_number(expected: object, message: str) -> None:
    span = Span(Source("a.vit", "x"), 0, 1)
    assert diagnose("E0317", span, name="f", expected=expected, given=3).message == message
