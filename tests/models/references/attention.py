"""Attention by its definition: every pair of tokens, and a rule for which pairs count.

Legend: B images, h heads, n tokens of a grid of rows x columns in raster order, e channels of a
head. Nothing here partitions, pads or gathers: what the library computes by moving tokens around is
stated as a condition on pairs, or as a loop over offsets.
"""

from __future__ import annotations

import torch
from torch import Tensor


def masked_attention(q: Tensor, k: Tensor, v: Tensor, pairs: Tensor, scale: float) -> Tensor:
    """Softmax attention over the pairs that count.

    Args:
        q: `[B, h, n, e]`.
        k: `[B, h, l, e]`.
        v: `[B, h, l, c]`.
        pairs: `[n, l]` booleans.
        scale: Of the scores.

    Returns:
        `[B, h, n, c]`.
    """
    scores = scale * torch.einsum("bhie,bhje->bhij", q, k)
    weights = scores.masked_fill(~pairs, -torch.inf).softmax(-1)
    return torch.einsum("bhij,bhjc->bhic", weights, v)


def window_pairs(rows: int, columns: int, window: int, rate: int = 1) -> Tensor:
    """Which tokens share a window: `[n, n]`.

    Places (i, j) and (i', j') do if i and i' are equal modulo `rate` and within the same run of
    window * rate rows, and so for the columns.
    """
    place = torch.arange(rows * columns)
    keys = [
        torch.stack((axis // (window * rate), axis % rate))
        for axis in (place // columns, place % columns)
    ]
    label = torch.cat(keys)
    return (label[:, :, None] == label[:, None, :]).all(0)


def neighbour_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    grid: tuple[int, int],
    *,
    rate: int = 1,
    kernel: int = 3,
    border: str = "zeros",
) -> Tensor:
    """Every token attends to the kernel^2 places around it, `rate` apart, one query at a time.

    Beyond the grid a key is a zero vector with a score of 0 and a value of 0 (`zeros`), or it is
    not there (`mask`).

    Args:
        q, k, v: `[B, h, n, e]`.
        grid: Rows and columns; n is their product.
        rate: Steps between neighbours.
        kernel: Neighbours in a row, odd.
        border: `zeros` or `mask`.

    Returns:
        `[B, h, n, e]`.
    """
    rows, columns = grid
    reach = range(-(kernel // 2), kernel // 2 + 1)
    answers: list[Tensor] = []
    for token in range(rows * columns):
        row, column = divmod(token, columns)
        above = torch.zeros_like(q[:, :, 0])
        below = torch.zeros_like(q[:, :, 0, :1])
        for down in reach:
            for right in reach:
                r, c = row + down * rate, column + right * rate
                if 0 <= r < rows and 0 <= c < columns:
                    key, value = k[:, :, r * columns + c], v[:, :, r * columns + c]
                    score = (q[:, :, token] * key).sum(-1, keepdim=True) * q.shape[-1] ** -0.5
                    above = above + score.exp() * value
                    below = below + score.exp()
                elif border == "zeros":
                    below = below + 1  # exp(0), with nothing to add above
        answers.append(above / below)
    return torch.stack(answers, dim=2)


def channel_attention(q: Tensor, k: Tensor, v: Tensor, scale: float) -> Tensor:
    """Channels attend to the channels of their group.

    A[i, j] = softmax_j(scale * sum_n q[n, i] k[n, j]), and channel i of the result is
    sum_j A[i, j] v[n, j].

    Args:
        q, k, v: `[B, groups, n, channels of a group]`.
        scale: Of the scores.

    Returns:
        `[B, groups, n, channels of a group]`.
    """
    weights = (scale * torch.einsum("bgni,bgnj->bgij", q, k)).exp()
    weights = weights / weights.sum(-1, keepdim=True)
    return torch.einsum("bgij,bgnj->bgni", weights, v)


def heads_apart(x: Tensor, heads: int) -> Tensor:
    """`[B, n, d]` to `[B, heads, n, d / heads]`: head j has the j-th run of channels."""
    width = x.shape[-1] // heads
    return torch.stack([x[..., j * width : (j + 1) * width] for j in range(heads)], dim=1)


def heads_together(x: Tensor) -> Tensor:
    """`[B, h, n, e]` to `[B, n, h e]`, the heads side by side."""
    return torch.cat([x[:, j] for j in range(x.shape[1])], dim=-1)
