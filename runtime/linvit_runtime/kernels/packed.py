"""`linear_attention_qkvpacked`: linear attention of q, k and v that lie in one tensor.

The gradient of `qkv.unbind(2)` would copy three gradients into a fourth tensor. Here the backward
pass writes them where they belong.
"""

import math
from typing import Any

import torch
from torch import Tensor
from torch.autograd import forward_ad

from linvit_runtime.kernels.attention import (
    DTYPES,
    FAVOR,
    autocast,
    autocast_is_on,
    refuse_forward_mode,
    refuse_second_derivative,
)
from linvit_runtime.kernels.feature_maps import feature_map_named
from linvit_runtime.kernels.library import (
    linear_attention_op,
    linear_attention_qkvpacked_backward_op,
    linear_attention_train_op,
)

_NAME = "linear_attention_qkvpacked"


def linear_attention_qkvpacked(
    qkv: Tensor, feature_map: str = "split_relu", eps: float = 1e-6
) -> Tensor:
    """Compute `linear_attention(*qkv.unbind(2), feature_map, eps)`, and its gradient in one tensor.

    The output is the same, bit for bit, and so is the gradient; only training is faster.

    Args:
        qkv: Queries, keys and values of the same tokens, `[B, N, 3, H, D]`, any strides.
        feature_map: One of `FEATURE_MAPS`, as for `linear_attention`. `favor` makes new tensors of
            q and k: use that function.
        eps: Added to the denominator; at least 0.

    Returns:
        `[B, N, H*D]`, contiguous, in the dtype of qkv (the autocast dtype under autocast).

    Raises:
        ValueError: qkv is not such a tensor, or the feature map or eps is not one.
        TypeError: qkv is no tensor.
        NotImplementedError: A tangent of forward-mode differentiation is asked for.
    """
    if feature_map == FAVOR:
        raise ValueError(
            f"{_NAME}: the feature map {FAVOR!r} makes q and k anew: "
            "call linear_attention(q, k, v, 'favor', projection=...)"
        )
    feature_map_named(feature_map)
    if not 0 <= eps < math.inf:
        raise ValueError(f"{_NAME}: eps is {eps}; it must be finite and at least 0")
    if autocast_is_on():
        (qkv,) = autocast(feature_map, qkv)
    shape = qkv.shape
    if len(shape) != 5 or shape[2] != 3 or shape[3] * shape[4] == 0 or qkv.dtype not in DTYPES:
        _raise_misfit(qkv)
    if forward_ad._current_level >= 0:
        refuse_forward_mode(_NAME, qkv)
    if torch.is_grad_enabled() and qkv.requires_grad:
        return _LinearAttentionPacked.apply(qkv, feature_map, eps)
    return linear_attention_op(*qkv.unbind(2), feature_map, eps)


class _LinearAttentionPacked(torch.autograd.Function):
    """The closed-form gradient; saves qkv, S and z only."""

    @staticmethod
    def forward(ctx: Any, qkv: Tensor, feature_map: str, eps: float) -> Tensor:
        out, S, z = linear_attention_train_op(*qkv.unbind(2), feature_map, eps)
        ctx.save_for_backward(qkv, S, z)
        ctx.options = feature_map, eps
        return out

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Any) -> tuple[Tensor | None, ...]:
        refuse_second_derivative(_NAME)
        operator = linear_attention_qkvpacked_backward_op
        return operator(*grad_outputs, *ctx.saved_tensors, *ctx.options), None, None


def _raise_misfit(qkv: Tensor) -> None:
    """Raise ValueError for a tensor that does not hold q, k and v."""
    if not isinstance(qkv, Tensor):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise TypeError(f"{_NAME}: qkv is a {type(qkv).__name__}; it must be a torch.Tensor")
    is_shape = f"{_NAME}: qkv has shape {list(qkv.shape)}"
    if qkv.dim() != 5:
        raise ValueError(f"{is_shape}; it must have five axes [batch, tokens, 3, heads, width]")
    if qkv.shape[2] != 3:
        raise ValueError(
            f"{is_shape}; its axis 2 must hold q, k and v, but {qkv.shape[2]} != 3: "
            "[batch, tokens, 3, heads, width]"
        )
    if 0 in qkv.shape[3:]:
        raise ValueError(f"{is_shape}; it needs at least one head, of width at least one")
    raise ValueError(f"{_NAME}: qkv is {qkv.dtype}; it must be a floating-point dtype")
