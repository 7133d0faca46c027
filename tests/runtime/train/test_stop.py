"""Signals, NaN and full disks: how a run ends early, and what it leaves."""

import errno
import json
import os
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from linvit_runtime.train import (
    Diverged,
    SetupProblem,
    Stopped,
    StorageProblem,
    loop,
    signals,
    train,
)
from linvit_runtime.train import checkpoint as checkpoint_module
from linvit_runtime.train.checkpoint import CheckpointStore
from linvit_runtime.train.run_folder import CHECKPOINTS
from tests.runtime.train.small import STEPS, SmallNet, printed, recipe, small_run
from tests.runtime.train.test_resume import final, same

Forward = Callable[[Tensor], Tensor]


class Calls(SmallNet):
    """Does something at the n-th forward pass of the process, counted from 1."""

    def __init__(self, at: int, action: "Action", mode: bool | None = None) -> None:
        super().__init__()
        self.passes, self.at, self.action, self.mode = 0, at, action, mode

    def forward(self, images: Tensor) -> Tensor:
        if self.mode is None or self.mode == self.training:
            self.passes += 1
            if self.passes == self.at:
                return self.action(self, images, super().forward)
        return super().forward(images)


Action = Callable[[Calls, Tensor, Forward], Tensor]


def raising(number: int) -> Action:
    """Send ourselves a real signal in the middle of a forward pass."""

    def action(_model: Calls, images: Tensor, forward: Forward) -> Tensor:
        signal.raise_signal(number)
        return forward(images)

    return action


def steps(directory: Path) -> list[int]:
    """The steps with a checkpoint."""
    return CheckpointStore(directory / CHECKPOINTS, pytest.fail).steps()


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGTERM, 75), (signal.SIGUSR1, 75), (signal.SIGINT, 130)]
)
def test_a_signal_finishes_the_step_and_saves(
    tmp_path: Path, number: signal.Signals, code: int
) -> None:
    before = signal.getsignal(number)
    run = small_run(tmp_path, lambda: Calls(5, raising(number), mode=True))
    rare = replace(run, recipe=recipe(save_every="4ep", eval_every="4ep"))
    with pytest.raises(Stopped) as caught:
        train(rare)
    assert (caught.value.exit_code, caught.value.step) == (code, 5)
    assert steps(tmp_path) == [5], "the step during which it came was finished, and no other"
    assert signal.getsignal(number) == before
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    name = signal.Signals(number).name
    assert manifest["attempts"][-1]["exit"] == f"stopped by {name} after step 5"


def test_a_signal_during_evaluation_does_not_wait_for_its_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = Calls(2, raising(signal.SIGTERM), mode=False)
    evaluate = loop.evaluate
    monkeypatch.setattr(loop, "evaluate", lambda *a, **k: evaluate(*a, **k, batch=1))
    with pytest.raises(Stopped):
        train(small_run(tmp_path, lambda: model, recipe=recipe(ema=None)))
    assert model.passes == 2, "the other 58 images were not waited for"
    assert steps(tmp_path)[-1] == 6


def test_a_stopped_run_resumes_to_the_same_bits(tmp_path: Path) -> None:
    train(small_run(tmp_path / "whole"))
    for at in (2, 3, 1):
        with pytest.raises(Stopped):
            train(small_run(tmp_path / "cut", lambda at=at: Calls(at, raising(signal.SIGTERM))))
    train(small_run(tmp_path / "cut"))
    assert same(final(tmp_path / "cut"), final(tmp_path / "whole"))


def test_the_second_signal_ends_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    codes = []
    monkeypatch.setattr(signals.os, "_exit", codes.append)
    with signals.stop_on_signal() as stop:
        assert not stop
        signal.raise_signal(signal.SIGINT)
        assert stop
        assert not codes
        signal.raise_signal(signal.SIGTERM)
    assert codes == [143]


def explode(_module: nn.Module, _inputs: object, output: Tensor) -> Tensor:
    """A forward hook that makes the output infinite."""
    return output * float("inf")


def poison(where: str) -> Action:
    """A forward pass that makes NaN in one place."""

    def action(model: Calls, images: Tensor, forward: Forward) -> Tensor:
        if where == "input":
            images.fill_(float("nan"))
        elif where == "layer":
            model.norm.register_forward_hook(explode)
        elif where == "gradient":
            scores = forward(images)
            scores.register_hook(lambda gradient: gradient * float("nan"))
            return scores
        return forward(images)

    return action


@pytest.mark.parametrize(
    ("where", "named"),
    [("input", "the input"), ("layer", "layer norm"), ("gradient", "the gradient of hidden")],
)
def test_nan_takes_no_step(tmp_path: Path, where: str, named: str) -> None:
    train(small_run(tmp_path, stop_after=5))
    store = CheckpointStore(tmp_path / CHECKPOINTS, pytest.fail)
    before = {path: path.read_bytes() for path in store.path(5).iterdir()}
    model = Calls(1, poison(where), mode=True)
    with pytest.raises(Diverged) as caught:
        train(small_run(tmp_path, lambda: model))
    assert caught.value.exit_code == 3
    assert f"first seen in {named}" in caught.value.message
    assert {path: path.read_bytes() for path in store.path(5).iterdir()} == before
    saved = store.load(5).tensors["model"]
    for name, parameter in model.named_parameters():
        assert torch.equal(parameter, saved[name]), f"{name} was changed"
    assert store.steps()[-1] == 5, "nothing was saved after it"
    report = json.loads((tmp_path / "crash-5" / "report.json").read_text())
    assert report["step"] == 5
    assert len(report["image_indices"]) == 32
    assert report["first_seen_in"].startswith(named)


def test_a_nan_weight_is_named(tmp_path: Path) -> None:
    def action(model: Calls, images: Tensor, forward: Forward) -> Tensor:
        model.head.weight.data[3, 2] = float("nan")
        return forward(images)

    with pytest.raises(Diverged, match=r"first seen in weight head\.weight"):
        train(small_run(tmp_path, lambda: Calls(2, action, mode=True)))


def test_an_infinite_loss_is_named(tmp_path: Path) -> None:
    class Huge(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.head = nn.Linear(64, 10)

        def forward(self, images: Tensor) -> Tensor:
            return self.head(images.flatten(1)) * 3e38

    with pytest.raises(Diverged, match=r"loss (inf|nan)"):
        train(small_run(tmp_path, Huge))


def test_nan_in_the_average_only_is_found_by_the_evaluation(tmp_path: Path) -> None:
    def action(_model: Calls, images: Tensor, forward: Forward) -> Tensor:
        return forward(images) * float("nan")

    with pytest.raises(Diverged, match="test loss is nan after step 6"):
        train(small_run(tmp_path, lambda: Calls(1, action, mode=False)))
    assert steps(tmp_path)[-1] == 5


class FullDisk:
    """Fails every write of a checkpoint from the n-th on."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, first: int, last: int = 10**9) -> None:
        self.saves, self.first, self.last = 0, first, last
        write = checkpoint_module.CheckpointStore._write

        def full(store: CheckpointStore, step: int, contents: dict[str, bytes]) -> None:
            self.saves += 1
            if self.first <= self.saves <= self.last:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            write(store, step, contents)

        monkeypatch.setattr(checkpoint_module.CheckpointStore, "_write", full)


def test_a_full_disk_ends_the_run_at_the_third_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    FullDisk(monkeypatch, first=4)
    with pytest.raises(StorageProblem, match="No space left") as caught:
        train(small_run(tmp_path))
    assert caught.value.exit_code == 74
    assert "bytes" in caught.value.message
    assert steps(tmp_path)[-1] == 3
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    assert "No space left" in manifest["attempts"][-1]["exit"]
    monkeypatch.undo()
    train(small_run(tmp_path))
    train(small_run(tmp_path / "whole"))
    assert same(final(tmp_path), final(tmp_path / "whole"))


def test_a_disk_that_is_full_for_a_moment_is_only_warned_about(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The fourth save and its second try fail; the fifth works.
    FullDisk(monkeypatch, first=4, last=5)
    run = small_run(tmp_path)
    assert train(run).finished
    assert "warning: cannot save" in printed(run)
    assert steps(tmp_path)[-1] == STEPS


def test_metrics_that_cannot_be_written_end_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_descriptor: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr("linvit_runtime.train.metrics.os.fsync", fail)
    with pytest.raises(StorageProblem):
        train(small_run(tmp_path, stop_after=1))


def test_a_second_process_is_kept_out(tmp_path: Path) -> None:
    def action(_model: Calls, images: Tensor, forward: Forward) -> Tensor:
        with pytest.raises(SetupProblem, match="another process is training"):
            train(small_run(tmp_path))
        return forward(images)

    train(small_run(tmp_path, lambda: Calls(2, action, mode=True), stop_after=3))
