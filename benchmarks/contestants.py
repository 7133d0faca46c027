"""linvit's linear attention and what it is measured against, each as a function of q, k and v.

All take views `[B, N, H, D]` and return `[B, N, H*D]`, whatever layout they would prefer, because
that is what a model has and wants:

- `Linvit`: linvit's own, which also takes the buffer that q, k and v are views of;
- `eager`: split-relu linear attention as its formula says, in torch operators;
- `compiled`: the same under torch.compile;
- `sdpa`: softmax attention, torch's scaled_dot_product_attention, on the device's best backend.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from linvit_runtime.kernels import linear_attention, linear_attention_qkvpacked

Attention = Callable[..., Tensor]
"""Of q, k and v."""

EPS = 1e-6


@dataclass(frozen=True, slots=True)
class Linvit:
    """linvit's own."""

    feature_map: str = "split_relu"

    def __call__(self, *inputs: Tensor) -> Tensor:
        """Attend from q, k and v, or from the buffer `[B, N, 3, H, D]` of all three."""
        if len(inputs) == 1:
            return linear_attention_qkvpacked(*inputs, self.feature_map)
        q, k, v = inputs
        return linear_attention(q, k, v, self.feature_map)


def takes_buffer(attention: Attention, layout: str, backward: bool) -> bool:
    """Whether a contestant takes the buffer that q, k and v are views of, rather than the views.

    linvit does where gradients are asked for: it writes them into the buffer's gradient at once.
    """
    return isinstance(attention, Linvit) and layout == "qkv" and backward


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
