"""Linformer, Performer, Nystromformer and Hybrid against references and in special cases.

References share no code with the compiler (tests/models/references); weights are copied, and
results and gradients compared in float64.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from linvit_runtime.init import orthogonal_rows
from tests.models.references import mixers
from tests.models.references.build import built
from tests.models.references.compare import (
    drawn,
    expect_equal,
    expect_equal_gradients,
    scattered,
)

CHANNELS, HEADS = 24, 4
GRIDS = [(4, 4), (7, 5), (3, 8)]
PREFIXES = [0, 1, 5]
Reference = Callable[[Tensor, dict[str, Tensor]], Tensor]


def mapping(tokens: int) -> str:
    """The signature of a mixer."""
    return f"(x: [B, {tokens}, {CHANNELS}]) -> [B, {tokens}, {CHANNELS}]"


def mixer(
    folder: Path, word: str, statics: str, tokens: int
) -> tuple[nn.Module, dict[str, Tensor], Tensor]:
    """A mixer, copies of its weights, and tokens to mix."""
    imports = f"std.{word.lower()} import {word}"
    module = built(folder, imports, mapping(tokens), f"x |> {word}[{statics}]@attn")
    weights = {key.removeprefix("attn."): value for key, value in scattered(module).items()}
    return module, weights, drawn(2, tokens, CHANNELS, seed=1)


def expect_reference(
    module: nn.Module, weights: dict[str, Tensor], x: Tensor, reference: Reference
) -> None:
    """Demand the same result, and the same gradients of the input and of every weight."""
    mine, theirs = x.clone().requires_grad_(), x.clone().requires_grad_()
    results = module(mine), reference(theirs, weights)
    torch.testing.assert_close(*results, rtol=1e-11, atol=1e-11)
    for result in results:
        (result * drawn(*result.shape, seed=2)).sum().backward()
    assert mine.grad is not None
    assert theirs.grad is not None
    torch.testing.assert_close(mine.grad, theirs.grad, rtol=1e-9, atol=1e-10)
    expect_equal_gradients(module, {f"attn.{key}": value for key, value in weights.items()})


@pytest.mark.parametrize("prefix", PREFIXES)
@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize("share", ["head", "kv"])
def test_linformer(tmp_path: Path, share: str, grid: tuple[int, int], prefix: int) -> None:
    tokens = grid[0] * grid[1] + prefix
    module, weights, x = mixer(tmp_path, "Linformer", f'{HEADS}, k = 7, share = "{share}"', tokens)
    expect_reference(module, weights, x, lambda x, w: mixers.linformer(x, w, HEADS, share=share))


@pytest.mark.parametrize("tokens", [16, 40])
@pytest.mark.parametrize("features", [5, 6, 13])
def test_performer(tmp_path: Path, tokens: int, features: int) -> None:
    """Fewer, as many and more features than channels of a head; tokens have no places here."""
    module, weights, x = mixer(tmp_path, "Performer", f"{HEADS}, {features}", tokens)
    omega = module.get_buffer("attn.omega")
    assert omega.shape == (features, CHANNELS // HEADS)
    expect_reference(module, weights, x, lambda x, w: mixers.performer(x, w, HEADS, omega))


@pytest.mark.parametrize("prefix", PREFIXES)
@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize("landmarks", [4, 9])
@pytest.mark.parametrize("landmark", ["segment", "grid"])
def test_nystromformer(
    tmp_path: Path, landmark: str, landmarks: int, grid: tuple[int, int], prefix: int
) -> None:
    """9 landmarks divide none of the grids evenly."""
    tokens = grid[0] * grid[1] + prefix
    statics = (
        f'{HEADS}, {landmarks}, landmark = "{landmark}", grid = {list(grid)}, prefix = {prefix}'
    )
    module, weights, x = mixer(tmp_path, "Nystromformer", statics, tokens)
    shape = grid if landmark == "grid" else None
    expect_reference(
        module,
        weights,
        x,
        lambda x, w: mixers.nystromformer(x, w, HEADS, landmarks, prefix=prefix, grid=shape),
    )


@pytest.mark.parametrize("prefix", PREFIXES)
@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize(("window", "rates"), [(2, (1, 2)), (3, (2, 1, 3))])
def test_hybrid(
    tmp_path: Path, window: int, rates: tuple[int, ...], grid: tuple[int, int], prefix: int
) -> None:
    tokens = grid[0] * grid[1] + prefix
    statics = f"{HEADS}, {window}, {list(rates)}, grid = {list(grid)}, prefix = {prefix}"
    module, weights, x = mixer(tmp_path, "Hybrid", statics, tokens)
    expect_reference(
        module,
        weights,
        x,
        lambda x, w: mixers.hybrid(x, w, HEADS, grid, window=window, rates=rates, prefix=prefix),
    )


def differs(module: Callable[[Tensor], Tensor], x: Tensor, reference: Tensor) -> bool:
    """Whether a reference of another setting is told apart."""
    return (module(x) - reference).abs().max().item() > 1e-4


def test_other_settings_are_noticed(tmp_path: Path) -> None:
    """The controls of the tests above: every one of these references is wrong in one thing."""
    grid, prefix, tokens = (7, 5), 1, 36
    module, w, x = mixer(tmp_path, "Linformer", f"{HEADS}, k = 7", tokens)
    assert differs(module, x, mixers.linformer(x, w, HEADS, share="kv"))
    assert differs(module, x, mixers.linformer(x, {**w, "E.bias": 0 * w["E.bias"]}, HEADS))
    module, w, x = mixer(tmp_path, "Performer", f"{HEADS}, 8", tokens)
    omega = module.get_buffer("attn.omega")
    assert not differs(module, x, mixers.performer(x, w, HEADS, omega))
    assert differs(module, x, mixers.performer(x, w, HEADS, omega[[0, 1, 2, 3, 4, 5, 7, 7]]))
    place = f"grid = {list(grid)}, prefix = {prefix}"
    module, w, x = mixer(tmp_path, "Nystromformer", f"{HEADS}, 9, {place}", tokens)
    for wrong in ({"prefix": 0}, {"prefix": 1, "iterations": 5}, {"prefix": 1, "grid": grid}):
        assert differs(module, x, mixers.nystromformer(x, w, HEADS, 9, **wrong))  # pyright: ignore[reportArgumentType]  # one of each
    module, w, x = mixer(tmp_path, "Hybrid", f"{HEADS}, 2, [1, 2], {place}", tokens)
    for window, rates in ((3, (1, 2)), (2, (2, 1)), (2, (1, 3))):
        wrong = mixers.hybrid(x, w, HEADS, grid, window=window, rates=rates, prefix=prefix)
        assert differs(module, x, wrong)


# Special cases


def test_linformer_that_keeps_every_token_is_softmax_attention(tmp_path: Path) -> None:
    module, weights, x = mixer(tmp_path, "Linformer", f"{HEADS}, k = 20, bias = false", 20)
    for name in "EF":
        module.get_parameter(f"attn.{name}.weight").data.copy_(torch.eye(20))
    weights = {f"qkv.{key}" if key[0] in "qkv" else key: value for key, value in weights.items()}
    expected = mixers.softmax_attention(x, weights, HEADS)
    torch.testing.assert_close(module(x), expected, rtol=1e-12, atol=1e-12)
    module.get_parameter("attn.E.weight").data[0, 1] = 0.5
    assert differs(module, x, expected)


def test_linformer_of_segment_means_averages_runs_of_tokens(tmp_path: Path) -> None:
    body = f"x |> Linformer[{HEADS}, k = 4, init = segment_means]@attn"
    module = built(tmp_path, "std.linformer import Linformer", mapping(11), body)
    for name in "EF":
        rows = module.get_parameter(f"attn.{name}.weight")
        x = drawn(11, 3)
        expected = mixers.segment_means(x, 4)
        torch.testing.assert_close(rows @ x, expected, rtol=1e-6, atol=1e-6)
        assert not module.get_parameter(f"attn.{name}.bias").any()


@pytest.mark.parametrize("prefix", PREFIXES)
def test_nystrom_with_a_landmark_per_token_is_softmax_attention(
    tmp_path: Path, prefix: int
) -> None:
    """Given iterations enough: 20 reach 1e-6, the usual 6 do not."""
    shape = f"[B, {HEADS}, {20 + prefix}, 6]"
    signature = f"(q: {shape}, k: {shape}, v: {shape}) -> {shape}"
    q, k, v = (drawn(2, HEADS, 20 + prefix, 6, seed=seed) for seed in range(3))
    expected = torch.nn.functional.scaled_dot_product_attention(q, k, v)
    errors: list[float] = []
    for iterations in (6, 10, 20):
        body = f"NystromAttend[20, {iterations}, grid = [4, 5], prefix = {prefix}](q, k, v)"
        module = built(tmp_path, "std.nystromformer import NystromAttend", signature, body)
        errors.append((module(q, k, v) - expected).abs().max().item())
    assert errors[2] < 1e-6 < errors[1] < errors[0]


def test_nystromformer_with_few_patches_is_exact(tmp_path: Path) -> None:
    statics = f"{HEADS}, 16, grid = [4, 4], prefix = 1, conv = 0"
    module, weights, x = mixer(tmp_path, "Nystromformer", statics, 17)
    expected = mixers.softmax_attention(x, weights, HEADS)
    torch.testing.assert_close(module(x), expected, rtol=1e-12, atol=1e-12)
    module, weights, x = mixer(tmp_path, "Nystromformer", statics.replace("16", "15"), 17)
    assert differs(module, x, mixers.softmax_attention(x, weights, HEADS))


def test_hybrid_whose_gate_chooses_one_answer(tmp_path: Path) -> None:
    """Linear attention, or the windows: of one window, rate 1, that is attention among patches."""
    module, weights, x = mixer(
        tmp_path, "Hybrid", f"{HEADS}, 5, [1], grid = [5, 4], prefix = 2", 22
    )
    gate = module.get_parameter("attn.gate.weight"), module.get_parameter("attn.gate.bias")
    gate[0].data.zero_()
    gate[1].data.copy_(torch.tensor([0.0, 1e4]))
    linear = mixers.linear_attention(x, weights, HEADS)
    torch.testing.assert_close(module(x), linear, rtol=1e-12, atol=1e-12)
    gate[1].data.copy_(torch.tensor([1e4, 0.0]))
    patches = mixers.softmax_attention(x[:, 2:], weights, HEADS)
    torch.testing.assert_close(module(x)[:, 2:], patches, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(module(x)[:, :2], linear[:, :2], rtol=1e-12, atol=1e-12)
    assert differs(module, x, linear)


@pytest.mark.parametrize("peak", ["token", "head"])
def test_favor_features_are_those_of_the_formula(tmp_path: Path, peak: str) -> None:
    signature = f"(x: [B, {HEADS}, 9, 6], omega: [13, 6]) -> [B, {HEADS}, 9, 13]"
    body = f'FavorPlus["{peak}"](x, omega)'
    features = built(tmp_path, "std.performer import FavorPlus", signature, body)
    x, omega = 3 * drawn(2, HEADS, 9, 6), drawn(13, 6, seed=1)
    expect_equal(features, lambda x, omega: mixers.favor_features(x, omega, peak=peak), x, omega)
    other = "head" if peak == "token" else "token"
    assert differs(lambda x: features(x, omega), x, mixers.favor_features(x, omega, peak=other))


def estimation_error(features: int, width: float, seed: int) -> float:
    """Relative error of FAVOR+ against softmax attention, for logits of deviation `width`."""
    q, k, v = (drawn(1, 1, 40, 16, seed=10 * seed + part) for part in range(3))
    q, k = width**0.5 * q, width**0.5 * k
    generator = torch.Generator().manual_seed(seed)
    omega = orthogonal_rows(features, 16, generator)
    exact = torch.nn.functional.scaled_dot_product_attention(q, k, v)
    return ((mixers.favor_attention(q, k, v, omega, floor=0) - exact).norm() / exact.norm()).item()


def test_more_features_estimate_the_softmax_better() -> None:
    """The error falls like 1 / sqrt(features) where logits are small, and is large where not."""
    small = {m: sum(estimation_error(m, 0.25, s) for s in range(8)) / 8 for m in (64, 256, 1024)}
    assert small[1024] < small[256] < small[64]
    assert 1.3 < small[64] / small[256] < 2.6
    assert 1.3 < small[256] / small[1024] < 2.6
    assert small[64] < 0.4
    assert sum(estimation_error(64, 1.0, s) for s in range(8)) / 8 > 2 * small[64]
