"""What users install: the files in the wheel, its requirements, and a first command that works."""

import ast
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tomllib
import venv
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
# Folder in the repository -> folder in site-packages.
INSTALLED_AS = {
    "linvit_dsl": "linvit_dsl",
    "codegen/linvit_codegen": "linvit_codegen",
    "runtime/linvit_runtime": "linvit_runtime",
    "specs": "linvit_dsl/specs",
}
# Left lying in the tree that is built; none may be published.
STRAYS = (
    "specs/secret.env",
    "linvit_dsl/notes.txt",
    "linvit_dsl/.env",
    "runtime/linvit_runtime/data/cifar-10-binary.tar.gz",
    "codegen/scratch.py",
    "runtime/__init__.py",
)
MODULE_OF = {"pillow": "PIL"}
# pydantic pins its core exactly and documents it as the home of its error types; `cuda.bindings`
# arrives with the extra `cuda`, as does `numba.cuda`.
COMES_WITH_ANOTHER = {"pydantic_core", "cuda"}


def shipped_files() -> dict[str, Path]:
    """Map every file that belongs in the wheel to where it stands in the repository."""
    return {
        f"{installed}/{path.relative_to(ROOT / folder).as_posix()}": path
        for folder, installed in INSTALLED_AS.items()
        for path in (ROOT / folder).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts and not path.name.startswith(".")
    }


def run(*command: str | Path, cwd: Path) -> str:
    """Run a command as a user would, without this session's paths; give what it printed."""
    hidden = ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV")
    env = {name: value for name, value in os.environ.items() if name not in hidden}
    result = subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, check=False)
    assert result.returncode == 0, f"{command}\n{result.stdout}\n{result.stderr}"
    return result.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the source archive, and the wheel from that archive, in a tree with stray files."""
    tree = tmp_path_factory.mktemp("tree")
    ignore = shutil.ignore_patterns("__pycache__", ".*")
    for folder in INSTALLED_AS:
        shutil.copytree(ROOT / folder, tree / folder, ignore=ignore)
    for name in ("pyproject.toml", "LICENSE", PROJECT.get("readme", "LICENSE")):
        shutil.copy(ROOT / name, tree)
    for name in STRAYS:
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).write_text("not for publication")
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", tree / "dist", cwd=tree)
    (built,) = (tree / "dist").glob("*.whl")
    return built


@pytest.fixture(scope="module")
def clean_python(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Install the wheel into a new environment that sees our requirements but not this checkout."""
    home = tmp_path_factory.mktemp("clean")
    venv.create(home, with_pip=False)
    python = home / "bin" / "python"
    pip = [sys.executable, "-m", "pip", "--python", python]
    run(*pip, "install", "--quiet", "--no-deps", "--no-index", wheel, cwd=home)
    # A folder named in a .pth file joins sys.path, but the .pth files inside it are not read: the
    # requirements become importable, the editable install of linvit does not.
    (site_packages,) = home.glob("lib/python*/site-packages")
    (site_packages / "requirements.pth").write_text(sysconfig.get_path("purelib"))
    return python


def test_the_wheel_holds_the_packages_and_nothing_else(wheel: Path) -> None:
    names = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    expected = shipped_files().keys()
    unshipped = sorted(expected - names)
    assert not unshipped, "delete them, or add their kind to [tool.hatch.build] include"
    assert not sorted(names - expected)


def test_the_wheel_holds_the_files_read_at_run_time(wheel: Path) -> None:
    names = "\n".join(zipfile.ZipFile(wheel).namelist())
    for pattern in (
        r"linvit_dsl/.*\.lark",
        r"linvit_dsl/std/.*\.vit",
        r"linvit_dsl/specs/ripplevit\.vit",
        r"linvit_runtime/data/digits\..*",
        r"(linvit_dsl|linvit_codegen|linvit_runtime)/py\.typed",
        r".*\.dist-info/licenses/LICENSE",
    ):
        assert re.search(f"^{pattern}$", names, re.MULTILINE), f"no {pattern} in\n{names}"


def test_the_installed_package_is_the_wheels(clean_python: Path, tmp_path: Path) -> None:
    program = (
        "import linvit_dsl, linvit_codegen, linvit_runtime\n"
        "from importlib.util import find_spec\n"
        "print(linvit_dsl.__file__)\n"
        "print(*filter(find_spec, ['codegen', 'runtime', 'specs']))"
    )
    where, generic_names = run(clean_python, "-c", program, cwd=tmp_path).split("\n")[:2]
    assert Path(where).is_relative_to(clean_python.parents[1])
    assert generic_names == ""


def test_a_shipped_spec_compiles_from_an_empty_folder(clean_python: Path, tmp_path: Path) -> None:
    linvit = clean_python.with_name("linvit")
    run(linvit, "compile", "ripplevit", "-o", "generated.py", cwd=tmp_path)
    program = "import generated; print(sum(p.numel() for p in generated.RippleViT().parameters()))"
    assert int(run(clean_python, "-c", program, cwd=tmp_path)) > 0


def imported_modules() -> Iterator[tuple[str, Path]]:
    """Give the top-level name of every import in the three packages, late imports included."""
    for path in shipped_files().values():
        if path.suffix != ".py":
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                yield from ((alias.name.partition(".")[0], path) for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                yield node.module.partition(".")[0], path


def modules_of(requirements: list[str]) -> set[str]:
    """Give the names under which requirements are imported."""
    names = {canonicalize_name(Requirement(text).name) for text in requirements}
    return {MODULE_OF.get(name, name.replace("-", "_")) for name in names}


def test_every_import_is_declared() -> None:
    own = {"linvit_dsl", "linvit_codegen", "linvit_runtime"}
    declared = modules_of(PROJECT["dependencies"]) | COMES_WITH_ANOTHER
    extras = PROJECT["optional-dependencies"]
    optional = modules_of([text for name in extras if name != "dev" for text in extras[name]])
    known = own | declared | optional | sys.stdlib_module_names
    assert not [(name, path) for name, path in imported_modules() if name not in known]


def test_every_requirement_is_imported() -> None:
    assert modules_of(PROJECT["dependencies"]) <= {name for name, _ in imported_modules()}


def locked_versions() -> dict[str, list[str]]:
    """Map each locked distribution to its versions: one, or one for each range of Pythons."""
    versions: dict[str, list[str]] = {}
    for line in (ROOT / "requirements.lock").read_text().splitlines():
        if match := re.match(r"([\w.-]+)==([\w.]+)", line):
            versions.setdefault(canonicalize_name(match[1]), []).append(match[2])
    return versions


def test_the_lock_covers_the_requirements() -> None:
    locked = locked_versions()
    (torch,) = re.findall(r'^TORCH="torch==([\d.]+)"', (ROOT / "dev").read_text(), re.MULTILINE)
    for text in PROJECT["dependencies"] + PROJECT["optional-dependencies"]["dev"]:
        requirement = Requirement(text)
        versions = [torch] if requirement.name == "torch" else locked[requirement.name]
        assert versions, text
        assert all(requirement.specifier.contains(version) for version in versions), text


def test_the_lock_is_hashed_and_names_no_place() -> None:
    text = (ROOT / "requirements.lock").read_text()
    assert "torch" not in locked_versions()
    assert "://" not in text
    assert "--index-url" not in text
    for block in re.split(r"\n(?=\w)", text):
        if "==" in block.splitlines()[0]:
            assert "--hash=sha256:" in block, block


@pytest.mark.parametrize("arguments", [[], ["deploy"]])
def test_dev_explains_itself_and_sets_nothing_up(tmp_path: Path, arguments: list[str]) -> None:
    shutil.copy(ROOT / "dev", tmp_path)
    command = ["/bin/sh", tmp_path / "dev", *arguments]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 2
    assert "usage: ./dev VERB" in result.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["dev"]
