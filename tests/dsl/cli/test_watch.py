"""`linvit check --watch` without a clock: what happens between two looks is done by the test."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from linvit_dsl.cli import check, main, watch

RIGHT = (
    'from "./part.vit" import Part\nmodel M(x: [B, 4]) -> [B, 4] {\n  return x |> Part@part\n}\n'
)
PART = "block Part(x: [B, n]) -> [B, n] {\n  return x |> linear[n]@fc\n}\n"


@pytest.fixture(autouse=True)
def _in_a_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    Path("m.vit").write_text(RIGHT)
    Path("part.vit").write_text(PART)


def write(name: str, text: str, time: int) -> None:
    """Write a file whose time of change is another one than before."""
    Path(name).write_text(text)
    os.utime(name, (time, time))


def watched(monkeypatch: pytest.MonkeyPatch, steps: list[Callable[[], None] | None]) -> int:
    """Watch `m.vit`; before each look one step is done, and after the last comes Ctrl-C."""
    todo: Iterator[Callable[[], None] | None] = iter(steps)

    def wait(seconds: float) -> None:
        assert seconds == watch.SECONDS
        try:
            step = next(todo)
        except StopIteration:
            raise KeyboardInterrupt from None
        if step is not None:
            step()

    original = watch.watch
    monkeypatch.setattr(watch, "watch", lambda run, files: original(run, files, wait=wait))
    return main(["check", "m.vit", "--watch"])


def test_a_change_is_checked_once_it_has_settled(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    steps = [
        None,
        lambda: write("m.vit", "model M(x: [B", 1),
        lambda: write("m.vit", RIGHT.replace("Part@", "Prat@"), 2),
        None,
        None,
        lambda: write("m.vit", RIGHT, 3),
        None,
    ]
    assert watched(monkeypatch, steps) == 130
    out, err = capsys.readouterr()
    rounds = out.split("\nwatching 2 files; Ctrl-C ends\n")
    assert [("no problems" in r, "error[E02" in r) for r in rounds[:-1]] == [
        (True, False),
        (False, True),
        (True, False),
    ]
    assert rounds[-1] == ""
    assert err == "linvit: interrupted\n"


def test_an_import_is_watched_and_also_one_that_is_not_there_yet(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    steps = [
        lambda: Path("part.vit").unlink(),
        None,
        lambda: write("part.vit", PART, 1),
        None,
    ]
    assert watched(monkeypatch, steps) == 130
    rounds = capsys.readouterr().out.split("watching 2 files")
    assert [("no problems" in r, "error[E0208]" in r) for r in rounds[:-1]] == [
        (True, False),
        (False, True),
        (True, False),
    ]


def test_a_spec_that_is_gone_is_waited_for(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    steps = [lambda: Path("m.vit").unlink(), None, lambda: write("m.vit", RIGHT, 1), None]
    assert watched(monkeypatch, steps) == 130
    out = capsys.readouterr().out
    assert out.count("linvit: no such file: m.vit") == 1
    assert out.count("no problems") == 2


def test_a_change_while_it_is_checked_is_not_missed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    once = iter([True])
    original = check._check

    def checking(options: object) -> int:
        code = original(options)  # pyright: ignore[reportArgumentType]
        if next(once, False):
            write("m.vit", "model M(x: [B", 1)
        return code

    monkeypatch.setattr(check, "_check", checking)
    assert watched(monkeypatch, [None]) == 130
    assert "error[E01" in capsys.readouterr().out


def test_nothing_new_is_not_checked_again(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert watched(monkeypatch, [None] * 5) == 130
    assert capsys.readouterr().out.count("watching") == 1


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("nowhere.vit",), "no such file: nowhere.vit"),
        (("m.vit", "--format", "json"), "leave --fix and --format json out"),
        (("m.vit", "--fix"), "leave --fix and --format json out"),
    ],
)
def test_words_that_make_no_sense(
    words: tuple[str, ...], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["check", "--watch", *words]) == 2
    assert said in capsys.readouterr().err
