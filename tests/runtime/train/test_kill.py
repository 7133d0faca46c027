"""Real processes, really killed."""

import io
import json
import os
import random
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from linvit_runtime.train import train
from linvit_runtime.train.checkpoint import CheckpointStore
from linvit_runtime.train.metrics import Record, read_metrics
from linvit_runtime.train.run_folder import CHECKPOINTS, METRICS
from tests.runtime.train.attempts import EPOCHS, long_run
from tests.runtime.train.small import STEPS_PER_EPOCH

ATTEMPTS = Path(__file__).with_name("attempts.py")
UNTIL_THE_END: dict[str, Any] = {"signal": None, "lines": 0, "after": 0}


def run_attempts(directory: Path, plans: list[dict[str, Any]]) -> list[int]:
    """Exit statuses of the attempts, one after the other, in one run folder."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "PYTHONWARNINGS": "ignore"}
    done = subprocess.run(
        [sys.executable, "-P", ATTEMPTS, directory, json.dumps(plans)],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def final(directory: Path) -> tuple[list[bytes], list[Record]]:
    """Bytes of the last checkpoint's tensors, and the metrics."""
    store = CheckpointStore(directory / CHECKPOINTS, pytest.fail)
    path = store.path(EPOCHS * STEPS_PER_EPOCH)
    files = ("model.safetensors", "optim.safetensors", "ema.safetensors")
    return [(path / file).read_bytes() for file in files], read_metrics(directory / METRICS)


def kill_and_compare(tmp_path: Path, kills: int, seed: int) -> None:
    draw = random.Random(seed)
    # Few enough steps in each attempt that the run cannot end before the last one.
    most_lines = EPOCHS * STEPS_PER_EPOCH // (2 * kills)
    plans: list[dict[str, Any]] = [
        {
            "signal": signal.SIGKILL,
            "lines": draw.randint(0, most_lines),
            "after": draw.uniform(0, 0.02),
        }
        for _ in range(kills)
    ]
    codes = run_attempts(tmp_path / "killed", [*plans, UNTIL_THE_END])
    assert codes == [-signal.SIGKILL] * kills + [0], f"seed {seed}"
    train(long_run(tmp_path / "whole", io.StringIO()))
    assert final(tmp_path / "killed") == final(tmp_path / "whole"), f"seed {seed}"
    leftovers = [p.name for p in (tmp_path / "killed" / CHECKPOINTS).iterdir() if p.name[0] == "."]
    assert not leftovers


def test_sigkill_at_random_ends_with_the_same_bits(tmp_path: Path) -> None:
    kill_and_compare(tmp_path, kills=5, seed=random.SystemRandom().randrange(10**6))


@pytest.mark.slow
@pytest.mark.parametrize("round_", range(10))
def test_sigkill_at_random_many_times(tmp_path: Path, round_: int) -> None:
    kill_and_compare(tmp_path, kills=30, seed=random.SystemRandom().randrange(10**6))


def test_signals_end_with_their_exit_codes(tmp_path: Path) -> None:
    plans: list[dict[str, Any]] = [
        {"signal": number, "lines": 2, "after": 0.0}
        for number in (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)
    ]
    assert run_attempts(tmp_path, plans) == [75, 75, 130]
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    assert [a["exit"].split(" after")[0] for a in manifest["attempts"]] == [
        "stopped by SIGTERM",
        "stopped by SIGUSR1",
        "stopped by SIGINT",
    ]
