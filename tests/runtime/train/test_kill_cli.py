"""The promise of the command line: killed at random and resumed, it ends with the same bits."""

import hashlib
import os
import random
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from safetensors.torch import load_file

from linvit_runtime.train.run_folder import CHECKPOINTS

STEPS = 21  # of one epoch
SAVE_EVERY = 3
KILLS = 3
# A kill lets an attempt get two checkpoints further at most: the last one must find steps to take.
assert 2 * SAVE_EVERY * KILLS < STEPS


def start(directory: Path, seed: int = 0) -> subprocess.Popen[str]:
    """Start `linvit train` on the shipped spec, going on from what is in `directory`."""
    return subprocess.Popen(
        [
            *(sys.executable, "-m", "linvit_dsl", "train", "ripplevit:RippleViTDigits"),
            *("--run", str(directory), "--resume", "auto", "--device", "cpu", "--seed", str(seed)),
            *("--set", "schedule.epochs=1", "schedule.warmup=5it"),
            *("--set", f"save_every={SAVE_EVERY}it"),
        ],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process: subprocess.Popen[str]) -> str:
    """What it printed, once it has come to its end."""
    output, errors = process.communicate()
    assert process.returncode == 0, errors
    return output


def newest(directory: Path) -> int:
    """The step of the newest checkpoint; 0 without one."""
    paths = (directory / CHECKPOINTS).glob("step-*")
    return max((int(path.name.removeprefix("step-")) for path in paths), default=0)


def kill(process: subprocess.Popen[str], directory: Path, draw: random.Random, step: float) -> None:
    """SIGKILL at random: while it starts, or around the first checkpoints that it writes.

    Args:
        process: the attempt.
        directory: its run folder.
        draw: decides when.
        step: seconds that a step takes.
    """
    if draw.random() < 0.25:
        time.sleep(draw.uniform(0, 2))
    else:
        before = newest(directory)
        while newest(directory) == before and process.poll() is None:
            time.sleep(0.005)
        time.sleep(draw.uniform(0, SAVE_EVERY * step))
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL, "it ended before it was killed"


def digests(directory: Path) -> dict[str, str]:
    """SHA-256 of every tensor of the final checkpoint: weights, average, optimizer."""
    path = directory / CHECKPOINTS / f"step-{STEPS:08d}"
    return {
        f"{part}:{name}": hashlib.sha256(tensor.numpy().tobytes()).hexdigest()
        for part in ("model", "ema", "optim")
        for name, tensor in load_file(path / f"{part}.safetensors").items()
    }


@pytest.mark.slow
def test_sigkill_at_random_and_resume_end_with_the_same_bits(tmp_path: Path) -> None:
    whole, killed, other = tmp_path / "whole", tmp_path / "killed", tmp_path / "other"
    lines = finish(start(whole)).splitlines()
    assert lines[0] == f"run folder {whole}"
    end = re.fullmatch(
        rf"finished after step {STEPS} in ([\d.]+) s; test top-1 [\d.]+ %, loss [\d.]+", lines[-1]
    )
    assert end, lines[-1]
    seed = random.SystemRandom().randrange(10**6)
    draw = random.Random(seed)
    with start(other, seed=1) as control:  # meanwhile: most of this test is importing torch
        for _ in range(KILLS):
            kill(start(killed), killed, draw, step=float(end[1]) / STEPS)
        assert f"resuming after step {newest(killed)}" in finish(start(killed)), f"seed {seed}"
        finish(control)
    assert digests(killed) == digests(whole), f"seed {seed}"
    different = {name for name, digest in digests(other).items() if digest != digests(whole)[name]}
    assert {f"model:{name}" for name in ("embed.proj.weight", "head.weight")} <= different
