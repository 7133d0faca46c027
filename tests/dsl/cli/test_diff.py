"""`linvit diff`: what it prints, and its exit codes."""

import json
from pathlib import Path

import pytest

from linvit_dsl.cli import main
from tests.conftest import Golden


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("mixer", ("baseline", "linear")),
        ("stages", ("ripplevit", "ripplevit", "--set", "stages=2")),
        ("size", ("baseline", "baseline:BaselineViT64")),
        ("same", ("linear:LinearViT", "linear")),
    ],
)
def test_what_is_printed_is_the_reviewed_text(
    name: str, words: tuple[str, ...], capsys: pytest.CaptureFixture[str], golden: Golden
) -> None:
    assert main(["diff", *words]) == 0
    golden.check(f"cli/diff/{name}.txt", capsys.readouterr().out)


def test_the_page_about_tools_shows_what_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["diff", "baseline", "linear"]) == 0
    page = Path(__file__).parents[3] / "docs" / "tools.md"
    assert f"$ linvit diff baseline linear\n{capsys.readouterr().out}```" in page.read_text()


def test_all_lists_the_sizes(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["diff", "baseline", "baseline:BaselineViT64"]
    assert main(words) == 0
    assert "--all lists them" in capsys.readouterr().out
    assert main([*words, "--all"]) == 0
    out = capsys.readouterr().out
    assert "--all" not in out
    assert "1×65×384 -> 1×257×384" in out


def test_exit_code_says_whether_there_is_a_difference(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["diff", "linear", "linear", "--exit-code"]) == 0
    assert main(["diff", "linear", "baseline", "--exit-code"]) == 1
    assert main(["diff", "linear", "baseline"]) == 0


def test_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["diff", "baseline", "linear", "--format", "json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert list(found) == ["equal", "before", "after", "statics", "changes", "checkpoint"]
    assert found["equal"] is False
    assert found["before"]["params"] == found["after"]["params"] == 21_376_996
    assert found["statics"] == {"mixer": ["Attention", "LinearAttention"]}
    assert found["checkpoint"]["loads"] is True
    assert found["changes"][0]["path"] == "layers.0-11.attn"


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("baseline",), 2, "help: linvit diff --help"),
        (("baseline", "nowhere.vit"), 2, "no such file: nowhere.vit"),
        (("baseline", "linear:Nope"), 1, "E0211"),
        (("baseline", "linear", "--set", "haeds=3"), 1, "did you mean `heads`?"),
    ],
)
def test_words_that_make_no_sense(
    words: tuple[str, ...],
    code: int,
    said: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["diff", *words]) == code
    assert said in capsys.readouterr().err
