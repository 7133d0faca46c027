"""What linear attention is measured against, each as a function of q, k and v.

All take views `[B, N, H, D]` and return `[B, N, H*D]`, whatever layout they would prefer, because
that is what a model has and wants. None of them is linvit's own:

- `eager`: split-relu linear attention as its formula says, in torch operators;
- `compiled`: the same under torch.compile;
- `sdpa`: softmax attention, torch's scaled_dot_product_attention, on the device's best backend.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

Attention = Callable[[Tensor, Tensor, Tensor], Tensor]

EPS = 1e-6


def split_relu(x: Tensor) -> Tensor:
    """phi(x): `[..., D]` to `[..., 2D]`."""
    return torch.cat([x.relu(), (-x).relu()], dim=-1)


def eager(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Linear attention as the formula says, heads first, as batched matrix products want it."""
    q, k, v = (x.transpose(1, 2) for x in (q, k, v))
    q, k = split_relu(q), split_relu(k)
    S, z = k.transpose(-1, -2) @ v, k.sum(-2)
    return (q @ S / ((q @ z.unsqueeze(-1)) + EPS)).transpose(1, 2).flatten(2)


@functools.cache
def _compiled() -> Attention:
    return torch.compile(eager, dynamic=False, fullgraph=True)


def compiled(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """`eager` under torch.compile, compiled for every shape of its own."""
    return _compiled()(q, k, v)


def sdpa(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Softmax attention: another function, and what linear attention has to beat."""
    q, k, v = (x.transpose(1, 2) for x in (q, k, v))
    return functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
