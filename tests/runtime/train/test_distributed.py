"""Two processes over gloo train what one process trains."""

import importlib
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from torch import Tensor, distributed, nn

from linvit_runtime.train import Dist, SetupProblem, train
from linvit_runtime.train.checkpoint import CheckpointStore
from linvit_runtime.train.metrics import read_metrics
from linvit_runtime.train.run_folder import CHECKPOINTS, METRICS
from tests.runtime.train.small import STEPS, small_run


class LayerNet(nn.Module):
    """No dropout and no batch statistics: nothing that depends on the number of processes."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.LayerNorm(16), nn.GELU())
        self.head = nn.Linear(16, 10)

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.body(images))


def run_in_two(*attempts: tuple[Path, int | None], rounds: int = 0) -> None:
    """Train in each folder up to a step, in two processes that join as those of torchrun do.

    With `rounds` they only join and leave, that often.
    """
    plan = json.dumps([(str(directory), last, rounds) for directory, last in attempts])
    done = subprocess.run(
        [sys.executable, "-P", __file__, plan],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"},
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def weights(directory: Path) -> Mapping[str, Tensor]:
    checkpoint = CheckpointStore(directory / CHECKPOINTS, pytest.fail).load_latest()
    assert checkpoint is not None
    assert checkpoint.step == STEPS
    return checkpoint.tensors["model"]


def test_two_processes_equal_one(tmp_path: Path) -> None:
    train(small_run(tmp_path / "one", LayerNet))
    cut = tmp_path / "cut"
    run_in_two((tmp_path / "two", None), (cut, 5), (cut, None))
    for name, tensor in weights(tmp_path / "one").items():
        torch.testing.assert_close(weights(tmp_path / "two")[name], tensor, rtol=1e-4, atol=1e-5)
    one, two = (read_metrics(tmp_path / name / METRICS) for name in ("one", "two"))
    assert [r["loss"] for r in two] == pytest.approx([r["loss"] for r in one], rel=1e-4)
    assert [r["step"] for r in two] == [r["step"] for r in one], "one process writes"
    assert read_metrics(cut / METRICS) == two, "resuming is exact here too"
    for name, tensor in weights(tmp_path / "two").items():
        assert torch.equal(weights(cut)[name], tensor)
    manifest = json.loads((cut / "manifest.json").read_text())
    assert manifest["restarts"] == 1


def test_a_wrapped_model_may_outlive_the_group(tmp_path: Path) -> None:
    """It must not be the last to hold it: now and then such a round would wait for ever."""
    run_in_two((tmp_path, None), rounds=60)


def test_alone_nothing_is_shared() -> None:
    dist = Dist.from_env("cpu")
    assert (dist.rank, dist.world, dist.main, dist.device.type) == (0, 1, True, "cpu")
    batch = torch.arange(6)
    assert torch.equal(dist.share(batch), batch)
    assert dist.any(True)
    assert not dist.any(False)


def test_processes_share_a_batch_without_overlap() -> None:
    batch = torch.arange(6)
    shares = [Dist(rank, 3, torch.device("cpu")).share(batch) for rank in range(3)]
    assert torch.equal(torch.cat(shares), batch)


def test_a_batch_that_cannot_be_shared_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    three = Dist(0, 3, torch.device("cpu"))
    monkeypatch.setattr(Dist, "from_env", lambda _device: three)
    monkeypatch.setattr(Dist, "__exit__", lambda *_: None)
    with pytest.raises(SetupProblem, match="`batch` = 32 cannot be shared by 3 processes"):
        train(small_run(tmp_path))


def test_no_process_waits_for_a_folder_that_the_main_one_cannot_use(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    second = Dist(1, 2, torch.device("cpu"))
    monkeypatch.setattr(Dist, "from_env", lambda _device: second)
    monkeypatch.setattr(Dist, "__exit__", lambda *_: None)
    monkeypatch.setattr(Dist, "any", lambda _dist, flag: not flag)  # the main one has failed
    with pytest.raises(SetupProblem, match="the main process cannot use the run folder"):
        train(small_run(tmp_path))
    assert not list(tmp_path.iterdir()), "and it alone writes"


def join_and_leave(rank: int, meeting: Path) -> None:
    """Average one gradient, leave the group, and let go of the model after that."""
    # By a file: hundreds of ports would not stay free.
    distributed.init_process_group("gloo", f"file://{meeting}", rank=rank, world_size=2)
    with Dist(rank, 2, torch.device("cpu")) as dist:
        net = dist.wrap(LayerNet())
        net(torch.ones(2, 64)).sum().backward()
        dist.any(False)
    del net


def start(rank: int, directory: Path, last: int | None, rounds: int) -> int:
    """Fork a process of the two; give its id."""
    pid = os.fork()
    if pid == 0:
        signal.alarm(60)  # rather dead than waiting for ever
        os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank)}
        if not rounds:
            train(small_run(directory, LayerNet, stop_after=last))
        for round_ in range(rounds):
            join_and_leave(rank, directory / str(round_))
        os._exit(0)
    return pid


if __name__ == "__main__":
    # Both are forked from here, after the imports, which take longer than the training.
    importlib.import_module("torch._dynamo")
    for folder, *numbers in json.loads(sys.argv[1]):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": "2"}
        started = [start(rank, Path(folder), *numbers) for rank in range(2)]
        assert [os.waitpid(pid, 0)[1] for pid in started] == [0, 0]
