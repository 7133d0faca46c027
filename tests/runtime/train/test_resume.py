"""A run that was cut anywhere ends with the same bits as one that was not."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from linvit_runtime.train import Run, loop, read_config, train
from linvit_runtime.train.average import WeightAverage
from linvit_runtime.train.checkpoint import Checkpoint, CheckpointStore
from linvit_runtime.train.keys import Purpose
from linvit_runtime.train.metrics import Record, read_metrics
from linvit_runtime.train.run_folder import CHECKPOINTS, METRICS
from linvit_runtime.train.schedule import Schedule
from linvit_runtime.train.state import TrainState
from tests.runtime.train.small import STEPS, STEPS_PER_EPOCH, SmallNet, recipe, small_run

Final = tuple[dict[str, Tensor], list[Record]]


def final(directory: Path) -> Final:
    """Every tensor of the newest checkpoint, by part and name, and the metrics."""
    checkpoint = CheckpointStore(directory / CHECKPOINTS, pytest.fail).load_latest()
    assert checkpoint is not None
    assert checkpoint.step == STEPS
    tensors = {
        f"{part}/{name}": tensor
        for part, named in checkpoint.tensors.items()
        for name, tensor in named.items()
    }
    return tensors, read_metrics(directory / METRICS)


def same(left: Final, right: Final) -> bool:
    """Whether two runs ended with equal bits and equal records."""
    (tensors, metrics), (others, other_metrics) = left, right
    assert tensors.keys() == others.keys()
    return metrics == other_metrics and all(
        torch.equal(tensor.view(-1).view(torch.uint8), others[name].view(-1).view(torch.uint8))
        for name, tensor in tensors.items()
    )


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Final:
    """The run that nothing cuts."""
    directory = tmp_path_factory.mktemp("whole")
    result = train(small_run(directory))
    assert (result.step, result.finished, result.resumed_from) == (STEPS, True, None)
    return final(directory)


def test_two_equal_runs_are_equal(whole: Final, tmp_path: Path) -> None:
    train(small_run(tmp_path))
    assert same(final(tmp_path), whole)


def test_another_seed_is_another_run(whole: Final, tmp_path: Path) -> None:
    train(small_run(tmp_path, recipe=recipe(seed=4)))
    assert not same(final(tmp_path), whole)


CUTS = [1, 2, STEPS_PER_EPOCH - 1, STEPS_PER_EPOCH, STEPS_PER_EPOCH + 1, 7, STEPS - 1, STEPS]


@pytest.mark.parametrize("cut", sorted(set(CUTS)))
def test_resume_is_exact(whole: Final, tmp_path: Path, cut: int) -> None:
    first = train(small_run(tmp_path, stop_after=cut))
    assert (first.step, first.finished) == (cut, cut == STEPS)
    second = train(small_run(tmp_path))
    assert (second.resumed_from, second.step, second.finished) == (cut, STEPS, True)
    assert same(final(tmp_path), whole)


def test_many_cuts_are_exact(whole: Final, tmp_path: Path) -> None:
    for cut in range(1, STEPS + 1):
        train(small_run(tmp_path, stop_after=cut))
    assert same(final(tmp_path), whole)
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    assert manifest["restarts"] == STEPS - 1


def test_steps_after_the_checkpoint_are_taken_again(whole: Final, tmp_path: Path) -> None:
    """As after a crash between two checkpoints: newer metrics are there, and a torn last line."""
    settings: dict[str, Any] = {"recipe": recipe(save_every="5it", eval_every="4ep")}
    reference = tmp_path / "whole"
    train(small_run(reference, **settings))
    train(small_run(tmp_path / "cut", stop_after=5, **settings))
    with (tmp_path / "cut" / METRICS).open("a") as stream:
        stream.write('{"kind": "train", "step": 6, "loss": 99}\n{"kind": "train", "st')
    train(small_run(tmp_path / "cut", **settings))
    assert same(final(tmp_path / "cut"), final(reference))


def test_a_finished_run_is_left_alone(whole: Final, tmp_path: Path) -> None:
    train(small_run(tmp_path))
    again = train(small_run(tmp_path))
    assert (again.resumed_from, again.finished) == (STEPS, True)
    assert again.last is not None
    assert same(final(tmp_path), whole)


def test_an_evaluation_that_was_cut_off_is_caught_up(
    whole: Final, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A crash between saving step 6 and recording its evaluation must leave no gap."""
    train(small_run(tmp_path, stop_after=2 * STEPS_PER_EPOCH))
    path = tmp_path / METRICS
    lines = path.read_text().splitlines(keepends=True)
    assert '"eval"' in lines[-1]
    path.write_text("".join(lines[:-1]))
    train(small_run(tmp_path))
    assert same(final(tmp_path), whole)


# Each control loses one thing that a resume needs. If one of these runs still ended with the same
# bits, the tests above could not fail.


def forget_optimizer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("linvit_runtime.train.state.restore_optimizer", lambda *_: None)


def forget_average(monkeypatch: pytest.MonkeyPatch) -> None:
    restore = TrainState.restore

    def control(self: TrainState, checkpoint: Checkpoint, run: Run) -> None:
        restore(self, checkpoint, run)
        assert run.recipe.ema is not None
        self.average = WeightAverage(self.model, run.recipe.ema)

    monkeypatch.setattr(TrainState, "restore", control)


def forget_buffers(monkeypatch: pytest.MonkeyPatch) -> None:
    restore = TrainState.restore

    def control(self: TrainState, checkpoint: Checkpoint, run: Run) -> None:
        fresh = {name: buffer.clone() for name, buffer in self.model.named_buffers()}
        restore(self, checkpoint, run)
        self.model.load_state_dict(fresh, strict=False)

    monkeypatch.setattr(TrainState, "restore", control)


def count_from_here(function: Callable[..., Any], after: int) -> Callable[..., Any]:
    """`function(step, ...)`, with its step counted from the beginning of this process."""
    return lambda step, *arguments: function(step - after, *arguments)


def forget_position(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "batch_at", count_from_here(loop.batch_at, 4))


def forget_schedule(monkeypatch: pytest.MonkeyPatch) -> None:
    rate = Schedule.learning_rate
    monkeypatch.setattr(Schedule, "learning_rate", lambda self, step: rate(self, step - 4))


def forget_dropout(monkeypatch: pytest.MonkeyPatch) -> None:
    reseed = loop.reseed

    def control(seed: int, purpose: Purpose, step: int, rank: int) -> None:
        assert purpose == Purpose.DROPOUT
        reseed(seed, purpose, step - 4, rank)

    monkeypatch.setattr(loop, "reseed", control)


@pytest.mark.parametrize(
    "forget",
    [
        forget_optimizer,
        forget_average,
        forget_buffers,
        forget_position,
        forget_schedule,
        forget_dropout,
    ],
)
def test_forgetting_anything_shows(
    whole: Final,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    forget: Callable[[pytest.MonkeyPatch], None],
) -> None:
    train(small_run(tmp_path, stop_after=4))
    forget(monkeypatch)
    train(small_run(tmp_path))
    assert not same(final(tmp_path), whole)


def test_without_an_average_there_is_no_ema_file(tmp_path: Path) -> None:
    train(small_run(tmp_path, recipe=recipe(ema=None), stop_after=3))
    files = {path.name for path in (tmp_path / CHECKPOINTS / "step-00000003").iterdir()}
    assert files == {"model.safetensors", "optim.safetensors", "state.json", "MANIFEST.json"}
    train(small_run(tmp_path, recipe=recipe(ema=None)))


def test_tied_weights_are_saved_and_restored(tmp_path: Path) -> None:
    class Tied(SmallNet):
        def __init__(self) -> None:
            super().__init__()
            self.again = self.hidden

    train(small_run(tmp_path, Tied, stop_after=5))
    train(small_run(tmp_path, Tied))
    train(small_run(tmp_path / "whole", Tied))
    assert same(final(tmp_path), final(tmp_path / "whole"))


def test_the_state_says_where_the_run_stands(tmp_path: Path) -> None:
    train(small_run(tmp_path, stop_after=7))
    state = json.loads((tmp_path / CHECKPOINTS / "step-00000007" / "state.json").read_text())
    assert (state["step"], state["epoch"], state["position"]) == (7, 2, 1)
    assert state["recipe"] == read_config(tmp_path)["recipe"]
    assert state["data"]["sha256"] == small_run(tmp_path).data.sha256
