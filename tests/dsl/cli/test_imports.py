"""What a command may load: torch alone takes seconds, and a check has to feel instant."""

import subprocess
import sys
from pathlib import Path

import pytest

SPEC = "model M(x: [B, 64, 192]) -> [B, 64, 192] {\n  return x |> linear[192]@fc\n}\n"
NEVER = ("torch", "numba", "numpy", "sympy", "networkx", "graphviz", "rich", "PIL")

PROBE = """
import sys
from linvit_dsl.cli import main
try:
    code = main(sys.argv[2:])
except SystemExit as leaving:
    code = leaving.code
print("loaded:", *sorted(set(sys.argv[1].split(",")) & set(sys.modules)), file=sys.stderr)
sys.exit(code)
"""


def loaded(forbidden: tuple[str, ...], *words: str) -> str:
    """The forbidden modules that a command loads."""
    command = [sys.executable, "-c", PROBE, ",".join(forbidden), *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stderr.splitlines()[-1].removeprefix("loaded:").strip()


@pytest.mark.parametrize(
    "words",
    [
        ("--help",),
        ("--version",),
        ("train", "--help"),
        ("export", "--help"),
        ("explain", "E0301"),
        ("check", "m.vit"),
        ("check", "ripplevit", "baseline"),
        ("check", "m.vit", "--format", "json"),
        ("cost", "ripplevit"),
        ("cost", "ripplevit", "--kernels", "--arch", "cpu,sm_80,sm_90"),
        ("compile", "ripplevit", "--stdout"),
        ("fmt", "m.vit"),
        ("fmt", "--diff", "m.vit"),
        ("list", "ripplevit"),
        ("list", "--library"),
        ("new", "idea"),
        ("diff", "baseline", "linear"),
    ],
)
def test_nothing_heavy_is_loaded(
    words: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("m.vit").write_text(SPEC)
    assert loaded(NEVER, *words) == ""


def test_a_drawing_loads_no_torch(tmp_path: Path) -> None:
    words = ("render", "ripplevit", "-o", str(tmp_path / "m.dot"))
    assert loaded(("torch", "numba", "sympy"), *words) == ""


def test_the_probe_sees_what_is_loaded() -> None:
    assert loaded(("argparse", "torch"), "--help") == "argparse"


def test_torch_finds_a_passive_openmp() -> None:
    code = "import os; from linvit_dsl.cli import main; main(['explain', 'E0301']); " + (
        "print(os.environ['OMP_WAIT_POLICY'])"
    )
    environment = {"PATH": "/usr/bin:/bin", "PYTHONPATH": ":".join(sys.path)}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment
    )
    assert done.stdout.splitlines()[-1] == "PASSIVE"
