"""QAViT in plain torch, from its formulas, as a function of images and of a dictionary of weights.

Legend: B images, N tokens of a grid of rows x columns, d channels, d' = d / 4 of a branch. Keys of
the dictionary are those of a generated module's state dict.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from tests.models.references.attention import (
    channel_attention,
    heads_apart,
    heads_together,
    masked_attention,
    neighbour_attention,
    window_pairs,
)

Weights = Mapping[str, Tensor]


@dataclass(frozen=True, slots=True)
class Settings:
    """What the weights do not say."""

    grid: tuple[int, int]
    patch: int
    depth: int
    heads: int
    window: int
    rates: tuple[int, ...]
    groups: int
    compress: str = "split"
    fusion_scale: float = 4.0


def qavit(images: Tensor, weights: Weights, settings: Settings) -> Tensor:
    """Class scores `[B, classes]` of `images` `[B, channels, rows patch, columns patch]`."""
    x = _patches(images, weights, settings)
    x = _layer_norm(x, weights, "embed_norm") + weights["pos"]
    bank = weights["global_tokens"].repeat(len(images), 1, 1)
    for index in range(settings.depth):
        part = _below(weights, f"blocks.{index}")
        fused = _fused(_layer_norm(x, part, "norm1"), bank, part, settings)
        x = x + _linear(_gelu(_linear(fused, part, "down")), part, "up")
        x = x + _conv_mlp(_layer_norm(x, part, "norm2"), _below(part, "mlp"), settings.grid)
        if index < settings.depth - 1:
            bank = _written(bank, fused, _below(weights, "write"))
    return _linear(_layer_norm(x, weights, "norm").mean(1), weights, "head")


def _patches(images: Tensor, weights: Weights, settings: Settings) -> Tensor:
    kernel, size = weights["embed.proj.weight"], settings.patch
    rows, columns = settings.grid
    tokens = [
        torch.einsum(
            "bcij,dcij->bd",
            images[:, :, r * size : (r + 1) * size, c * size : (c + 1) * size],
            kernel,
        )
        for r in range(rows)
        for c in range(columns)
    ]
    return torch.stack(tokens, dim=1) + weights["embed.proj.bias"]


def _fused(u: Tensor, bank: Tensor, weights: Weights, settings: Settings) -> Tensor:
    """F = concat_b(scale softmax(a)_b LN_b(o_b))."""
    quarter = u.shape[-1] // 4
    if settings.compress == "split":
        parts = [u[..., b * quarter : (b + 1) * quarter] for b in range(4)]
    elif settings.compress == "shared":
        parts = [_linear(u, weights, "compress.project")] * 4
    else:
        parts = [_linear(u, weights, f"compress.project.{b}") for b in range(4)]
    answers = [
        _windows(parts[0], _below(weights, "window.qkv"), settings),
        _dilated(parts[1], _below(weights, "dilated.qkv"), settings),
        _channels(parts[2], _below(weights, "channel.qkv"), settings),
        _from_bank(parts[3], bank, _below(weights, "bank"), settings),
    ]
    mix = weights["fusion.mix"].exp()
    mix = settings.fusion_scale * mix / mix.sum()
    return torch.cat(
        [mix[b] * _layer_norm(answers[b], weights, f"fusion.norms.{b}") for b in range(4)], dim=-1
    )


def _windows(u: Tensor, weights: Weights, settings: Settings) -> Tensor:
    q, k, v = (heads_apart(_linear(u, weights, name), settings.heads) for name in "qkv")
    pairs = window_pairs(*settings.grid, settings.window)
    return heads_together(masked_attention(q, k, v, pairs, q.shape[-1] ** -0.5))


def _dilated(u: Tensor, weights: Weights, settings: Settings) -> Tensor:
    q, k, v = (heads_apart(_linear(u, weights, name), settings.heads) for name in "qkv")
    heads: list[Tensor] = []
    for j in range(settings.heads):
        rate = settings.rates[j % len(settings.rates)]
        head_q, head_k, head_v = (x[:, j : j + 1] for x in (q, k, v))
        heads.append(neighbour_attention(head_q, head_k, head_v, settings.grid, rate=rate))
    return heads_together(torch.cat(heads, dim=1))


def _channels(u: Tensor, weights: Weights, settings: Settings) -> Tensor:
    q, k, v = (heads_apart(_linear(u, weights, name), settings.groups) for name in "qkv")
    return heads_together(channel_attention(q, k, v, u.shape[1] ** -0.5))


def _from_bank(u: Tensor, bank: Tensor, weights: Weights, settings: Settings) -> Tensor:
    q = heads_apart(_linear(u, weights, "q"), settings.heads)
    k, v = (heads_apart(_linear(bank, weights, name), settings.heads) for name in "kv")
    everything = torch.ones(u.shape[1], bank.shape[1], dtype=torch.bool)
    return heads_together(masked_attention(q, k, v, everything, q.shape[-1] ** -0.5))


def _written(bank: Tensor, fused: Tensor, weights: Weights) -> Tensor:
    """G + sigmoid(g) (softmax(q k^T / sqrt(d')) v W_o); keys and values come from E LN(F) W_c."""
    c = _linear(_layer_norm(fused, weights, "norm"), weights, "squeeze")
    if "compress" in weights:
        c = torch.einsum("kn,bnc->bkc", weights["compress"], c)
    q = _linear(_layer_norm(bank, weights, "bank_norm"), weights, "q")[:, None]
    k, v = (_linear(c, weights, name)[:, None] for name in "kv")
    everything = torch.ones(bank.shape[1], c.shape[1], dtype=torch.bool)
    read = masked_attention(q, k, v, everything, bank.shape[-1] ** -0.5)[:, 0]
    gate = 1 / (1 + (-weights["gate"]).exp())
    return bank + gate * _linear(read, weights, "out")


def _conv_mlp(x: Tensor, weights: Weights, grid: tuple[int, int]) -> Tensor:
    """fc2(GELU(DWConv3x3(fc1 x))), the filter as nine shifted copies of the map."""
    rows, columns = grid
    h = _linear(x, weights, "fc1").unflatten(1, grid)
    kernel = weights["filter.dw.weight"][:, 0]
    framed = h.new_zeros(len(h), rows + 2, columns + 2, h.shape[-1])
    framed[:, 1:-1, 1:-1] = h
    y = weights["filter.dw.bias"].expand_as(h)
    for i in range(3):
        for j in range(3):
            y = y + framed[:, i : i + rows, j : j + columns] * kernel[:, i, j]
    return _linear(_gelu(y.flatten(1, 2)), weights, "fc2")


def _linear(x: Tensor, weights: Weights, name: str) -> Tensor:
    return x @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]


def _layer_norm(x: Tensor, weights: Weights, name: str) -> Tensor:
    centred = x - x.mean(-1, keepdim=True)
    scaled = centred / (centred.square().mean(-1, keepdim=True) + 1e-6).sqrt()
    return scaled * weights[f"{name}.weight"] + weights[f"{name}.bias"]


def _gelu(x: Tensor) -> Tensor:
    return x * (1 + torch.erf(x / math.sqrt(2))) / 2


def _below(weights: Weights, name: str) -> Weights:
    """The weights of one part, by their keys within it."""
    return {key[len(name) + 1 :]: w for key, w in weights.items() if key.startswith(f"{name}.")}
