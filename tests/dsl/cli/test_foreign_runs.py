"""A run folder from somebody else executes nothing but what linvit could have written."""

import importlib.util
import py_compile
import shutil
from pathlib import Path

import pytest

from linvit_dsl.cli import main

PLANT = "__import__('pathlib').Path('executed').touch()\n"


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a finished run."""
    folder = tmp_path_factory.mktemp("runs") / "run"
    words = ["train", "ripplevit:RippleViTDigits", "--run", str(folder), "--device", "cpu"]
    assert main([*words, "--set", "stages=1", "depth=1", "--steps", "1"]) == 0
    return folder


@pytest.fixture
def module(run_folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Give the module of a copy, which no test has imported yet."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(run_folder, "copy")
    return tmp_path / "copy" / "model.py"


def evaluate(path: Path) -> int:
    return main(["eval", str(path.parent), "--device", "cpu"])


@pytest.mark.parametrize("first", [b"", b"# \xff\n", b"# coding: latin-1\n"])
def test_an_added_statement_is_named_and_not_executed(
    module: Path, first: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    text = first + module.read_bytes()
    module.write_bytes(text + PLANT.encode())
    assert evaluate(module) == 2
    assert not Path("executed").exists()
    err = capsys.readouterr().err
    last = len(text.splitlines()) + 1
    assert f"{module} was not run: line {last} holds `__import__('pathlib')" in err
    assert "linvit compile" in err


def test_a_statement_that_only_another_encoding_shows_is_not_executed(module: Path) -> None:
    text = module.read_text().replace("+", "+-")
    module.write_text(f"# coding: utf-7\n{text}#+AAo-{PLANT}")
    assert evaluate(module) == 0
    assert not Path("executed").exists()


def test_resuming_executes_it_no_more_than_evaluating(
    module: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    module.write_text(module.read_text() + PLANT)
    words = ["train", "ripplevit:RippleViTDigits", "--resume", str(module.parent)]
    words += ["--device", "cpu", "--set", "stages=1", "depth=1", "--steps", "2"]
    status = main(words)
    assert not Path("executed").exists()
    assert status in (0, 2), capsys.readouterr().err


def test_bytecode_beside_the_module_is_not_executed(module: Path, tmp_path: Path) -> None:
    evil = tmp_path / "evil.py"
    evil.write_text(PLANT)
    cached = importlib.util.cache_from_source(str(module))
    # Python takes bytecode of this kind without a look at the text that it stands for.
    unchecked = py_compile.PycInvalidationMode.UNCHECKED_HASH
    py_compile.compile(str(evil), cached, doraise=True, invalidation_mode=unchecked)
    assert evaluate(module) == 0
    assert not Path("executed").exists()


def test_the_module_itself_is_evaluated(module: Path) -> None:
    assert evaluate(module) == 0
