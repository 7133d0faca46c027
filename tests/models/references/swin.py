"""Attention in shifted windows by its definition: which pairs count, and which bias they get.

Legend: B images, n tokens of a grid of h rows and w columns, d channels, heads of e channels.
Nothing here rolls, pads or partitions.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn.functional import linear

from tests.models.references.attention import heads_apart, heads_together


def along(size: int, window: int, shift: int) -> tuple[Tensor, Tensor]:
    """For every place of a side: the label of its window, and its place in that window.

    Windows of `window` places begin `shift` places in. What lies before the first of them comes
    after the last, where it shares places of a window with what is there, but sees nothing of it.
    """
    places = (torch.arange(size) - shift) % size
    torn = torch.arange(size) < shift
    return 2 * (places // window) + torn, places % window


def shifted_window_attention(
    x: Tensor,
    weights: Mapping[str, Tensor],
    grid: tuple[int, int],
    *,
    heads: int,
    window: int,
    shifted: bool,
) -> Tensor:
    """`[B, n, d]` to the same; `weights` are those of `SwinAttention`."""
    sides = [min(window, size) for size in grid]
    shifts = [window // 2 if shifted and size > window else 0 for size in grid]
    rows, columns = (along(*side) for side in zip(grid, sides, shifts, strict=True))
    token = torch.arange(grid[0] * grid[1])
    row, column = token // grid[1], token % grid[1]
    label = torch.stack((rows[0][row], columns[0][column]))
    pairs = (label[:, :, None] == label[:, None, :]).all(0)
    down = rows[1][row][:, None] - rows[1][row][None, :] + sides[0] - 1
    right = columns[1][column][:, None] - columns[1][column][None, :] + sides[1] - 1
    bias = weights["relative_bias"][down * (2 * sides[1] - 1) + right].permute(2, 0, 1)
    q, k, v = (
        heads_apart(linear(x, weights[f"{name}.weight"], weights[f"{name}.bias"]), heads)
        for name in "qkv"
    )
    scores = torch.einsum("bhie,bhje->bhij", q, k) * q.shape[-1] ** -0.5 + bias
    y = scores.masked_fill(~pairs, -torch.inf).softmax(-1) @ v
    return linear(heads_together(y), weights["out.weight"], weights["out.bias"])
