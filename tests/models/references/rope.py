"""Rotary positions by complex numbers: a pair of channels is one of them, turning is a product.

Legend: n tokens, of which the first `prefix` lie outside a grid of h rows and w columns.
"""

from __future__ import annotations

import torch
from torch import Tensor


def angles(grid: tuple[int, int], channels: int, base: float, prefix: int = 0) -> Tensor:
    """`[n, channels / 2]`: row times speed for the first half, column times speed for the rest."""
    quarter = channels // 4
    table = torch.zeros(prefix + grid[0] * grid[1], channels // 2, dtype=torch.float64)
    for row in range(grid[0]):
        for column in range(grid[1]):
            for i in range(quarter):
                token = prefix + row * grid[1] + column
                table[token, i] = row * base ** (-i / quarter)
                table[token, quarter + i] = column * base ** (-i / quarter)
    return table


def turned(x: Tensor, by: Tensor) -> Tensor:
    """`[..., n, channels]`, each pair multiplied by exp(i angle)."""
    pairs = torch.view_as_complex(x.unflatten(-1, (-1, 2)).contiguous())
    return torch.view_as_real(pairs * torch.polar(torch.ones_like(by), by)).flatten(-2)


def rotary_attention(q: Tensor, k: Tensor, v: Tensor, by: Tensor) -> Tensor:
    """Softmax attention whose scores are Re(q conj(k) exp(i (angle_q - angle_k)))."""
    q, k = (torch.view_as_complex(x.unflatten(-1, (-1, 2)).contiguous()) for x in (q, k))
    turns = torch.polar(torch.ones_like(by), by)
    difference = turns[:, None] * turns[None, :].conj()
    scores = torch.einsum("bhic,bhjc,ijc->bhij", q, k.conj(), difference).real
    return (scores * (2 * q.shape[-1]) ** -0.5).softmax(-1) @ v


def rotary_linear_attention(
    q: Tensor, k: Tensor, v: Tensor, by: Tensor, *, eps: float = 1e-6
) -> Tensor:
    """Split-relu features, turned where they weigh values and not where weights are summed."""
    fq, fk = (torch.cat((x.clamp(min=0), (-x).clamp(min=0)), -1) for x in (q, k))
    weights = turned(fq, by) @ turned(fk, by).transpose(-1, -2)
    total = (fq @ fk.transpose(-1, -2)).sum(-1, keepdim=True)
    return weights @ v / (total + eps)
