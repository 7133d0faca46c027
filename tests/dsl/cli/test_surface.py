"""The command line is a promise: every option is listed here, and a change is made on purpose."""

import re

import pytest

from linvit_dsl import __version__
from linvit_dsl.cli import main
from linvit_dsl.cli.failures import UsageProblem
from linvit_dsl.cli.parser import VERBS, parse
from tests.conftest import Golden

OPTIONS = {
    "check": {
        "SPEC[:MODEL]",
        "--help",
        "--set",
        "--format",
        "--fix",
        "--diff",
        "--definitions",
        "--watch",
    },
    "explain": {"CODE", "--help", "--format"},
    "new": {"NAME", "--help", "--template"},
    "fmt": {"FILE", "--help", "--check", "--diff"},
    "list": {"SPEC", "--help", "--library", "--format"},
    "diff": {
        "A[:MODEL]",
        "B[:MODEL]",
        "--help",
        "--set",
        "--all",
        "--exit-code",
        "--format",
    },
    "cost": {
        "SPEC[:MODEL]",
        "--help",
        "--set",
        "--batch",
        "--depth",
        "--advice",
        "--kernels",
        "--arch",
        "--dtype",
        "--format",
    },
    "compile": {
        "SPEC[:MODEL]",
        "--help",
        "--set",
        "-o",
        "--force",
        "--stdout",
        "-O",
        "--standalone",
        "--check",
    },
    "render": {"SPEC[:MODEL]", "--help", "--set", "-o", "--detail", "--costs", "--dark"},
    "train": {
        "SPEC[:MODEL]",
        "--help",
        "--set",
        "--run",
        "--resume",
        "--seed",
        "--epochs",
        "--steps",
        "--data",
        "--device",
    },
    "export": {
        "SPEC[:MODEL]",
        "--help",
        "--set",
        "-o",
        "--weights",
        "--checkpoint",
        "--seed",
        "--batch",
        "--opset",
    },
    "kernels": {"--help", "ACTION"},
    "doctor": {"--help", "--format"},
    "eval": {"RUN|FILE", "--help", "--weights", "--batch", "--data", "--device", "--format"},
}


@pytest.fixture(autouse=True)
def _terminal_of_80_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("NO_COLOR", "1")


def help_of(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    with pytest.raises(SystemExit) as leaving:
        main([*words, "--help"])
    assert leaving.value.code == 0
    return capsys.readouterr().out


def test_the_verbs_are_these() -> None:
    assert set(VERBS) == set(OPTIONS)


@pytest.mark.parametrize("verb", OPTIONS)
def test_the_options_of_a_verb_are_these(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    text = help_of(capsys, verb)
    listed = re.findall(r"^  (?:-h, )?(-{1,2}[\w-]+|[A-Z][A-Z\[\]:|]+)", text, re.MULTILINE)
    assert set(listed) == OPTIONS[verb]


@pytest.mark.parametrize("verb", OPTIONS)
def test_the_help_of_a_verb_is_the_reviewed_one(
    verb: str, capsys: pytest.CaptureFixture[str], golden: Golden
) -> None:
    golden.check(f"cli/{verb}.txt", help_of(capsys, verb))


@pytest.mark.parametrize("verb", sorted(set(OPTIONS) - {"explain"}))
def test_the_examples_of_a_verb_can_be_typed(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    lines = re.findall(rf"^  linvit ({verb} .*)$", help_of(capsys, verb), re.MULTILINE)
    assert len(lines) >= 2
    for line in lines:
        words, *_ = re.split(r"  +| < ", line)
        assert parse(words.split()).verb == verb
    with pytest.raises(UsageProblem):
        parse([verb, "--no-such-option"])


def test_the_help_of_linvit_is_the_reviewed_one(
    capsys: pytest.CaptureFixture[str], golden: Golden
) -> None:
    golden.check("cli/linvit.txt", help_of(capsys))


def test_the_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as leaving:
        main(["--version"])
    assert leaving.value.code == 0
    assert capsys.readouterr().out == f"linvit {__version__}\n"
