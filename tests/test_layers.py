"""Imports point downward, and the front of the house stays light.

The contracts live in `pyproject.toml`. They run here against a copy of the sources, so that the
controls can plant a forbidden import in the same copy and see it caught.
"""

import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("linvit_dsl", "codegen/linvit_codegen", "runtime/linvit_runtime")
LINT_IMPORTS = Path(sysconfig.get_path("scripts")) / "lint-imports"
HEAVY = ("torch", "numba", "networkx", "sympy")


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """Give a copy of the three packages and the contracts."""
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    for package in PACKAGES:
        ignore = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / package, tmp_path / package, ignore=ignore)
    return tmp_path


def lint_imports(root: Path) -> subprocess.CompletedProcess[str]:
    """Run the contracts of `root` on the packages of `root`."""
    path = os.pathsep.join(str(root / folder) for folder in (".", "codegen", "runtime"))
    return subprocess.run(
        [LINT_IMPORTS, "--no-cache", "--no-logo"],
        cwd=root,
        env=os.environ | {"PYTHONPATH": path, "COLUMNS": "200"},
        capture_output=True,
        text=True,
        check=False,
    )


def plant(root: Path, module: str, line: str) -> None:
    """Append an import to a module of the copy, which is made, with its packages, if absent."""
    path = root / module
    path.parent.mkdir(parents=True, exist_ok=True)
    for folder in path.parents:
        if folder in (root, root / "codegen", root / "runtime"):
            break
        (folder / "__init__.py").touch()
    with path.open("a") as file:
        file.write(f"\n{line}\n")


def test_imports_point_downward(copy: Path) -> None:
    result = lint_imports(copy)
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.parametrize(
    ("module", "line", "contract"),
    [
        ("linvit_dsl/errors/planted.py", "import linvit_dsl.graph", "floors of the house"),
        ("linvit_dsl/graph/planted.py", "import linvit_dsl.cli", "floors of the house"),
        ("linvit_dsl/ops/planted.py", "from linvit_dsl import syntax", "floors of the house"),
        ("linvit_dsl/planted.py", "import ast", "has a floor"),
        ("linvit_dsl/check/planted.py", "import linvit_codegen", "neither the code generator"),
        (
            "linvit_dsl/check/planted.py",
            "def late():\n    import linvit_runtime",
            "neither the code generator",
        ),
        (
            "codegen/linvit_codegen/planted.py",
            "import linvit_runtime",
            "does not know the runtime",
        ),
        (
            "runtime/linvit_runtime/kernels/planted.py",
            "import linvit_dsl.errors",
            "Kernels and data know nothing",
        ),
    ],
)
def test_an_upward_import_is_caught(copy: Path, module: str, line: str, contract: str) -> None:
    for package in ("cli", "syntax", "graph", "errors"):
        plant(copy, f"linvit_dsl/{package}/__init__.py", "")
    plant(copy, module, line)
    result = lint_imports(copy)
    assert result.returncode == 1, result.stdout + result.stderr
    broken = [line for line in result.stdout.splitlines() if "BROKEN" in line]
    assert any(contract in line for line in broken), result.stdout


def loaded_by(statement: str) -> list[str]:
    """Run a statement in a fresh interpreter; give the heavy packages it loaded."""
    program = f"{statement}\nimport sys\nprint(*sorted({set(HEAVY)} & sys.modules.keys()))"
    path = os.pathsep.join(str(ROOT / folder) for folder in (".", "codegen", "runtime"))
    result = subprocess.run(
        [sys.executable, "-c", program],
        env=os.environ | {"PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    return result.stdout.split()


@pytest.mark.parametrize(
    "module", ["linvit_dsl", "linvit_dsl.syntax", "linvit_dsl.check", "linvit_runtime"]
)
def test_the_front_of_the_house_is_light(module: str) -> None:
    assert loaded_by(f"import {module}") == []


def test_a_heavy_import_is_seen() -> None:
    assert loaded_by("import linvit_dsl, networkx") == ["networkx"]
