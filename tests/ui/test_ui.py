"""Annotated error files: each diagnostic is expected where it stands, and no other appears."""

from pathlib import Path

import pytest

from linvit_dsl.check import check_program, open_program
from linvit_dsl.errors import Diagnostic, Label, Source, Span
from linvit_dsl.errors.render import render_all
from tests.conftest import Golden
from tests.ui.annotations import annotations, differences

HERE = Path(__file__).parent
FILES = sorted(path.name for path in HERE.glob("*.vit"))


@pytest.fixture(autouse=True)
def _in_this_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    """Messages then name the files without a path of this machine."""
    monkeypatch.chdir(HERE)


def diagnostics(name: str) -> tuple[Diagnostic, ...]:
    return check_program(open_program(Path(name)))


@pytest.mark.parametrize("name", FILES)
def test_every_diagnostic_is_annotated(name: str) -> None:
    text = Path(name).read_text(encoding="utf-8")
    expected = annotations(name, text)
    assert expected, "a file without annotations tests nothing"
    assert differences(expected, diagnostics(name)) == []


@pytest.mark.parametrize("name", FILES)
def test_the_rendered_text_is_the_reviewed_one(name: str, golden: Golden) -> None:
    golden.check(f"ui/{Path(name).stem}.txt", render_all(diagnostics(name)) + "\n")


# Controls: the comparison must be able to fail.

SOURCE = Source("a.vit", "one\ntwo\nthree\n")


def found(code: str, line: int, message: str) -> Diagnostic:
    start = SOURCE.line_starts[line - 1]
    return Diagnostic(code, message, Label(Span(SOURCE, start, start + 1)))


def test_what_is_annotated_and_found_matches() -> None:
    text = 'one #~ E0301 "seven"\ntwo\n#~^^ W0300 #~^ E0201 "x"\n'
    expected = annotations("a.vit", text)
    diagnostics = [
        found("E0301", 1, "the seven heads"),
        found("W0300", 1, "w"),
        found("E0201", 2, "x"),
    ]
    assert differences(expected, diagnostics) == []


@pytest.mark.parametrize(
    "annotation",
    [
        "one",
        "one #~ E0302",
        'one #~ E0301 "eight"',
        "one\n#~ E0301",
        "one #~ b.vit E0301",
        "one #~ E0301 #~ E0301",
    ],
)
def test_a_difference_is_reported(annotation: str) -> None:
    expected = annotations("a.vit", annotation)
    assert differences(expected, [found("E0301", 1, "the seven heads")])


def test_one_annotation_stands_for_one_diagnostic() -> None:
    expected = annotations("a.vit", "one #~ E0301")
    twice = [found("E0301", 1, "first"), found("E0301", 1, "second")]
    assert differences(expected, twice) == ["not annotated: a.vit:1:1: error[E0301]: second"]


@pytest.mark.parametrize("text", ["#~E0301", "#~ E301", '#~ E0301 "open', "#~ E0301 seven"])
def test_a_malformed_annotation_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not an annotation"):
        annotations("a.vit", text)
