"""The learning rate, against torch's own schedulers and the formula's landmarks."""

from typing import Any

import pytest
import torch
from torch.optim.lr_scheduler import CosineAnnealingLR

from linvit_runtime.train import SetupProblem
from linvit_runtime.train.schedule import Schedule
from tests.runtime.train.small import recipe


def schedule(images: int = 100, **changes: Any) -> Schedule:
    """20 epochs of 10 steps, 2 of them warm-up, to a rate of 0.001."""
    section = {"epochs": 20, "warmup": "2ep", "min_lr": 0.001, **changes}
    return Schedule.of(
        recipe(data={"name": "digits", "batch": 10}, schedule=section, save_every="25it"), images
    )


def test_durations_become_steps() -> None:
    made = schedule()
    assert (made.total, made.steps_per_epoch, made.warmup) == (200, 10, 20)
    assert (made.eval_every, made.save_every) == (20, 25)
    assert schedule(images=109).steps_per_epoch == 10, "the incomplete batch is left out"


def test_warm_up_is_linear_and_reaches_the_peak() -> None:
    made = schedule()
    rates = [made.learning_rate(t) for t in range(20)]
    assert rates == pytest.approx([0.01 * (t + 1) / 20 for t in range(20)])
    assert made.learning_rate(20) == pytest.approx(0.01)


def test_the_decay_is_torchs_cosine() -> None:
    made = schedule()
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.01)
    cosine = CosineAnnealingLR(optimizer, T_max=180, eta_min=0.001)
    for step in range(20, 200):
        assert made.learning_rate(step) == pytest.approx(optimizer.param_groups[0]["lr"], rel=1e-9)
        optimizer.step()
        cosine.step()
    assert 0.001 < made.learning_rate(199) < 0.00101


def test_without_decay_the_rate_stays() -> None:
    made = schedule(decay="none")
    assert {made.learning_rate(t) for t in range(20, 200)} == {0.01}


def test_evaluations_and_checkpoints_include_the_last_step() -> None:
    made = schedule()
    assert [t for t in range(201) if made.evaluates_at(t)] == list(range(20, 201, 20))
    assert [t for t in range(201) if made.saves_at(t)] == list(range(25, 201, 25))
    cut = schedule(images=90)
    assert [t for t in range(181) if cut.saves_at(t)] == [25, 50, 75, 100, 125, 150, 175, 180]


@pytest.mark.parametrize(
    ("images", "warmup", "message"),
    [(9, "0it", "`batch` = 10 is larger than .* 9 images"), (100, "200it", "200 steps, does not")],
)
def test_what_cannot_be_run_is_refused(images: int, warmup: str, message: str) -> None:
    with pytest.raises(SetupProblem, match=message):
        schedule(images=images, warmup=warmup)
