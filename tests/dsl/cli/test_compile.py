"""`linvit compile` with its options, from the command line."""

from pathlib import Path

import pytest

from linvit_dsl.cli import main

SPEC = """
model Wide[d: dim = 32](x: [B, 8, d]) -> [B, 8, d] {
  q = x |> linear[d]@q
  k = x |> linear[d]@k
  return q * k
}
"""


@pytest.fixture(autouse=True)
def _in_a_folder_with_a_spec(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    Path("m.vit").write_text(SPEC)


def test_levels_change_the_code(capsys: pytest.CaptureFixture[str]) -> None:
    texts: list[str] = []
    for level in ("-O0", "-O1", "-O2"):
        assert main(["compile", "m.vit", "--stdout", level]) == 0
        texts.append(capsys.readouterr().out)
    assert ["joint_linear(x" in text for text in texts] == [False, False, True]
    assert ["# language 1, -O1, " in text for text in texts] == [False, True, False]
    assert main(["compile", "m.vit", "--stdout"]) == 0
    assert capsys.readouterr().out == texts[1]


def test_a_level_that_does_not_exist_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compile", "m.vit", "-O3"]) == 2
    assert "invalid choice: 3" in capsys.readouterr().err


def test_check_passes_what_was_written_and_writes_nothing(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["compile", "m.vit", "-o", "net.py"]) == 0
    before = {path: path.read_bytes() for path in Path().iterdir()}
    capsys.readouterr()
    assert main(["compile", "m.vit", "-o", "net.py", "--check"]) == 0
    assert capsys.readouterr().out == "net.py is up to date\n"
    assert {path: path.read_bytes() for path in Path().iterdir()} == before


def test_check_fails_and_says_why(capsys: pytest.CaptureFixture[str]) -> None:
    command = ["compile", "m.vit", "-o", "net.py"]
    assert main([*command, "--check"]) == 1
    assert "there is no such file" in capsys.readouterr().err
    assert not Path("net.py").exists()
    assert main(command) == 0
    for arguments, reason in (
        (["-O2"], "it was made with language 1, -O1"),
        (["--set", "d=16"], "it was made with another --set"),
    ):
        capsys.readouterr()
        assert main([*command, "--check", *arguments]) == 1
        assert reason in capsys.readouterr().err
    Path("m.vit").write_text(SPEC.replace("q * k", "q + k"))
    assert main([*command, "--check"]) == 1
    assert "the spec, or a file that it imports, has changed" in capsys.readouterr().err
    Path("net.py").write_text(Path("net.py").read_text() + "# mine\n")
    assert main([*command, "--check"]) == 1
    assert "edited by hand" in capsys.readouterr().err


@pytest.mark.parametrize("other", ["--stdout", "--force"])
def test_check_goes_with_nothing_that_writes(
    other: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["compile", "m.vit", "--check", other]) == 2
    assert "--check" in capsys.readouterr().err
