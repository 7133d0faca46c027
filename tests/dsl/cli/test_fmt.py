"""`linvit fmt`: what it writes, what it leaves alone, and what it says."""

import io
import os
from pathlib import Path

import pytest

from linvit_dsl.cli import main
from linvit_dsl.errors import InternalError
from tests.dsl.cli.test_failures import Screen

UGLY = "const  a=1 # one\nmodel M(x:[B,4])->[B,4]{return x}\n"
PRETTY = "const a = 1  # one\n\nmodel M(x: [B, 4]) -> [B, 4] {\n  return x\n}\n"


@pytest.fixture
def screen(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Screen:
    """A screen in an empty folder."""
    monkeypatch.chdir(tmp_path)
    return Screen(capsys)


def test_a_file_is_formatted_once(screen: Screen) -> None:
    Path("a.vit").write_text(UGLY)
    assert screen.run("fmt", "a.vit") == 0
    assert screen.out == "formatted a.vit\n"
    assert Path("a.vit").read_text() == PRETTY
    assert screen.run("fmt", "a.vit") == 0
    assert screen.out == screen.err == ""


def test_check_writes_nothing(screen: Screen) -> None:
    Path("a.vit").write_text(UGLY)
    Path("b.vit").write_text(PRETTY)
    assert screen.run("fmt", "--check", "a.vit", "b.vit") == 1
    assert screen.out == "would format a.vit\n"
    assert Path("a.vit").read_text() == UGLY
    assert screen.run("fmt", "--check", "b.vit") == 0


def test_diff_shows_what_would_change(screen: Screen) -> None:
    Path("a.vit").write_text(UGLY)
    assert screen.run("fmt", "--diff", "a.vit") == 0
    assert "--- a.vit\n+++ a.vit (formatted)\n" in screen.out
    assert "\n-const  a=1 # one\n" in screen.out
    assert "\n+const a = 1  # one\n" in screen.out
    assert Path("a.vit").read_text() == UGLY
    assert screen.run("fmt", "--diff", "--check", "a.vit") == 1


def test_folders_are_searched_but_hidden_ones(screen: Screen) -> None:
    for name in ("a/b/c.vit", "a/.hidden/d.vit", "a/text.txt"):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_text(UGLY)
    Path("a/link.vit").symlink_to("b/c.vit")
    assert screen.run("fmt", ".") == 0
    assert screen.out == "formatted a/b/c.vit\n"
    assert Path("a/.hidden/d.vit").read_text() == UGLY


def test_a_file_with_mistakes_is_left_alone_and_the_others_are_not(screen: Screen) -> None:
    Path("a.vit").write_text("const a = (1\nconst  b=2\n")
    Path("b.vit").write_text(UGLY)
    assert screen.run("fmt", "a.vit", "b.vit") == 1
    assert "error[E01" in screen.err
    assert "a.vit:1:" in screen.err
    assert Path("a.vit").read_text() == "const a = (1\nconst  b=2\n"
    assert Path("b.vit").read_text() == PRETTY


def test_nothing_is_written_where_the_formatter_is_wrong(
    screen: Screen, monkeypatch: pytest.MonkeyPatch
) -> None:
    def wrong(*_: object) -> None:
        raise InternalError("it changed what it means")

    monkeypatch.setattr("linvit_dsl.syntax.format.assert_same_text", wrong)
    monkeypatch.setattr("tempfile.tempdir", str(Path.cwd()))
    Path("a.vit").write_text(UGLY)
    assert screen.run("fmt", "a.vit") == 70
    assert "it changed what it means" in screen.err
    assert Path("a.vit").read_text() == UGLY


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (b"const  a=1\r\nconst b =2\r\n", b"const a = 1\r\nconst b = 2\r\n"),
        (b"const  a=1\nconst b =2\r\n", b"const a = 1\nconst b = 2\n"),
        (b"\xef\xbb\xbfconst a = 1\n", b"const a = 1\n"),
        (b"", b""),
        (b"\n\n", b""),
        (b"const a = 1", b"const a = 1\n"),
        (b"\tconst a =\t1\n", b"const a = 1\n"),
    ],
    ids=["crlf", "mixed", "bom", "empty", "blank", "no newline", "tabs"],
)
def test_what_editors_leave_behind(screen: Screen, before: bytes, after: bytes) -> None:
    Path("a.vit").write_bytes(before)
    assert screen.run("fmt", "a.vit") == 0
    assert Path("a.vit").read_bytes() == after
    assert screen.run("fmt", "--check", "a.vit") == 0


def test_what_is_no_text_is_refused(screen: Screen) -> None:
    Path("a.vit").write_bytes(b"\x89PNG\r\n\xff")
    assert screen.run("fmt", "a.vit") == 1
    assert "not UTF-8" in screen.err
    Path("b.vit").write_bytes(b"# " + b"x" * 300_000)
    assert screen.run("fmt", "b.vit") == 1
    assert "E0702" in screen.err


def test_the_mode_of_a_file_stays(screen: Screen) -> None:
    Path("a.vit").write_text(UGLY)
    Path("a.vit").chmod(0o640)
    assert screen.run("fmt", "a.vit") == 0
    assert Path("a.vit").stat().st_mode & 0o777 == 0o640
    assert [path.name for path in Path().iterdir()] == ["a.vit"]


@pytest.mark.parametrize(
    ("words", "code", "out"),
    [(("-",), 0, PRETTY), (("-", "--check"), 1, "would format <stdin>\n")],
)
def test_standard_input(
    words: tuple[str, ...],
    code: int,
    out: str,
    monkeypatch: pytest.MonkeyPatch,
    capsysbinary: pytest.CaptureFixture[bytes],
) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(UGLY.encode())))
    assert main(["fmt", *words]) == code
    assert capsysbinary.readouterr().out == out.encode()


def test_standard_input_with_mistakes_gives_nothing(
    screen: Screen, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"const = 1")))
    assert screen.run("fmt", "-") == 1
    assert screen.out == ""
    assert "<stdin>:1:7" in screen.err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "help: linvit fmt --help"),
        (("nowhere.vit",), "no such file: nowhere.vit"),
        (("ripplevit",), "`ripplevit` comes with linvit"),
        (("empty",), "no .vit files in empty"),
        (("link.vit",), "does not write through a link"),
        (("-", "a.vit"), "- is standard input alone"),
        (("a.vit", "--width", "80"), "--width"),
    ],
)
def test_words_that_make_no_sense(screen: Screen, words: tuple[str, ...], said: str) -> None:
    Path("empty").mkdir()
    Path("a.vit").write_text(UGLY)
    Path("link.vit").symlink_to("a.vit")
    assert screen.run("fmt", *words) == 2
    assert said in screen.err
    assert Path("a.vit").read_text() == UGLY


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_cannot_be_written(screen: Screen) -> None:
    Path("closed").mkdir()
    Path("closed/a.vit").write_text(UGLY)
    Path("closed").chmod(0o500)
    assert screen.run("fmt", "closed") == 74
    assert "cannot write closed/a.vit" in screen.err
    assert Path("closed/a.vit").read_text() == UGLY
