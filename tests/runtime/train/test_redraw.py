"""Random features: how they are drawn, when they are drawn anew, and that a resume repeats it."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import linvit_dsl
from linvit_runtime import init, layers
from linvit_runtime.train import evaluate, loop, redraw_features, train
from linvit_runtime.train.checkpoint import CheckpointStore
from linvit_runtime.train.keys import Purpose, generator
from linvit_runtime.train.run_folder import CHECKPOINTS
from tests.runtime.train.small import STEPS, SmallNet, small_data, small_run

PERIOD = 4


class FeatureNet(SmallNet):
    """`SmallNet` with random features between its layers, of two sizes."""

    omega: Tensor
    other: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("omega", init.orthogonal_features(torch.empty(16, 16)))
        layers.redraw_every(PERIOD, self, "omega")
        self.register_buffer("other", init.orthogonal_features(torch.empty(16, 16)))
        layers.redraw_every(2 * PERIOD, self, "other")

    def forward(self, images: Tensor) -> Tensor:
        features = self.norm(self.hidden(images.flatten(1))) @ self.omega.T @ self.other.T
        return self.head(self.dropout(features.relu()))


# The draw


@pytest.mark.parametrize(("count", "width"), [(16, 16), (40, 16), (5, 16), (7, 1)])
def test_rows_are_orthogonal_within_blocks(count: int, width: int) -> None:
    rows = init.orthogonal_rows(count, width, generator(1))
    assert rows.shape == (count, width)
    for start in range(0, count, width):
        block = rows[start : start + width]
        products = block @ block.T
        assert (products - products.diag().diag()).abs().max() < 1e-12
    independent = torch.randn(count, width, generator=generator(1), dtype=torch.float64)
    if min(count, width) > 1:
        products = independent[:width] @ independent[:width].T
        assert (products - products.diag().diag()).abs().max() > 0.1, "the control"


def test_every_row_is_a_gaussian_vector() -> None:
    """Mean 0, variance 1 in every direction, and lengths of chi distribution."""
    width = 8
    rows = torch.stack([init.orthogonal_rows(width, width, generator(s)) for s in range(4000)])
    for row in (0, width - 1):
        sample = rows[:, row]
        assert sample.mean(0).abs().max() < 0.08
        covariance = sample.T @ sample / len(sample)
        torch.testing.assert_close(covariance, torch.eye(width).double(), rtol=0, atol=0.12)
        assert sample.norm(dim=1).square().var().item() == pytest.approx(2 * width, rel=0.15)


def test_a_draw_follows_from_its_generator() -> None:
    draws = [init.orthogonal_rows(20, 8, generator(seed)) for seed in (1, 1, 2)]
    assert torch.equal(draws[0], draws[1])
    assert not torch.equal(draws[0], draws[2])


# When


def features(model: nn.Module) -> dict[str, Tensor]:
    return {name: t.clone() for name, t in model.named_buffers() if name in ("omega", "other")}


def changed(model: FeatureNet, **when: int) -> set[str]:
    """The buffers that a call of `redraw_features` changes."""
    before = features(model)
    count = redraw_features(model, **when)
    after = features(model)
    names = {name for name in before if not torch.equal(before[name], after[name])}
    assert count == len(names)
    return names


def test_features_are_drawn_when_they_are_due() -> None:
    model = FeatureNet()
    assert changed(model, seed=0, step=PERIOD) == {"omega"}
    assert changed(model, seed=0, step=2 * PERIOD) == {"omega", "other"}
    for step in (0, 1, PERIOD - 1, PERIOD + 1):
        assert changed(model, seed=0, step=step) == set()


def test_in_evaluation_nothing_is_drawn() -> None:
    model = FeatureNet().eval()
    assert changed(model, seed=0, step=2 * PERIOD) == set()
    before = features(model)
    evaluate(model, small_data())
    assert all(torch.equal(before[name], now) for name, now in features(model).items())


def test_a_period_of_0_is_never() -> None:
    model = FeatureNet()
    for name in ("omega", "other"):
        layers.redraw_every(0, model, name)
    assert changed(model, seed=0, step=2 * PERIOD) == set()


def test_the_numbers_follow_from_seed_and_step_alone() -> None:
    """So every process of a run has the same, whatever its weights and its generators."""
    torch.manual_seed(1)
    one = FeatureNet()
    torch.manual_seed(2)
    two = nn.Sequential(FeatureNet())
    state = torch.get_rng_state()
    for model in (one, two):
        redraw_features(model, seed=5, step=2 * PERIOD)
    assert torch.equal(torch.get_rng_state(), state), "no global generator was used"
    inner = two[0]
    assert isinstance(inner, FeatureNet)
    assert torch.equal(one.omega, inner.omega)
    assert not torch.equal(one.omega, one.other), "each buffer has its own"
    expected = init.orthogonal_rows(16, 16, generator(5, Purpose.FEATURES, 2 * PERIOD, 0))
    assert torch.equal(one.omega, expected.float())
    for seed, step in ((6, 2 * PERIOD), (5, PERIOD)):
        redraw_features(inner, seed=seed, step=step)
        assert not torch.equal(one.omega, inner.omega)


def test_features_survive_copies_and_moves() -> None:
    model = deepcopy(FeatureNet()).double()
    assert redraw_features(model, seed=0, step=PERIOD) == 1
    assert model.omega.dtype == torch.float64


# In a run


def final(directory: Path) -> dict[str, Tensor]:
    checkpoint = CheckpointStore(directory / CHECKPOINTS, pytest.fail).load_latest()
    assert checkpoint is not None
    assert checkpoint.step == STEPS
    return {f"{part}/{k}": t for part, kept in checkpoint.tensors.items() for k, t in kept.items()}


def same(left: dict[str, Tensor], right: dict[str, Tensor]) -> bool:
    assert left.keys() == right.keys()
    return all(torch.equal(tensor, right[name]) for name, tensor in left.items())


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Tensor]:
    directory = tmp_path_factory.mktemp("whole")
    train(small_run(directory, FeatureNet))
    return final(directory)


def test_the_loop_draws_before_the_steps_that_are_due(whole: dict[str, Tensor]) -> None:
    """The last draw came before step 8 of 12 (from 0), and the average has it too."""
    assert STEPS == 3 * PERIOD
    expected = init.orthogonal_rows(16, 16, generator(3, Purpose.FEATURES, 2 * PERIOD, 0)).float()
    assert torch.equal(whole["model/omega"], expected)
    assert torch.equal(whole["ema/omega"], expected)


@pytest.mark.parametrize("cut", [PERIOD - 1, PERIOD, PERIOD + 1, 2 * PERIOD])
def test_a_resume_across_a_redraw_is_exact(
    whole: dict[str, Tensor], tmp_path: Path, cut: int
) -> None:
    train(small_run(tmp_path, FeatureNet, stop_after=cut))
    train(small_run(tmp_path, FeatureNet))
    assert same(final(tmp_path), whole)


Redraw = Callable[..., int]


@pytest.mark.parametrize(
    "control",
    [
        lambda *_, **__: 0,
        lambda model, *, seed, step: redraw_features(model, seed=seed, step=step - PERIOD),
        lambda model, *, seed, step: redraw_features(model, seed=seed + 1, step=step),
    ],
    ids=["never", "counted from the resume", "another seed"],
)
def test_forgetting_a_redraw_shows(
    whole: dict[str, Tensor], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, control: Redraw
) -> None:
    train(small_run(tmp_path, FeatureNet, stop_after=PERIOD))
    monkeypatch.setattr(loop, "redraw_features", control)
    train(small_run(tmp_path, FeatureNet))
    assert not same(final(tmp_path), whole)


def test_a_generated_performer_has_features_of_its_own_in_every_layer() -> None:
    spec = linvit_dsl.load("performer")
    model = spec.PerformerViTDigits(features=20, redraw=10)
    keys = [f"layers.{i}.attn.omega" for i in range(4)]
    assert [k for k in model.state_dict() if k.endswith("omega")] == keys
    assert not {k for k, _ in model.named_parameters()} & set(keys)
    before = [model.get_buffer(key).clone() for key in keys]
    assert redraw_features(model, seed=0, step=10) == 4
    after = [model.get_buffer(key) for key in keys]
    assert not any(torch.equal(a, b) for a, b in zip(before, after, strict=True))
    assert not torch.equal(after[0], after[1])
    assert redraw_features(spec.PerformerViTDigits(redraw=0), seed=0, step=10) == 0
