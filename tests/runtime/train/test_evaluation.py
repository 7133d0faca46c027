"""Accuracy and loss, against sums over single images; batches, records and the average."""

import json
from pathlib import Path
from typing import Literal

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from linvit_runtime.train import CheckpointProblem, evaluate, load_weights, train
from linvit_runtime.train.average import WeightAverage
from linvit_runtime.train.batches import batch_at
from linvit_runtime.train.metrics import MetricsLog, read_metrics
from linvit_runtime.train.run_folder import METRICS
from tests.runtime.train.small import STEPS, SmallNet, recipe, small_data, small_run


@pytest.mark.parametrize("split", ["train", "test"])
@pytest.mark.parametrize("batch", [1, 7, 256])
def test_evaluation_equals_a_sum_over_images(split: Literal["train", "test"], batch: int) -> None:
    torch.manual_seed(0)
    data, model = small_data(), SmallNet().train()
    found = evaluate(model, data, split=split, batch=batch)
    assert model.training, "the mode is put back"
    images = data.train_images if split == "train" else data.test_images
    labels = data.train_labels if split == "train" else data.test_labels
    model.eval()
    top1 = top5 = loss = 0.0
    for image, label in zip(images, labels, strict=True):
        scores = model((image[None].float() / 16 - data.mean[0]) / data.std[0])[0]
        better = int((scores > scores[label]).sum())
        top1 += better == 0
        top5 += better < 5
        loss -= F.log_softmax(scores.double(), 0)[label].item()
    assert found is not None
    assert found.images == len(images)
    assert (found.top1, found.top5) == (top1 / len(images), top5 / len(images))
    assert found.loss == pytest.approx(loss / len(images), rel=1e-5)


def test_bfloat16_is_close_and_not_equal() -> None:
    torch.manual_seed(0)
    data, model = small_data(), SmallNet()
    exact, rounded = evaluate(model, data), evaluate(model, data, precision="bfloat16")
    assert exact is not None
    assert rounded is not None
    assert 0 < abs(exact.loss - rounded.loss) < 0.02


def test_a_batch_depends_on_the_step_alone() -> None:
    data, settings = small_data(), recipe()
    batches = {step: batch_at(step, data, settings) for step in (4, 5)}
    batch_at(9, data, settings)
    again = batch_at(4, data, settings)
    assert torch.equal(again.images, batches[4].images)
    assert torch.equal(again.targets, batches[4].targets)
    assert not torch.equal(again.images, batches[5].images)
    assert not torch.equal(again.images, batch_at(4, data, recipe(seed=4)).images)


def test_a_plain_batch_holds_the_images_named() -> None:
    data = small_data()
    batch = batch_at(1, data, recipe(mixup=None, data={"name": "digits", "batch": 8}))
    assert torch.equal(batch.images, data.normalize(data.train_images[batch.indices]))
    assert torch.equal(batch.targets, data.train_labels[batch.indices])


def test_flips_and_crops_follow_the_recipe() -> None:
    data = small_data()
    section = {"name": "digits", "batch": 8, "augment": [{"name": "hflip", "probability": 1.0}]}
    batch = batch_at(1, data, recipe(mixup=None, data=section))
    assert torch.equal(batch.images, data.normalize(data.train_images[batch.indices].flip(3)))


def test_mixup_targets_are_distributions() -> None:
    batch = batch_at(0, small_data(), recipe())
    torch.testing.assert_close(batch.targets.sum(1), torch.ones(32))
    assert ((batch.targets > 0).sum(1) == 2).any()


def test_the_average_follows_the_weights() -> None:
    model = nn.BatchNorm1d(1)
    mean = dict(model.named_buffers())["running_mean"]
    average = WeightAverage(model, decay=0.9)
    averaged = average.model.state_dict()
    expected = 1.0
    for step in range(1, 200):
        model.weight.data.fill_(step)
        mean.fill_(step)
        average.update(model, step)
        decay = min(0.9, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * step
        assert averaged["weight"].item() == pytest.approx(expected, rel=1e-5)
        assert averaged["running_mean"].item() == step
    assert not average.model.training
    assert not any(p.requires_grad for p in average.model.parameters())


def test_the_best_and_the_last_weights_can_be_loaded(tmp_path: Path) -> None:
    result = train(small_run(tmp_path, recipe=recipe(eval_every="1it")))
    for which in ("best", "last"):
        model = SmallNet()
        step = load_weights(tmp_path, model, which)
        assert step == (result.best_step if which == "best" else STEPS)
        assert evaluate(model, small_data()) == (result.best if which == "best" else result.last)


def test_weights_of_another_architecture_are_refused(tmp_path: Path) -> None:
    train(small_run(tmp_path, stop_after=1))
    with pytest.raises(CheckpointProblem, match=r"`bias` has nothing there and shape \[3\] here"):
        load_weights(tmp_path, nn.Linear(2, 3))
    model = SmallNet()
    model.head = nn.Linear(16, 7)
    with pytest.raises(CheckpointProblem, match=r"shape \[10\] there and shape \[7\] here"):
        load_weights(tmp_path, model)


def test_metrics_have_one_record_per_step(tmp_path: Path) -> None:
    train(small_run(tmp_path))
    records = read_metrics(tmp_path / METRICS)
    assert [r["step"] for r in records if r["kind"] == "train"] == list(range(1, STEPS + 1))
    assert [r["step"] for r in records if r["kind"] == "eval"] == [6, 12]
    assert [r["epoch"] for r in records if r["kind"] == "train"] == [
        1,
        1,
        1,
        2,
        2,
        2,
        3,
        3,
        3,
        4,
        4,
        4,
    ]
    assert records[0].keys() == {"kind", "step", "epoch", "loss", "grad_norm", "lr"}
    for line in (tmp_path / METRICS).read_text().splitlines():
        json.loads(line)


def test_a_torn_or_foreign_line_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / METRICS
    path.write_bytes(
        b'{"kind": "train", "step": 1}\n\xff\xfe\n[1]\n{"step": 2}\n{"kind": "train", "s'
    )
    assert read_metrics(path) == [{"kind": "train", "step": 1}]
    with MetricsLog(path, step=1) as log:
        log.append("train", 2, {"loss": 0.5})
    assert [r["step"] for r in read_metrics(path)] == [1, 2]
    assert path.read_bytes().count(b"\n") == 2


def test_the_first_of_equal_evaluations_is_the_best(tmp_path: Path) -> None:
    with MetricsLog(tmp_path / METRICS, step=0) as log:
        assert log.best() is None
        for step, top1 in [(1, 0.5), (2, 0.9), (3, 0.9), (4, 0.1)]:
            log.append("eval", step, {"top1": top1})
        best = log.best()
    assert best is not None
    assert best["step"] == 2


# Losses of the first twenty steps, to be kept by every change that is not meant to change training.
# Tolerance: float32 sums differ between processors.
LOSSES = [
    *(2.458792, 2.379991, 2.31, 2.381243, 2.2653, 2.274963, 2.300892, 2.249007, 2.20409, 2.236386),
    *(2.237842, 2.133725, 2.167106, 2.085202, 2.157556, 2.151287, 2.108302, 2.07109, 2.061765),
    2.175491,
]


def test_the_first_losses_are_the_recorded_ones(tmp_path: Path) -> None:
    settings = recipe(schedule={"epochs": 7, "warmup": "2it", "min_lr": 1e-4})
    train(small_run(tmp_path, recipe=settings, stop_after=20))
    losses = [r["loss"] for r in read_metrics(tmp_path / METRICS) if r["kind"] == "train"]
    assert losses == pytest.approx(LOSSES, rel=1e-4)
