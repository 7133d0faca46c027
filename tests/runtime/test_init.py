"""Every word of kind `init` fills tensors and modules as it says."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from linvit_dsl.ops.initializers import INITIALIZERS
from linvit_runtime import init

ARGUMENTS = {"constant": (0.25,), "normal": (0.02,), "trunc_normal": (0.5,)}


def function_of(word: str) -> Callable[..., Tensor | nn.Module]:
    return getattr(init, word)


@pytest.mark.parametrize("word", INITIALIZERS)
@pytest.mark.parametrize(
    "target",
    [
        lambda: torch.full((64, 48), torch.nan),
        lambda: nn.Linear(48, 64),
        lambda: nn.Linear(48, 64, bias=False),
        lambda: nn.Conv2d(48, 48, 3, groups=48),
        lambda: nn.Parameter(torch.full((64, 48, 3, 3), torch.nan)),
        lambda: nn.Linear(48, 64, device="meta"),
    ],
    ids=["tensor", "linear", "no-bias", "depth-wise", "parameter", "meta"],
)
def test_every_word_fills_and_returns_its_target(
    word: str, target: Callable[[], Tensor | nn.Module]
) -> None:
    made = target()
    assert function_of(word)(made, *ARGUMENTS.get(word, ())) is made
    weight = made if isinstance(made, Tensor) else made.weight
    assert isinstance(weight, Tensor)
    assert weight.device.type == "meta" or torch.isfinite(weight).all()
    if isinstance(made, nn.Module) and isinstance(made.bias, Tensor) and not made.bias.is_meta:
        assert not made.bias.any()


def test_parameters_stay_trainable() -> None:
    weight = nn.Parameter(torch.empty(8))
    assert init.zeros(weight).requires_grad
    assert weight.grad_fn is None


def test_zeros_and_constant_are_exact() -> None:
    assert not init.zeros(torch.ones(5)).any()
    assert (init.constant(torch.ones(5), 0.04) == torch.tensor(0.04)).all()


@pytest.mark.parametrize(("std", "expected"), [(0.02, 0.02), (0.5, 0.49988)])
def test_trunc_normal_cuts_at_two(std: float, expected: float) -> None:
    torch.manual_seed(0)
    numbers = init.trunc_normal(torch.empty(200_000), std)
    assert numbers.std().item() == pytest.approx(expected, rel=0.01)
    assert numbers.abs().max() <= 2
    # A normal of deviation 1 cut at 2 has variance 1 - 4 pdf(2) / (2 cdf(2) - 1) = 0.7737.
    wide = init.trunc_normal(torch.empty(200_000), 1.0)
    assert wide.var().item() == pytest.approx(0.7737, rel=0.02)
    assert wide.abs().max() <= 2


def test_normal_is_not_cut() -> None:
    torch.manual_seed(0)
    assert init.normal(torch.empty(200_000), 1.0).abs().max() > 3.5


def test_xavier_is_uniform_within_its_bound() -> None:
    torch.manual_seed(0)
    bound = math.sqrt(6 / (100 + 300))
    numbers = init.xavier(torch.empty(300, 100))
    assert 0.99 * bound < numbers.abs().max() <= bound
    assert numbers.std().item() == pytest.approx(bound / math.sqrt(3), rel=0.02)


@pytest.mark.parametrize(("groups", "kernel"), [(1, 3), (2, 3), (6, 5), (6, 1)])
def test_dirac_passes_every_channel_through(groups: int, kernel: int) -> None:
    conv = init.dirac(nn.Conv2d(6, 6, kernel, padding=kernel // 2, groups=groups))
    x = torch.randn(2, 6, 4, 5)
    assert torch.equal(conv(x), x)


def test_dirac_without_its_groups_would_not() -> None:
    conv = nn.Conv2d(6, 6, 3, padding=1, groups=6)
    nn.init.dirac_(conv.weight)
    x = torch.randn(2, 6, 4, 5)
    assert not torch.equal(conv(x), x)


def test_dirac_of_a_linear_map_is_the_identity() -> None:
    x = torch.randn(3, 8)
    assert torch.equal(init.dirac(nn.Linear(8, 8))(x), x)


def test_the_seed_decides() -> None:
    draws = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        draws.append(init.trunc_normal(nn.Linear(4, 4), 0.02).weight)
    assert torch.equal(draws[0], draws[1])
    assert not torch.equal(draws[0], draws[2])
