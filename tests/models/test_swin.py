"""`std.swin` against full attention in which only pairs of one window count."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from linvit_dsl.errors import SpecError
from tests.models.references.build import built
from tests.models.references.compare import drawn, expect_equal_gradients, scattered
from tests.models.references.swin import shifted_window_attention

HEADS, CHANNELS = 2, 6
# A grid that windows of 4 divide; odd ones; one with a side shorter than a window; less than one.
GRIDS = [(8, 8), (7, 9), (9, 5), (3, 10), (4, 4), (2, 3)]


def attention(
    folder: Path, grid: tuple[int, int], *, shifted: bool
) -> tuple[nn.Module, dict[str, Tensor]]:
    """`SwinAttention` alone, with windows of 4, and copies of its weights."""
    shape = f"[B, {grid[0] * grid[1]}, {CHANNELS}]"
    statics = f"{HEADS}, 4, {str(shifted).lower()}, [{grid[0]}, {grid[1]}]"
    body = f"x |> SwinAttention[{statics}]@attn"
    module = built(folder, "std.swin import SwinAttention", f"(x: {shape}) -> {shape}", body)
    return module, scattered(module)


def reference(
    x: Tensor, weights: dict[str, Tensor], grid: tuple[int, int], *, shifted: bool, window: int = 4
) -> Tensor:
    own = {key.removeprefix("attn."): weight for key, weight in weights.items()}
    return shifted_window_attention(x, own, grid, heads=HEADS, window=window, shifted=shifted)


@pytest.mark.parametrize("shifted", [False, True])
@pytest.mark.parametrize("grid", GRIDS)
def test_shifted_windows_are_full_attention_with_a_mask(
    tmp_path: Path, grid: tuple[int, int], shifted: bool
) -> None:
    module, weights = attention(tmp_path, grid, shifted=shifted)
    x = drawn(2, grid[0] * grid[1], CHANNELS, seed=1)
    mine, theirs = x.clone().requires_grad_(), x.clone().requires_grad_()
    results = module(mine), reference(theirs, weights, grid, shifted=shifted)
    torch.testing.assert_close(*results, rtol=1e-10, atol=1e-10)
    for result in results:
        (result * drawn(*result.shape, seed=2)).sum().backward()
    torch.testing.assert_close(mine.grad, theirs.grad, rtol=1e-9, atol=1e-10)
    expect_equal_gradients(module, weights)


def test_a_wrong_reference_is_noticed(tmp_path: Path) -> None:
    """The control: without the shift, without the bias, with the bias of keys and queries swapped,
    or with seams that see each other, the answers differ."""
    grid = (7, 9)
    module, weights = attention(tmp_path, grid, shifted=True)
    x = drawn(2, 63, CHANNELS, seed=1)
    wrong = [reference(x, weights, grid, shifted=False)]
    table = weights["attn.relative_bias"]
    for other in (torch.zeros_like(table), table.flip(0)):
        wrong += [reference(x, weights | {"attn.relative_bias": other}, grid, shifted=True)]
    # A grid that is rolled beforehand has no seam in the middle of its windows.
    rolled = x.unflatten(1, grid).roll((-2, -2), (1, 2)).flatten(1, 2)
    y = reference(rolled, weights, grid, shifted=False)
    wrong.append(y.unflatten(1, grid).roll((2, 2), (1, 2)).flatten(1, 2))
    for answer in wrong:
        assert (module(x) - answer).abs().max() > 1e-3


def test_a_token_sees_across_the_border_of_windows_only_where_they_are_shifted(
    tmp_path: Path,
) -> None:
    x = drawn(1, 64, CHANNELS, seed=1)
    for shifted in (False, True):
        module, _ = attention(tmp_path, (8, 8), shifted=shifted)
        other = x.clone()
        other[:, 3 * 8 + 3] += 1  # last row and column of the first window
        changed = (module(other) - module(x)).abs().amax(2)[0].unflatten(0, (8, 8)) > 1e-9
        assert changed[3, 3]
        assert changed[4, 4].item() is shifted
        assert changed[0, 0].item() is not shifted
        assert not changed[7, 7]


def test_a_class_token_is_refused_with_its_reason(tmp_path: Path) -> None:
    shape = "[B, 65, 6]"
    body = "x |> SwinAttention[2, 4, grid = [8, 8], prefix = 1]"
    with pytest.raises(SpecError, match=r"the 1 prefix tokens .* have no place"):
        built(tmp_path, "std.swin import SwinAttention", f"(x: {shape}) -> {shape}", body)
