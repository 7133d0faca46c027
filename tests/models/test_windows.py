"""`std.windows` against full attention in which only pairs of one window count."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from linvit_dsl.errors import SpecError
from tests.models.conftest import Build
from tests.models.references.attention import masked_attention, window_pairs
from tests.models.references.compare import drawn, expect_equal, scattered

GRIDS = [(5, 7), (9, 11), (15, 13), (14, 14), (2, 3)]


def window_attend(rows: int, columns: int, window: int, rate: int) -> str:
    """A model of nothing but `WindowAttend`, with 2 heads of 3 channels."""
    shape = f"[B, 2, {rows * columns}, 3]"
    return f"""from std.windows import WindowAttend
model M(q: {shape}, k: {shape}, v: {shape}) -> {shape} {{
  return WindowAttend[[{rows}, {columns}], {window}, {rate}](q, k, v)
}}
"""


@pytest.mark.parametrize("rate", [1, 2, 3])
@pytest.mark.parametrize("window", [2, 7])
@pytest.mark.parametrize(("rows", "columns"), GRIDS)
def test_windows_are_full_attention_with_a_mask(
    rows: int, columns: int, window: int, rate: int, build: Build
) -> None:
    module = build(window_attend(rows, columns, window, rate))
    pairs = window_pairs(rows, columns, window, rate)
    tensors = [drawn(2, 2, rows * columns, 3, seed=seed) for seed in range(3)]
    expect_equal(module, lambda q, k, v: masked_attention(q, k, v, pairs, 3**-0.5), *tensors)


@pytest.mark.parametrize("wrong", ["scale", "window", "rate", "padding"])
def test_a_wrong_mask_or_scale_is_noticed(wrong: str, build: Build) -> None:
    """The control: each reference differs from the right one in one thing."""
    module = build(window_attend(9, 11, 7, 1))
    pairs, scale = window_pairs(9, 11, 7), 3**-0.5
    if wrong == "scale":
        scale = 1.0
    elif wrong == "window":
        pairs = window_pairs(9, 11, 6)
    elif wrong == "rate":
        pairs = window_pairs(9, 11, 7, 2)

    def reference(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        if wrong != "padding":
            return masked_attention(q, k, v, pairs, scale)
        # A key of the padding that nobody has masked: zeros, with a score of 0.
        k, v = (F.pad(x, (0, 0, 0, 1)) for x in (k, v))
        return masked_attention(q, k, v, F.pad(pairs, (0, 1), value=True), scale)

    tensors = [drawn(2, 2, 99, 3, seed=seed) for seed in range(3)]
    with pytest.raises(AssertionError):
        expect_equal(module, reference, *tensors)


@pytest.mark.parametrize(("rows", "columns", "window"), [(4, 4, 4), (5, 3, 5), (3, 5, 9)])
def test_a_window_over_the_whole_grid_is_full_attention(
    rows: int, columns: int, window: int, build: Build
) -> None:
    """The mixer of std.windows then computes what the mixer of std.attention does."""
    n = rows * columns
    windows = build(f"""from std.windows import WindowAttention
model M(x: [B, {n}, 12]) -> [B, {n}, 12] {{
  return x |> WindowAttention[4, window = {window}, grid = [{rows}, {columns}]]@mixer
}}
""")
    full = build(f"""from std.attention import Attention
model M(x: [B, {n}, 12]) -> [B, {n}, 12] {{ return x |> Attention[4]@mixer }}
""")
    scattered(windows)
    full.load_state_dict(windows.state_dict())
    expect_equal(windows, full, drawn(2, n, 12))


def test_a_smaller_window_is_not_full_attention(build: Build) -> None:
    """The control of the test above."""
    module = build(window_attend(4, 4, 3, 1))
    tensors = [drawn(2, 2, 16, 3, seed=seed) for seed in range(3)]
    everything = torch.ones(16, 16, dtype=torch.bool)
    with pytest.raises(AssertionError):
        expect_equal(
            module, lambda q, k, v: masked_attention(q, k, v, everything, 3**-0.5), *tensors
        )


def test_prefix_tokens_are_refused_with_a_way_out(build: Build) -> None:
    with pytest.raises(SpecError, match="set cls = false"):
        build("""from std.vit import ViT
from std.windows import WindowAttention
model M = ViT[mixer = WindowAttention[6], depth = 1]
""")
