"""Generated files pass the checks that hand-written ones do: ruff, its formatter, pyright."""

import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from linvit_codegen import Options, generate
from linvit_dsl.check import shipped_specs
from tests.codegen.samples import SAMPLES
from tests.codegen.test_specs import model
from tests.conftest import GOLDEN_ROOT

SCRIPTS = Path(sysconfig.get_path("scripts"))
ROOT = Path(__file__).parents[2]
# Matrices keep the names of the papers, and F is torch's own convention.
RULES = ["--select", "E,F,I,N,UP,W", "--ignore", "N803,N806,N812", "--line-length", "88"]


def run(*command: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a folder with every sample, freshly generated."""
    folder = tmp_path_factory.mktemp("generated")
    for name, build in SAMPLES.items():
        (folder / f"{name}.py").write_text(generate(build()).text, encoding="utf-8")
    for spec in shipped_specs():
        text = generate(model(spec).graph, options=Options(level=2)).text
        (folder / f"{spec}_2.py").write_text(text, encoding="utf-8")
    for golden in GOLDEN_ROOT.glob("codegen/specs/*.py"):
        (folder / golden.name).write_bytes(golden.read_bytes())
    return folder


def test_ruff_finds_nothing(folder: Path) -> None:
    result = run(SCRIPTS / "ruff", "check", "--isolated", *RULES, folder)
    assert result.returncode == 0, result.stdout


def test_ruff_would_find_something(tmp_path: Path) -> None:
    (tmp_path / "bad.py").write_text("import torch\nimport os\nx = 1 \n")
    assert run(SCRIPTS / "ruff", "check", "--isolated", *RULES, tmp_path).returncode == 1


def test_the_formatter_changes_nothing(folder: Path) -> None:
    result = run(SCRIPTS / "ruff", "format", "--isolated", "--diff", folder)
    assert result.returncode == 0, result.stdout


@pytest.mark.slow
def test_pyright_finds_nothing(folder: Path) -> None:
    config = folder / "pyrightconfig.json"
    paths = [str(ROOT), str(ROOT / "codegen"), str(ROOT / "runtime")]
    config.write_text('{"extraPaths": ' + repr(paths).replace("'", '"') + "}")
    result = run(SCRIPTS / "pyright", "-p", config, "--pythonpath", sys.executable)
    assert result.returncode == 0, result.stdout
