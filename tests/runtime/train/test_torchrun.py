"""`linvit train` under torchrun: several processes, one run folder, the steps of one process."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from linvit_dsl.cli import main
from linvit_runtime.train.metrics import Record, read_metrics
from linvit_runtime.train.run_folder import METRICS

# As docs/training.md tells it; `torchrun` is this module.
COMMAND = "torchrun --standalone --nproc-per-node 2 -m linvit_dsl -- train"
TORCHRUN = ["-m", "torch.distributed.run", *COMMAND.split()[1:]]
MODEL = ["ripplevit:RippleViTDigits", "--device", "cpu", "--set", "depth=1", "stages=1"]


def torchrun(*words: str) -> subprocess.CompletedProcess[str]:
    """Run `linvit train` in two processes."""
    return subprocess.run(
        [sys.executable, *TORCHRUN, *MODEL, *words],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=False,
    )


def steps(directory: Path) -> list[Record]:
    """What each step measured."""
    return [r for r in read_metrics(directory / METRICS) if r["kind"] == "train"]


def test_two_processes_train_through_the_command(tmp_path: Path) -> None:
    assert COMMAND in Path("docs/training.md").read_text()
    two, one = tmp_path / "two", tmp_path / "one"
    done = torchrun("--steps", "3", "--run", str(two))
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[0] == f"run folder {two}"
    assert len(done.stdout.splitlines()) == 2, "one process prints"
    assert "Warning: " not in done.stderr
    assert {"config.json", "model.py", "spec.vit"} <= {path.name for path in two.iterdir()}
    assert main(["train", *MODEL, "--steps", "3", "--run", str(one)]) == 0
    losses = [record["loss"] for record in steps(one)]
    assert [record["loss"] for record in steps(two)] == pytest.approx(losses, rel=1e-4)
    assert len(set(losses)) == 3
