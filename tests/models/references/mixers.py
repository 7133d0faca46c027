"""Linformer, Performer, Nystromformer and Hybrid in plain torch, from their formulas.

Legend: B images, n tokens of which the first `prefix` lie outside the grid, d channels, h heads of
e = d / h channels, m features or landmarks. Keys of the weights are those of a generated module's
state dict. Attention is a matrix of all pairs, one head of one image at a time where a rule could
mix them up.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise

import torch
from torch import Tensor

from tests.models.references.attention import (
    heads_apart,
    heads_together,
    masked_attention,
    window_pairs,
)

Weights = Mapping[str, Tensor]


def softmax_attention(x: Tensor, weights: Weights, heads: int) -> Tensor:
    """Plain attention, every pair of tokens: what the others estimate."""
    q, k, v = _projected(x, weights, heads)
    return _linear(heads_together(_softmax_attention(q, k, v)), weights, "out")


def linear_attention(x: Tensor, weights: Weights, heads: int) -> Tensor:
    """Linear attention with split-relu features, as a matrix of all pairs."""
    q, k, v = _projected(x, weights, heads)
    return _linear(heads_together(_relu_attention(q, k, v)), weights, "out")


def linformer(x: Tensor, weights: Weights, heads: int, *, share: str = "head") -> Tensor:
    """softmax(q (E k)^T / sqrt(e)) (F v), E and F being matrices over the tokens."""
    q, k, v = (heads_apart(_linear(x, weights, name), heads) for name in "qkv")
    value = "E" if share == "kv" else "F"
    k, v = (
        torch.einsum("kn,bhne->bhke", weights[f"{name}.weight"], t)
        + weights.get(f"{name}.bias", torch.zeros(1, dtype=x.dtype)).reshape(-1, 1)
        for name, t in (("E", k), (value, v))
    )
    return _linear(heads_together(_softmax_attention(q, k, v)), weights, "out")


def favor_features(x: Tensor, omega: Tensor, *, peak: str, floor: float = 1e-4) -> Tensor:
    """Positive random features of `[B, h, n, e]`, written row by row of `omega` `[m, e]`."""
    x = x / x.shape[-1] ** 0.25
    logs = torch.stack([(x * row).sum(-1) for row in omega], dim=-1)
    axes = (-1,) if peak == "token" else (-2, -1)
    # The peak is a constant to backward.
    logs = logs - logs.detach().amax(axes, keepdim=True)
    half = x.pow(2).sum(-1, keepdim=True) / 2
    return (torch.exp(logs - half) + floor) / len(omega) ** 0.5


def favor_attention(
    q: Tensor, k: Tensor, v: Tensor, omega: Tensor, *, floor: float = 1e-4
) -> Tensor:
    """Attention by the products of features, as a matrix of all pairs."""
    fq = favor_features(q, omega, peak="token", floor=floor)
    fk = favor_features(k, omega, peak="head", floor=floor)
    pairs = torch.einsum("bhim,bhjm->bhij", fq, fk)
    return torch.einsum("bhij,bhje->bhie", pairs / pairs.sum(-1, keepdim=True), v)


def performer(x: Tensor, weights: Weights, heads: int, omega: Tensor) -> Tensor:
    """FAVOR+ attention between projections."""
    q, k, v = _projected(x, weights, heads)
    return _linear(heads_together(favor_attention(q, k, v, omega)), weights, "out")


def segment_means(t: Tensor, count: int) -> Tensor:
    """Means of `count` runs of the rows of `[n, e]`; the last n mod count are longer by 1."""
    size, longer = divmod(len(t), count)
    sizes = [size] * (count - longer) + [size + 1] * longer
    return torch.stack([part.mean(0) for part in t.split(sizes)])


def grid_means(t: Tensor, side: int, grid: tuple[int, int]) -> Tensor:
    """Means of side x side rectangles of a grid, `[rows columns, e]` in raster order."""
    rows, columns = grid
    rectangles = [
        [r * columns + c for r in down for c in across]
        for down in _segments(rows, side)
        for across in _segments(columns, side)
    ]
    return torch.stack([t[places].mean(0) for places in rectangles])


def pseudo_inverse(a: Tensor, iterations: int) -> Tensor:
    """The inverse of one matrix, by the iteration of the paper (its equation 11 with cubes)."""
    one = torch.eye(len(a), dtype=a.dtype)
    z = a.T / (torch.linalg.matrix_norm(a, 1) * torch.linalg.matrix_norm(a, float("inf")))
    for _ in range(iterations):
        az = a @ z
        z = z @ (13 * one - az @ (15 * one - 7 * az + az @ az)) / 4
    return z


def nystrom_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    landmarks: int,
    *,
    prefix: int = 0,
    iterations: int = 6,
    grid: tuple[int, int] | None = None,
) -> Tensor:
    """Nystrom's estimate of softmax attention, one head of one image at a time; no filter.

    With `grid` the landmarks are means of rectangles, else of runs.
    """
    return torch.stack(
        [
            torch.stack(
                [
                    _nystrom(*parts, landmarks, prefix, iterations, grid)
                    for parts in zip(*image, strict=True)
                ]
            )
            for image in zip(q, k, v, strict=True)
        ]
    )


def nystromformer(
    x: Tensor,
    weights: Weights,
    heads: int,
    landmarks: int,
    *,
    prefix: int = 0,
    iterations: int = 6,
    grid: tuple[int, int] | None = None,
) -> Tensor:
    """Nystrom's attention plus, where there are weights for it, a filter along the tokens."""
    q, k, v = _projected(x, weights, heads)
    y = nystrom_attention(q, k, v, landmarks, prefix=prefix, iterations=iterations, grid=grid)
    if "residual.weight" in weights:
        y = y + _filtered(v, weights["residual.weight"].flatten(1))
    return _linear(heads_together(y), weights, "out")


def hybrid(
    x: Tensor,
    weights: Weights,
    heads: int,
    grid: tuple[int, int],
    *,
    window: int,
    rates: tuple[int, ...],
    prefix: int = 0,
) -> Tensor:
    """Windows at several rates and linear attention over all tokens, mixed per patch."""
    q, k, v = _projected(x, weights, heads)
    everywhere = heads_together(_relu_attention(q, k, v))
    scale = q.shape[-1] ** -0.5
    q, k, v = (t[:, :, prefix:] for t in (q, k, v))
    answers = [
        heads_together(masked_attention(q, k, v, window_pairs(*grid, window, rate), scale))
        for rate in rates
    ]
    answers.append(everywhere[:, prefix:])
    scores = _linear(x[:, prefix:], weights, "gate").exp()
    shares = scores / scores.sum(-1, keepdim=True)
    mixed = sum(shares[..., j : j + 1] * answer for j, answer in enumerate(answers))
    assert isinstance(mixed, Tensor)
    return _linear(torch.cat([everywhere[:, :prefix], mixed], dim=1), weights, "out")


def _nystrom(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    landmarks: int,
    prefix: int,
    iterations: int,
    grid: tuple[int, int] | None,
) -> Tensor:
    def means(t: Tensor) -> Tensor:
        patches = t[prefix:]
        if grid is None:
            return torch.cat([t[:prefix], segment_means(patches, landmarks)])
        return torch.cat([t[:prefix], grid_means(patches, round(landmarks**0.5), grid)])

    def softmax(scores: Tensor) -> Tensor:
        return scores.exp() / scores.exp().sum(-1, keepdim=True)

    scale = q.shape[-1] ** -0.5
    some_q, some_k = means(q), means(k)
    middle = pseudo_inverse(softmax(some_q @ some_k.T * scale), iterations)
    return softmax(q @ some_k.T * scale) @ middle @ softmax(some_q @ k.T * scale) @ v


def _filtered(v: Tensor, taps: Tensor) -> Tensor:
    """Every token plus weighted neighbours in the sequence, with weights `[h, length]` per head."""
    tokens, reach = v.shape[2], taps.shape[1] // 2
    out: list[Tensor] = []
    for token in range(tokens):
        total = torch.zeros_like(v[:, :, 0])
        for offset in range(-reach, reach + 1):
            if 0 <= token + offset < tokens:
                weight = taps[:, offset + reach].reshape(1, -1, 1)
                total = total + weight * v[:, :, token + offset]
        out.append(total)
    return torch.stack(out, dim=2)


def _segments(count: int, parts: int) -> list[range]:
    """`count` places in `parts` runs, the longer ones last."""
    size, longer = divmod(count, parts)
    starts = [i * size + max(0, i - (parts - longer)) for i in range(parts + 1)]
    return [range(a, b) for a, b in pairwise(starts)]


def _softmax_attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    pairs = torch.ones(q.shape[2], k.shape[2], dtype=torch.bool)
    return masked_attention(q, k, v, pairs, q.shape[-1] ** -0.5)


def _relu_attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """phi(q) phi(k) = sum_c max(q_c k_c, 0) for split-relu features phi, which are never made."""
    pairs = torch.relu(q.unsqueeze(3) * k.unsqueeze(2)).sum(-1)
    return torch.einsum("bhij,bhje->bhie", pairs / (pairs.sum(-1, keepdim=True) + 1e-6), v)


def _projected(x: Tensor, weights: Weights, heads: int) -> tuple[Tensor, Tensor, Tensor]:
    q, k, v = (heads_apart(_linear(x, weights, f"qkv.{name}"), heads) for name in "qkv")
    return q, k, v


def _linear(x: Tensor, weights: Weights, name: str) -> Tensor:
    return torch.einsum("...i,oi->...o", x, weights[f"{name}.weight"]) + weights[f"{name}.bias"]
