"""Every exit code, what is said with it, and that no user's mistake shows a traceback."""

import os
import subprocess
import sys
from pathlib import Path
from signal import Signals

import pytest

from linvit_dsl.cli import explain, main
from linvit_dsl.cli.failures import WriteProblem, writing
from linvit_runtime.errors import DataProblem

RIGHT = "model M(x: [B, 64, 192]) -> [B, 64, 192] {\n  return x |> linear[192]@fc\n}\n"
WRONG = RIGHT.replace("linear", "liner")


class Screen:
    """Runs a command in this process and keeps what it prints."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys
        self.out = self.err = ""

    def run(self, *words: str) -> int:
        code = main(words)
        self.out, self.err = self._capsys.readouterr()
        return code


@pytest.fixture
def screen(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Screen:
    """A screen in an empty folder with a right and a wrong spec."""
    monkeypatch.chdir(tmp_path)
    Path("right.vit").write_text(RIGHT)
    Path("wrong.vit").write_text(WRONG)
    return Screen(capsys)


def raising(error: BaseException):
    def run(_: object) -> int:
        raise error

    return run


def test_0_when_all_is_well(screen: Screen) -> None:
    assert screen.run("check", "right.vit") == 0
    assert screen.err == ""


@pytest.mark.parametrize(
    "words",
    [
        ("check", "wrong.vit"),
        ("check", "right.vit:N"),
        ("check", "right.vit", "--set", "d=3"),
        ("check", "right.vit", "wrong.vit"),
        ("cost", "wrong.vit"),
        ("compile", "wrong.vit"),
        ("train", "wrong.vit"),
        ("train", "right.vit"),
    ],
)
def test_1_when_the_spec_is_rejected(screen: Screen, words: tuple[str, ...]) -> None:
    assert screen.run(*words) == 1
    said = screen.out + screen.err
    assert "error[E" in said
    assert "Traceback" not in said


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "help: linvit --help"),
        (("chekc", "right.vit"), "no verb `chekc`; did you mean `check`?"),
        (("frobnicate",), "verbs: check, explain"),
        (("check",), "help: linvit check --help"),
        (("check", "rigth.vit"), "no such file: rigth.vit"),
        (("check", "riplevit"), "did you mean `ripplevit`?"),
        (("check", "right.vit", "--frmat", "json"), "--frmat"),
        (("check", "right.vit", "--format", "xml"), "xml"),
        (("explain", "E0310 "), "E0310"),
        (("explain", "E9999"), "codes run from E01"),
        (("cost", "right.vit", "--batch", "0"), "--batch must be at least 1, not 0"),
        (("cost", "right.vit", "--batch", "many"), "many"),
        (
            ("cost", "--set", "d=1", "right.vit"),
            "`right.vit` is not NAME=VALUE; the spec stands before",
        ),
        (("cost", "right.vit", "--set", "d=1", "--set", "d=2"), "`d` twice: 1 and 2"),
        (("compile", "right.vit", "-o", "m.txt"), "ends in .py, not m.txt"),
        (("compile", "right.vit", "-o", "m.py", "--stdout"), "exclude each other"),
        (("train", "right.vit", "--steps", "0"), "--steps must be at least 1, not 0"),
        (("eval", "nowhere"), "nowhere"),
        (("eval", "."), "no run folder"),
    ],
)
def test_2_when_the_command_makes_no_sense(
    screen: Screen, words: tuple[str, ...], said: str
) -> None:
    assert screen.run(*words) == 2
    assert said in screen.err
    assert screen.err.startswith("linvit: ")
    assert "Traceback" not in screen.err
    assert screen.out == ""


def test_2_when_graphviz_is_missing(screen: Screen, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr("linvit_runtime.draw.output.find_spec", lambda name: None)
    assert screen.run("render", "right.vit", "-o", "m.svg") == 2
    assert "Graphviz" in screen.err
    assert "help: apt install graphviz" in screen.err


def test_a_problem_with_data_says_what_to_do(
    screen: Screen, monkeypatch: pytest.MonkeyPatch
) -> None:
    problem = DataProblem("cifar10 is absent", "download it first")
    monkeypatch.setattr(explain, "run", raising(problem))
    assert screen.run("explain", "E0301") == 2
    assert screen.err == "linvit: cifar10 is absent\n  help: download it first\n"


def test_70_for_a_bug_and_a_report_to_send(
    screen: Screen, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("linvit_dsl.cli.failures.REPORTS", tmp_path)
    monkeypatch.setattr(explain, "run", raising(TypeError("two left feet")))
    assert screen.run("explain", "E0301") == 70
    assert "internal error: TypeError: two left feet" in screen.err
    assert "Please report" in screen.err
    assert "Traceback" not in screen.err
    (report,) = tmp_path.glob("linvit-report-*")
    assert report == Path(screen.err.split()[-1])
    text = report.read_text()
    assert "Traceback" in text
    assert "two left feet" in text


def test_a_bug_shows_its_traceback_where_asked(
    screen: Screen, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(explain, "run", raising(TypeError("two left feet")))
    assert screen.run("explain", "E0301", "--debug") == 70
    assert "Traceback" in screen.err


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_74_when_a_file_cannot_be_written(screen: Screen) -> None:
    Path("closed").mkdir(mode=0o500)
    assert screen.run("compile", "right.vit", "-o", "closed/m.py") == 74
    assert "cannot write" in screen.err


def test_74_when_the_folder_is_missing(screen: Screen) -> None:
    assert screen.run("compile", "right.vit", "-o", "nowhere/m.py") == 74
    assert "cannot write" in screen.err
    assert "nowhere" in screen.err


def test_a_write_that_fails_is_named() -> None:
    with (
        pytest.raises(WriteProblem, match=r"cannot write m\.py: No space left"),
        writing(Path("m.py")),
    ):
        raise OSError(28, "No space left on device")


def test_130_on_ctrl_c(screen: Screen, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(explain, "run", raising(KeyboardInterrupt()))
    assert screen.run("explain", "E0301") == 130
    assert screen.err == "linvit: interrupted\n"


def test_141_when_nobody_reads_on() -> None:
    command = [sys.executable, "-m", "linvit_dsl", "explain", "E0301"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout
    assert process.stderr
    process.stdout.close()
    with process.stderr:
        assert process.stderr.read() == b""
    assert process.wait() == 141


@pytest.mark.parametrize(("signal", "code"), [(Signals.SIGINT, 130), (Signals.SIGTERM, 75)])
def test_a_stopped_training_says_how_to_go_on(
    screen: Screen, monkeypatch: pytest.MonkeyPatch, signal: Signals, code: int
) -> None:
    from linvit_runtime.train import Stopped

    monkeypatch.setattr("linvit_runtime.train.train", raising(Stopped(signal, 12)))
    assert screen.run("train", "ripplevit:RippleViTDigits", "--run", "r") == code
    assert "after step 12" in screen.err
    assert "--resume r" in screen.err


@pytest.mark.parametrize(("problem", "code"), [("Diverged", 3), ("StorageProblem", 74)])
def test_a_failed_training_says_why(
    screen: Screen, monkeypatch: pytest.MonkeyPatch, problem: str, code: int
) -> None:
    import linvit_runtime.train

    error = getattr(linvit_runtime.train, problem)("what happened", "what to do")
    monkeypatch.setattr("linvit_runtime.train.train", raising(error))
    assert screen.run("train", "ripplevit:RippleViTDigits", "--run", "r") == code
    assert screen.err == "linvit: what happened\n  help: what to do\n"
