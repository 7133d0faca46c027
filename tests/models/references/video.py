"""Clips in plain torch: a 3-D convolution, and attention one frame and one place at a time."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional as F

from tests.models.references.attention import heads_apart, heads_together

Weights = Mapping[str, Tensor]


def linear(x: Tensor, weights: Weights, name: str) -> Tensor:
    """The map called `name`."""
    return F.linear(x, weights[f"{name}.weight"], weights[f"{name}.bias"])


def norm(x: Tensor, weights: Weights, name: str) -> Tensor:
    """The layer norm called `name`."""
    return F.layer_norm(x, x.shape[-1:], weights[f"{name}.weight"], weights[f"{name}.bias"], 1e-6)


def attention(x: Tensor, weights: Weights, name: str, heads: int) -> Tensor:
    """Softmax attention of tokens `[B, n, d]`."""
    q, k, v = (heads_apart(linear(x, weights, f"{name}.{part}"), heads) for part in "qkv")
    scores = torch.einsum("bhie,bhje->bhij", q, k) * q.shape[-1] ** -0.5
    return linear(heads_together(scores.softmax(-1) @ v), weights, f"{name}.out")


def mlp(x: Tensor, weights: Weights, name: str) -> Tensor:
    """Two maps with GELU between."""
    return linear(F.gelu(linear(x, weights, f"{name}.fc1")), weights, f"{name}.fc2")


def tubelets(clip: Tensor, weights: Weights, size: tuple[int, int, int]) -> Tensor:
    """`[B, C, T, H, W]` to `[B, t, n, d]`, plus positions in time and space."""
    kernel = weights["embed.proj.weight"].unflatten(1, (clip.shape[1], *size))
    maps = F.conv3d(clip, kernel, weights["embed.proj.bias"], stride=size)
    return maps.flatten(3).permute(0, 2, 3, 1) + weights["times"] + weights["places"]


def head(x: Tensor, weights: Weights) -> Tensor:
    """`[B, t, n, d]` to scores of classes."""
    return linear(norm(x, weights, "norm").flatten(1, 2).mean(1), weights, "head")


def factorised(
    clip: Tensor, weights: Weights, *, size: tuple[int, int, int], depth: int, heads: int
) -> Tensor:
    """Space, then time, in every layer."""
    x = tubelets(clip, weights, size)
    for i in range(depth):
        at = f"layers.{i}"
        frames = [
            attention(norm(frame, weights, f"{at}.space_norm"), weights, f"{at}.space", heads)
            for frame in x.unbind(1)
        ]
        x = x + torch.stack(frames, 1)
        places = [
            attention(norm(place, weights, f"{at}.time_norm"), weights, f"{at}.time", heads)
            for place in x.unbind(2)
        ]
        x = x + torch.stack(places, 2)
        x = x + mlp(norm(x, weights, f"{at}.mlp_norm"), weights, f"{at}.mlp")
    return head(x, weights)


def joint(
    clip: Tensor, weights: Weights, *, size: tuple[int, int, int], depth: int, heads: int
) -> Tensor:
    """Every tubelet attends to every other with the weights sum_c relu(q_c k_c)."""
    x = tubelets(clip, weights, size)
    times, places = x.shape[1:3]
    x = x.flatten(1, 2)
    for i in range(depth):
        at = f"layers.{i}"
        y = norm(x, weights, f"{at}.norm1")
        q, k, v = (heads_apart(linear(y, weights, f"{at}.attn.qkv.{p}"), heads) for p in "qkv")
        pairs = (q.unsqueeze(3) * k.unsqueeze(2)).clamp(min=0).sum(-1)
        y = pairs @ v / (pairs.sum(-1, keepdim=True) + 1e-6)
        x = x + linear(heads_together(y), weights, f"{at}.attn.out")
        x = x + mlp(norm(x, weights, f"{at}.norm2"), weights, f"{at}.mlp")
    return head(x.unflatten(1, (times, places)), weights)
