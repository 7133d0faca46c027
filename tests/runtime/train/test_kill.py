"""Real processes, really killed.

15 times by default; `LINVIT_KILLS=500 ./dev test tests/runtime/train/test_kill.py` kills 500 times.
"""

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
STEPS = EPOCHS * STEPS_PER_EPOCH
KILLS_PER_ROUND = 5
ROUNDS = -(-int(os.environ.get("LINVIT_KILLS", "15")) // KILLS_PER_ROUND)
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
    path = store.path(STEPS)
    files = ("model.safetensors", "optim.safetensors", "ema.safetensors")
    return [(path / file).read_bytes() for file in files], read_metrics(directory / METRICS)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run that nobody killed."""
    directory = tmp_path_factory.mktemp("whole")
    train(long_run(directory, io.StringIO()))
    return directory


@pytest.mark.parametrize("round_", range(ROUNDS))
def test_sigkill_at_random_ends_with_the_same_bits(
    tmp_path: Path, whole: Path, round_: int
) -> None:
    seed = random.SystemRandom().randrange(10**6)
    draw = random.Random(seed)
    # Few enough steps in each attempt that the run cannot end before the last one.
    most_lines = STEPS // (2 * KILLS_PER_ROUND)
    plans: list[dict[str, Any]] = [
        {
            "signal": signal.SIGKILL,
            "lines": draw.randint(0, most_lines),
            "after": draw.uniform(0, 0.02),
        }
        for _ in range(KILLS_PER_ROUND)
    ]
    codes = run_attempts(tmp_path, [*plans, UNTIL_THE_END])
    assert codes == [-signal.SIGKILL] * KILLS_PER_ROUND + [0], f"seed {seed}"
    assert final(tmp_path) == final(whole), f"seed {seed}"
    assert not [p.name for p in (tmp_path / CHECKPOINTS).iterdir() if p.name[0] == "."]


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
