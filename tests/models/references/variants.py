"""Feature maps and the mechanisms beyond the sources in plain torch, from their formulas.

Legend: B images, n tokens of which the first `prefix` lie outside the grid, d channels, h heads of
e = d / h channels. Keys of the weights are those of a generated module's state dict. Attention is a
matrix of all pairs, and convolutions are sums over offsets.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from tests.models.references.attention import heads_apart, heads_together

Weights = Mapping[str, Tensor]
Grid = tuple[int, int]
Pairs = Callable[[Tensor, Tensor], Tensor]
"""phi(q_i) . phi(k_j): `[B, h, n, e]`, `[B, h, l, e]` -> `[B, h, n, l]`."""


def of_features(phi: Callable[[Tensor], Tensor]) -> Pairs:
    """Every pair of a query and a key, their features multiplied."""
    return lambda q, k: (phi(q).unsqueeze(3) * phi(k).unsqueeze(2)).sum(-1)


def focused(x: Tensor, power: int = 3) -> Tensor:
    """|r| r^p / |r^p| with r = relu(x), and 0 where r is."""
    r = x.clamp(min=0)
    cubes = r**power
    length = cubes.pow(2).sum(-1, keepdim=True)
    # Where r is 0 both lengths are replaced by 1, before the root, whose slope at 0 is infinite.
    some = length > 0
    size = torch.where(some, r.pow(2).sum(-1, keepdim=True), 1).sqrt()
    return cubes * size / torch.where(some, length, 1).sqrt()


FEATURES: dict[str, Pairs] = {
    "relu": of_features(lambda x: x.clamp(min=0)),
    "EluPlusOne": of_features(lambda x: torch.where(x > 0, x + 1, x.clamp(max=0).exp())),
    "exp": lambda q, k: (q.unsqueeze(3) + k.unsqueeze(2)).exp().sum(-1),
    "softmax[-1]": lambda q, k: (
        (q.unsqueeze(3) + k.unsqueeze(2)).exp().sum(-1)
        / (q.exp().sum(-1).unsqueeze(3) * k.exp().sum(-1).unsqueeze(2))
    ),
    "Focused": of_features(focused),
    "Focused[2]": of_features(lambda x: focused(x, 2)),
}
"""By the word of the language."""


def kernel_attention(q: Tensor, k: Tensor, v: Tensor, pairs: Pairs, *, eps: float = 1e-6) -> Tensor:
    """o_i = sum_j A_ij v_j / (sum_j A_ij + eps), as a matrix of all pairs."""
    a = pairs(q, k)
    return torch.einsum("bhij,bhje->bhie", a / (a.sum(-1, keepdim=True) + eps), v)


def softmax_attention(
    q: Tensor, k: Tensor, v: Tensor, bias: Tensor | float = 0.0, scale: float | None = None
) -> Tensor:
    """softmax(scale q k^T + bias) v."""
    scores = (q.shape[-1] ** -0.5 if scale is None else scale) * (
        torch.einsum("bhie,bhje->bhij", q, k)
    ) + bias
    a = (scores - scores.amax(-1, keepdim=True)).exp()
    return torch.einsum("bhij,bhje->bhie", a / a.sum(-1, keepdim=True), v)


def linear_mixer(x: Tensor, weights: Weights, heads: int, pairs: Pairs) -> Tensor:
    """Linear attention with any features, between projections."""
    q, k, v = projected(x, weights, heads)
    return linear(heads_together(kernel_attention(q, k, v, pairs)), weights, "out")


def efficient_attention(x: Tensor, weights: Weights, heads: int) -> Tensor:
    """A_ij = sum_c softmax over channels of q_i, times softmax over tokens of k_j."""
    q, k, v = projected(x, weights, heads)
    q, k = q.exp(), k.exp()
    q, k = q / q.sum(-1, keepdim=True), k / k.sum(-2, keepdim=True)
    a = torch.einsum("bhic,bhjc->bhij", q, k)
    return linear(heads_together(torch.einsum("bhij,bhje->bhie", a, v)), weights, "out")


def flatten(
    x: Tensor, weights: Weights, heads: int, grid: Grid, *, power: int = 3, prefix: int = 0
) -> Tensor:
    """Focused attention plus a filter of each head's values, the same one for all heads."""
    q, k, v = projected(x, weights, heads)
    y = kernel_attention(q, k, v, of_features(lambda t: focused(t, power)))
    kernel, bias = weights["local.dw.weight"], weights["local.dw.bias"]
    near = [depth_wise(v[:, j, prefix:], kernel, bias, grid) for j in range(heads)]
    y = y + beside_prefix(torch.stack(near, 1), prefix)
    return linear(heads_together(y), weights, "out")


def hydra_cosine(x: Tensor, weights: Weights) -> Tensor:
    """Channel c of token i: sum over j of cos-normalised q_ic k_jc, times v_jc."""
    q, k, v = (linear(x, weights, name) for name in "qkv")
    q, k = (t / t.norm(dim=-1, keepdim=True) for t in (q, k))
    scores = torch.einsum("bic,bjc->bcij", q, k)
    return linear(torch.einsum("bcij,bjc->bic", scores, v), weights, "out")


def grouped_query(
    x: Tensor, weights: Weights, heads: int, kv_heads: int, pairs: Pairs | None = None
) -> Tensor:
    """Head j of the queries with head j // (heads / kv_heads) of keys and values."""
    q = heads_apart(linear(x, weights, "qkv.q"), heads)
    k, v = (heads_apart(linear(x, weights, f"qkv.{name}"), kv_heads) for name in "kv")
    owner = [j * kv_heads // heads for j in range(heads)]
    k, v = k[:, owner], v[:, owner]
    y = softmax_attention(q, k, v) if pairs is None else kernel_attention(q, k, v, pairs)
    return linear(heads_together(y), weights, "out")


def spatial_reduction(
    x: Tensor, weights: Weights, heads: int, grid: Grid, reduction: int, *, prefix: int = 0
) -> Tensor:
    """Softmax attention to one key per square of the grid, and to the prefix tokens."""
    z = x
    if reduction > 1:
        patches = as_map(x[:, prefix:], grid)
        rows, columns = (math.ceil(size / reduction) for size in grid)
        filters, bias = weights["reduce.merge.weight"], weights["reduce.merge.bias"]
        merged: list[Tensor] = []
        for row in range(rows):
            for column in range(columns):
                a, b = row * reduction, column * reduction
                square = patches[:, :, a : a + reduction, b : b + reduction]
                part = filters[:, :, : square.shape[2], : square.shape[3]]
                merged.append(torch.einsum("bcij,dcij->bd", square, part) + bias)
        z = torch.cat([x[:, :prefix], torch.stack(merged, 1)], 1)
        z = layer_norm(z, weights, "reduce.norm")
    q = heads_apart(linear(x, weights, "q"), heads)
    k, v = (heads_apart(linear(z, weights, name), heads) for name in "kv")
    return linear(heads_together(softmax_attention(q, k, v)), weights, "out")


def agent(
    x: Tensor, weights: Weights, heads: int, grid: Grid, agents: Grid, *, prefix: int = 0
) -> Tensor:
    """Agents, pooled queries of the patches, gather from all tokens; all tokens ask the agents."""
    q, k, v = projected(x, weights, heads)
    pooled = adaptive_mean(as_map(heads_together(q[:, :, prefix:]), grid), agents)
    a = heads_apart(pooled.flatten(2).transpose(1, 2), heads)
    u = softmax_attention(a, k, v, weights["gather_bias"])
    y = heads_together(softmax_attention(q, a, u, weights["spread_bias"]))
    values = heads_together(v[:, :, prefix:])
    near = depth_wise(values, weights["local.dw.weight"], weights["local.dw.bias"], grid)
    return linear(y + beside_prefix(near, prefix), weights, "out")


def cross_covariance(x: Tensor, weights: Weights, heads: int) -> Tensor:
    """Channel i of a head: softmax_j(tau cos(q_i, k_j)) v_j, all of them rows over the tokens."""
    q, k, v = (t.transpose(2, 3) for t in projected(x, weights, heads))
    q, k = (t / t.norm(dim=-1, keepdim=True) for t in (q, k))
    y = softmax_attention(q * weights["temperature"], k, v, scale=1.0)
    return linear(heads_together(y.transpose(2, 3)), weights, "out")


def full_query_ripple(
    x: Tensor, weights: Weights, heads: int, grid: Grid, stages: int, *, prefix: int = 0
) -> Tensor:
    """Linear attention to the pooled map, without expansion, plus the ring."""
    pairs = of_features(lambda t: torch.cat([t.clamp(min=0), (-t).clamp(min=0)], -1))
    p, size = x[:, prefix:], grid
    for stage in range(stages):
        stride = (1, 2) if size[1] >= size[0] else (2, 1)
        p = depth_wise(p, weights[f"pool.{stage}.filter.dw.weight"], 0.0, size)
        rows, columns = range(0, size[0], stride[0]), range(0, size[1], stride[1])
        p = p[:, [i * size[1] + j for i in rows for j in columns]]
        p = layer_norm(p, weights, f"pool.{stage}.norm.norm")
        size = (len(rows), len(columns))
    z = torch.cat([x[:, :prefix], p], 1)
    q = heads_apart(linear(x, weights, "core.q"), heads)
    k, v = (heads_apart(linear(z, weights, f"core.{name}"), heads) for name in "kv")
    y = linear(heads_together(kernel_attention(q, k, v, pairs)), weights, "core.out")
    ring = depth_wise(x[:, prefix:], weights["ring.dw.weight"], weights["ring.dw.bias"], grid)
    return y + beside_prefix(ring, prefix)


def concatenated_hydra(x: Tensor, weights: Weights, heads: int, branches: int) -> Tensor:
    """Every branch's answer of linear attention side by side, mapped back by one matrix."""
    pairs = of_features(lambda t: torch.cat([t.clamp(min=0), (-t).clamp(min=0)], -1))
    q, k, v = (linear(x, weights, name) for name in "qkv")
    queries = [q]
    for branch in range(branches - 1):
        down, up = (weights[f"adapters.{branch}.{name}.weight"] for name in ("down", "up"))
        queries.append(q + x @ down.T @ up.T)
    k, v = heads_apart(k, heads), heads_apart(v, heads)
    answers = [
        heads_together(kernel_attention(heads_apart(t, heads), k, v, pairs)) for t in queries
    ]
    return linear(torch.cat(answers, -1) @ weights["fuse.weight"].T, weights, "out")


def multi_scale(
    x: Tensor, weights: Weights, channels: int, scales: tuple[int, ...], *, eps: float = 1e-15
) -> Tensor:
    """EfficientViT's attention of a map `[B, d, h, w]`, head after head, in evaluation mode."""
    grid: Grid = (x.shape[2], x.shape[3])
    qkv = torch.einsum("bchw,oc->bohw", x, weights["qkv.weight"].flatten(1))
    maps = [qkv]
    for i, _ in enumerate(scales):
        near = depth_wise(qkv.flatten(2).transpose(1, 2), weights[f"filters.{i}.weight"], 0.0, grid)
        mixer = weights[f"mixers.{i}.weight"].flatten(1)
        runs = [
            run @ mixer[g * channels : (g + 1) * channels].T
            for g, run in enumerate(near.split(channels, -1))
        ]
        maps.append(as_map(torch.cat(runs, -1), grid))
    answers: list[Tensor] = []
    for head in torch.cat(maps, 1).flatten(2).split(3 * channels, 1):
        q, k, v = (t.transpose(1, 2).unsqueeze(1) for t in head.split(channels, 1))
        answers.append(kernel_attention(q, k, v, FEATURES["relu"], eps=eps).squeeze(1))
    y = as_map(torch.cat(answers, -1), grid)
    y = torch.einsum("bchw,oc->bohw", y, weights["out.conv.weight"].flatten(1))
    mean, variance, scale, shift = (
        weights[f"out.norm.{name}"].reshape(1, -1, 1, 1)
        for name in ("running_mean", "running_var", "weight", "bias")
    )
    return (y - mean) / (variance + 1e-5).sqrt() * scale + shift


def projected(x: Tensor, weights: Weights, heads: int) -> tuple[Tensor, Tensor, Tensor]:
    """Queries, keys and values of every head."""
    q, k, v = (heads_apart(linear(x, weights, f"qkv.{name}"), heads) for name in "qkv")
    return q, k, v


def linear(x: Tensor, weights: Weights, name: str) -> Tensor:
    """x W^T + b."""
    return torch.einsum("...i,oi->...o", x, weights[f"{name}.weight"]) + weights[f"{name}.bias"]


def layer_norm(x: Tensor, weights: Weights, name: str, eps: float = 1e-6) -> Tensor:
    """Zero mean and unit variance over the channels, scaled and shifted."""
    centred = x - x.mean(-1, keepdim=True)
    deviation = (centred.pow(2).mean(-1, keepdim=True) + eps).sqrt()
    return centred / deviation * weights[f"{name}.weight"] + weights[f"{name}.bias"]


def as_map(tokens: Tensor, grid: Grid) -> Tensor:
    """`[B, n, d]` in raster order to `[B, d, rows, columns]`."""
    rows = [tokens[:, i * grid[1] : (i + 1) * grid[1]] for i in range(grid[0])]
    return torch.stack(rows, 1).permute(0, 3, 1, 2)


def beside_prefix(patches: Tensor, prefix: int) -> Tensor:
    """`[.., N, d]` with `prefix` rows of zeros in front."""
    shape = (*patches.shape[:-2], prefix, patches.shape[-1])
    return torch.cat([patches.new_zeros(shape), patches], -2)


def depth_wise(tokens: Tensor, kernel: Tensor, bias: Tensor | float, grid: Grid) -> Tensor:
    """Each channel of `[B, n, d]` filtered by itself by its `[1, k, k]`, zeros beyond the grid."""
    rows, columns = grid
    reach = kernel.shape[-1] // 2
    out: list[Tensor] = []
    for row in range(rows):
        for column in range(columns):
            total = torch.zeros_like(tokens[:, 0]) + bias
            for i in range(-reach, reach + 1):
                for j in range(-reach, reach + 1):
                    if 0 <= row + i < rows and 0 <= column + j < columns:
                        near = tokens[:, (row + i) * columns + column + j]
                        total = total + kernel[:, 0, i + reach, j + reach] * near
            out.append(total)
    return torch.stack(out, 1)


def adaptive_mean(x: Tensor, size: Grid) -> Tensor:
    """Means of windows: row i of r is that of rows floor(i h / r) to ceil((i + 1) h / r) - 1."""
    starts = [
        [i * given // r for i in range(r)] for given, r in zip(x.shape[2:], size, strict=True)
    ]
    ends = [
        [math.ceil((i + 1) * given / r) for i in range(r)]
        for given, r in zip(x.shape[2:], size, strict=True)
    ]
    rows = [
        torch.stack(
            [x[:, :, a:b, c:d].mean((2, 3)) for c, d in zip(starts[1], ends[1], strict=True)], -1
        )
        for a, b in zip(starts[0], ends[0], strict=True)
    ]
    return torch.stack(rows, 2)
