"""Linear attention in plain torch: every device and dtype, forward and closed-form backward.

This is the path that trains on a CPU, the fallback of the CUDA kernels, and, in float64, their
reference. All of it runs on `[B*H, tokens, width]` operands: one pass per input applies the feature
map and changes the layout, then everything heavy is a batched matrix product.

Legend: B batch, N queries, L keys, H heads, D head width of q and k, E of v, F features per head.

Let c be the power of two in (1/2L, 1/L]: the sums over L keys become means, give or take a factor
of two, so that no half-precision consumer of S overflows at large L. Scaling by a power of two is
exact and cancels in the ratio, so the result is that of the unscaled formula, bit for bit::

    S = c sum_j phi(k_j) v_j^T      z = c sum_j phi(k_j)
    den_i = phi(q_i).z + c eps      out_i = S^T phi(q_i) / den_i

Backward, from q, k, v, S and z alone (features and den are recomputed, out is not needed)::

    g_i = dout_i / den_i            w_i = phi(q_i).(S g_i) / den_i
    dphi(q_i) = S g_i - w_i z       dS = sum_i phi(q_i) g_i^T      dz = - sum_i w_i phi(q_i)
    dphi(k_j) = c (dS v_j + dz)     dv_j = c dS^T phi(k_j)

The factor c rides on v (c v replaces v), so it never costs a pass of its own.
"""

import torch
from torch import Tensor

from linvit_runtime.kernels.feature_maps import FeatureMap

Forward = tuple[Tensor, Tensor, Tensor]
"""The output `[B, N, H*E]` in the dtype of q, and S `[B, H, F, E]` and z `[B, H, F]` in float32."""

Gradients = tuple[Tensor, Tensor, Tensor]
"""dq `[B, N, H, D]`, dk `[B, L, H, D]` and dv `[B, L, H, E]`, in the dtype of q."""


def accumulation_dtype(dtype: torch.dtype) -> torch.dtype:
    """Return the dtype in which inputs of `dtype` are computed: float32, or float64 for float64."""
    return torch.float64 if dtype == torch.float64 else torch.float32


def state_scale(num_keys: int) -> float:
    """Return c, the largest power of two that is at most 1 / num_keys (1 without keys)."""
    return 2.0 ** -max(num_keys - 1, 0).bit_length()


def forward(
    q: Tensor, k: Tensor, v: Tensor, feature_map: FeatureMap, eps: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Compute linear attention.

    Args:
        q: Queries `[B, N, H, D]`, any strides.
        k: Keys `[B, L, H, D]`.
        v: Values `[B, L, H, E]`.
        feature_map: The map phi.
        eps: Added to the unscaled denominator.

    Returns:
        The output `[B, N, H*E]` in the dtype of q; S `[B, H, F, E]` and z `[B, H, F]`, scaled by
        c, in the accumulation dtype.
    """
    batch, num_queries, num_heads, _ = q.shape
    scale = state_scale(k.shape[1])

    features_k = _features(k, feature_map)
    S = torch.bmm(features_k.transpose(1, 2), _heads_first(v, scale))
    z = features_k.sum(dim=1).mul_(scale)
    del features_k  # the allocator hands the same memory to the features of q

    features_q = _features(q, feature_map)
    out = torch.bmm(features_q, S).div_(_denominator(features_q, z, scale * eps))
    out = _heads_last(out.view(batch, num_heads, num_queries, v.shape[3])).to(q.dtype)
    return (
        out.flatten(2),
        S.view(batch, num_heads, *S.shape[1:]),
        z.view(batch, num_heads, S.shape[1]),
    )


def backward(
    grad_out: Tensor,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    S: Tensor,
    z: Tensor,
    feature_map: FeatureMap,
    eps: float,
) -> tuple[Tensor, Tensor, Tensor]:
    """Compute the gradients of q, k and v from the state that `forward` returned.

    Args:
        grad_out: dL/dout `[B, N, H*E]`.
        q: Queries, as given to `forward`; likewise `k`, `v`, `feature_map` and `eps`.
        k: Keys.
        v: Values.
        S: The scaled sum of phi(k) v^T, `[B, H, F, E]`.
        z: The scaled sum of phi(k), `[B, H, F]`.
        feature_map: The map phi.
        eps: Added to the unscaled denominator.

    Returns:
        dq, dk and dv, contiguous, in the shapes and dtypes of q, k and v.
    """
    batch, num_queries, num_heads, _ = q.shape
    scale = state_scale(k.shape[1])
    S, z = S.flatten(0, 1), z.flatten(0, 1)

    features_q = _features(q, feature_map)
    inverse = _denominator(features_q, z, scale * eps).reciprocal_()
    grad_out = grad_out.unflatten(2, (num_heads, v.shape[3]))
    g = _heads_first(grad_out, inverse.view(batch, num_heads, num_queries, 1))
    grad_features_q = torch.bmm(g, S.transpose(1, 2))
    w = (features_q * grad_features_q).sum(dim=2, keepdim=True).mul_(inverse)
    grad_features_q.addcmul_(w, z.unsqueeze(1), value=-1)
    grad_S = torch.bmm(features_q.transpose(1, 2), g)
    grad_z = torch.bmm(w.transpose(1, 2), features_q).mul_(-scale)  # c dz, [B*H, 1, F]
    grad_q = _input_gradient(grad_features_q, features_q, q, feature_map)
    del features_q, grad_features_q, g

    features_k = _features(k, feature_map)
    grad_features_k = torch.baddbmm(grad_z, _heads_first(v, scale), grad_S.transpose(1, 2))
    grad_k = _input_gradient(grad_features_k, features_k, k, feature_map)
    grad_v = torch.bmm(features_k, grad_S).mul_(scale)
    grad_v = _heads_last(grad_v.view(batch, num_heads, k.shape[1], v.shape[3])).to(v.dtype)
    return grad_q, grad_k, grad_v


def _features(x: Tensor, feature_map: FeatureMap) -> Tensor:
    """Apply the feature map: `[B, T, H, D]` to `[B*H, T, F]`, for identity perhaps a view."""
    batch, tokens, num_heads, head_dim = x.shape
    x = x.to(accumulation_dtype(x.dtype))
    if feature_map.write_features is None:
        return x.transpose(1, 2).flatten(0, 1)
    out = x.new_empty(batch, num_heads, tokens, feature_map.width(head_dim))
    feature_map.write_features(x.transpose(1, 2), out)
    return out.flatten(0, 1)


def _heads_first(x: Tensor, factor: Tensor | float) -> Tensor:
    """Multiply and change the layout in one pass: `[B, T, H, E]` to `[B*H, T, E]`, contiguous."""
    batch, tokens, num_heads, width = x.shape
    x = x.to(accumulation_dtype(x.dtype))
    out = x.new_empty(batch, num_heads, tokens, width)
    torch.mul(x.transpose(1, 2), factor, out=out)
    return out.flatten(0, 1)


def _heads_last(x: Tensor) -> Tensor:
    """Change the layout back: `[B, H, T, E]` to `[B, T, H, E]`, contiguous."""
    batch, num_heads, tokens, width = x.shape
    out = x.new_empty(batch, tokens, num_heads, width)
    out.transpose(1, 2).copy_(x)
    return out


def _denominator(features_q: Tensor, z: Tensor, scaled_eps: float) -> Tensor:
    """Return phi(q).z + c eps as `[B*H, N, 1]`."""
    # Batched matrix times vector is slower than this, by a factor of up to four on a CPU.
    return (features_q * z.unsqueeze(1)).sum(dim=2, keepdim=True).add_(scaled_eps)


def _input_gradient(
    grad_features: Tensor, features: Tensor, x: Tensor, feature_map: FeatureMap
) -> Tensor:
    """Turn dL/dphi(x) `[B*H, T, F]`, which is overwritten, into dL/dx `[B, T, H, D]`."""
    feature_map.multiply_by_derivative(grad_features, features)
    out = grad_features.new_empty(x.shape)
    batch, tokens, num_heads, _ = x.shape
    per_head = grad_features.view(batch, num_heads, tokens, features.shape[2])
    feature_map.write_input_gradient(per_head, out.transpose(1, 2))
    return out.to(x.dtype)
