"""`std.rope` against complex numbers, and the property that it exists for."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from linvit_dsl.errors import SpecError
from tests.models.references import rope
from tests.models.references.attention import heads_apart, heads_together
from tests.models.references.build import built
from tests.models.references.compare import drawn, expect_equal, expect_equal_gradients, scattered

HEADS, CHANNELS = 2, 16
PLACES = [((4, 4), 0), ((3, 5), 1), ((5, 2), 3)]
"""Grids, and tokens in front of them."""
Core = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]
CORES: dict[str, tuple[Core, int]] = {
    "RotaryAttention": (rope.rotary_attention, 1),
    "RotaryLinearAttention": (rope.rotary_linear_attention, 2),
}
"""By block: the reference, and how many features a channel has."""


def turn(folder: Path, grid: tuple[int, int], prefix: int, base: float = 100) -> nn.Module:
    """A model of `Turn` alone, of 8 channels."""
    shape = f"[B, 2, {prefix + grid[0] * grid[1]}, 8]"
    body = f"Turn(x, *Turns[8, {base}, [{grid[0]}, {grid[1]}], {prefix}]())"
    return built(folder, "std.rope import Turns, Turn", f"(x: {shape}) -> {shape}", body)


@pytest.mark.parametrize(("grid", "prefix"), PLACES)
def test_turning_is_a_product_of_complex_numbers(
    tmp_path: Path, grid: tuple[int, int], prefix: int
) -> None:
    x = drawn(2, 2, prefix + grid[0] * grid[1], 8)
    by = rope.angles(grid, 8, 100, prefix)
    module = turn(tmp_path, grid, prefix)
    expect_equal(module, lambda x: rope.turned(x, by), x)
    assert torch.equal(module(x)[:, :, :prefix], x[:, :, :prefix])
    for wrong in (rope.angles(grid, 8, 10, prefix), by.flip(1), -by):
        assert (module(x) - rope.turned(x, wrong)).abs().max() > 1e-2


def test_scores_depend_on_the_difference_of_places_only(tmp_path: Path) -> None:
    """The same query and key everywhere: a shift of both leaves their score, one of them not."""
    rows, columns = 4, 6
    module = turn(tmp_path, (rows, columns), 0)
    q, k = (drawn(1, 2, 1, 8, seed=seed).expand(1, 2, rows * columns, 8) for seed in (0, 1))
    scores = (module(q) @ module(k).transpose(-1, -2)).unflatten(2, (rows, columns))
    scores = scores.unflatten(4, (rows, columns))
    shifted = scores[:, :, 1:, 2:, 1:, 2:]
    torch.testing.assert_close(scores[:, :, :-1, :-2, :-1, :-2], shifted, rtol=1e-10, atol=1e-12)
    assert (scores[:, :, :-1, :-2, 1:, 2:] - shifted).abs().max() > 1e-2


@pytest.mark.parametrize("block", CORES)
@pytest.mark.parametrize(("grid", "prefix"), PLACES)
def test_mixers_are_their_formulas(
    tmp_path: Path, block: str, grid: tuple[int, int], prefix: int
) -> None:
    n = prefix + grid[0] * grid[1]
    shape = f"[B, {n}, {CHANNELS}]"
    statics = f"{HEADS}, grid = [{grid[0]}, {grid[1]}], prefix = {prefix}"
    body = f"x |> {block}[{statics}]@attn"
    module = built(tmp_path, f"std.rope import {block}", f"(x: {shape}) -> {shape}", body)
    weights = scattered(module)
    core, features = CORES[block]

    def mixed(x: Tensor, by: Tensor) -> Tensor:
        q, k, v = (heads_apart(linear(x, weights, f"attn.qkv.{part}"), HEADS) for part in "qkv")
        return linear(heads_together(core(q, k, v, by)), weights, "attn.out")

    x = drawn(2, n, CHANNELS, seed=1)
    by = rope.angles(grid, features * CHANNELS // HEADS, 100, prefix)
    results = module(x), mixed(x, by)
    torch.testing.assert_close(*results, rtol=1e-9, atol=1e-9)
    for result in results:
        (result * drawn(*result.shape, seed=2)).sum().backward()
    expect_equal_gradients(module, weights)
    assert (module(x) - mixed(x, 0 * by)).abs().max() > 1e-3, "positions have no effect"


def linear(x: Tensor, weights: dict[str, Tensor], name: str) -> Tensor:
    return nn.functional.linear(x, weights[f"{name}.weight"], weights[f"{name}.bias"])


def test_half_precision_turns_by_the_same_angles_under_autocast(tmp_path: Path) -> None:
    """Constants stay float32 there: bfloat16 cannot tell place 300 from 301."""
    x = drawn(1, 2, 2 * 301, 8).float()
    module = turn(tmp_path, (301, 2), 0, base=10000)
    exact = module(x.double())
    with torch.autocast("cpu", torch.bfloat16):
        assert (module.float()(x) - exact).abs().max() < 1e-3
    assert (module.bfloat16()(x.bfloat16()) - exact).abs().max() > 0.1


def test_channels_that_do_not_pair_up_along_two_axes_are_refused(tmp_path: Path) -> None:
    shape = "[B, 4, 12]"
    body = "x |> RotaryAttention[2, grid = [2, 2]]"
    with pytest.raises(SpecError, match="`c` = 6 is not divisible by 4"):
        built(tmp_path, "std.rope import RotaryAttention", f"(x: {shape}) -> {shape}", body)
    base = "x |> RotaryAttention[2, 0, grid = [2, 2]]"
    shape = "[B, 4, 16]"
    with pytest.raises(SpecError, match="0 has no logarithm"):
        built(tmp_path, "std.rope import RotaryAttention", f"(x: {shape}) -> {shape}", base)
