"""Two processes over gloo train what one process trains."""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from linvit_runtime.train import Dist, SetupProblem, train
from linvit_runtime.train.checkpoint import CheckpointStore
from linvit_runtime.train.metrics import read_metrics
from linvit_runtime.train.run_folder import CHECKPOINTS, METRICS
from tests.runtime.train.small import STEPS, recipe, small_run


class LayerNet(nn.Module):
    """No dropout and no batch statistics: nothing that depends on the number of processes."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.LayerNorm(16), nn.GELU())
        self.head = nn.Linear(16, 10)

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.body(images))


def processes_run(directory: Path, world: int = 2, stop_after: int = 0) -> None:
    """Train in `world` processes, as torchrun would start them."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join(sys.path),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "WORLD_SIZE": str(world),
    }
    started = [
        subprocess.Popen(
            [sys.executable, "-P", __file__, directory, str(stop_after)],
            env=environment | {"RANK": str(rank), "LOCAL_RANK": str(rank)},
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(world)
    ]
    for process in started:
        _, errors = process.communicate()
        assert process.returncode == 0, errors


def weights(directory: Path) -> Mapping[str, Tensor]:
    checkpoint = CheckpointStore(directory / CHECKPOINTS, pytest.fail).load_latest()
    assert checkpoint is not None
    assert checkpoint.step == STEPS
    return checkpoint.tensors["model"]


@pytest.mark.slow
def test_two_processes_equal_one(tmp_path: Path) -> None:
    train(small_run(tmp_path / "one", LayerNet))
    processes_run(tmp_path / "two")
    for name, tensor in weights(tmp_path / "one").items():
        torch.testing.assert_close(weights(tmp_path / "two")[name], tensor, rtol=1e-4, atol=1e-5)
    one, two = (read_metrics(tmp_path / name / METRICS) for name in ("one", "two"))
    assert [r["loss"] for r in two] == pytest.approx([r["loss"] for r in one], rel=1e-4)
    assert [r["step"] for r in two] == [r["step"] for r in one], "one process writes"
    processes_run(tmp_path / "cut", stop_after=5)
    processes_run(tmp_path / "cut")
    for name, tensor in weights(tmp_path / "two").items():
        assert torch.equal(weights(tmp_path / "cut")[name], tensor), "resuming is exact here too"
    manifest = json.loads((tmp_path / "cut" / "manifest.json").read_text())
    assert manifest["restarts"] == 1


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


if __name__ == "__main__":
    train(
        small_run(Path(sys.argv[1]), LayerNet, recipe=recipe(), stop_after=int(sys.argv[2]) or None)
    )
