"""`linear_attention`: what a generated module calls. Checks, casts, and differentiation.

Legend: B batch, N queries, L keys, H heads, D head width of q and k, E of v, F features per head,
M of them random.
"""

import functools
import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.autograd import forward_ad

from linvit_runtime.kernels.dispatch import in_quadratic_order
from linvit_runtime.kernels.feature_maps import feature_map_named
from linvit_runtime.kernels.library import (
    linear_attention_backward_op,
    linear_attention_op,
    linear_attention_train_op,
)
from linvit_runtime.kernels.random_features import favor_features

autocast_is_on: Callable[[], bool] = torch._C._is_any_autocast_enabled
"""Whether it is for any device: to ask for one takes its name, which torch makes at every call."""

DTYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
"""What linear attention is computed of."""


FAVOR = "favor"
"""The feature map that is made with a projection."""

ORDERS = ("linear", "quadratic")
"""What `order=` accepts."""


def linear_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    feature_map: str = "split_relu",
    eps: float = 1e-6,
    order: str = "linear",
    projection: Tensor | None = None,
) -> Tensor:
    """Attend in time linear in the number of tokens, every query to every key.

    Per batch element and head, with S = sum_j phi(k_j) v_j^T and z = sum_j phi(k_j)::

        out_i = S^T phi(q_i) / (phi(q_i).z + eps)

    Everything between input and output is float32 (float64 for float64 inputs), under autocast
    too. The result does not depend on the other elements of the batch and is the same on every
    run. A query whose features are all zero gives zero.

    Cost: B H (L + N) F E multiply-accumulates forward, twice that backward, with F = 2D for
    split_relu and D for the other maps. Saved for backward: q, k, v, and B H F (E + 1) numbers.
    favor, whose F is M, makes its features before that, with B H (L + N) M D more, and saves them.

    Args:
        q: Queries `[B, N, H, D]`. Views are read in place, such as slices of a `[B, N, 3, H, D]`
            buffer or transposes of `[B, H, N, D]`.
        k: Keys `[B, L, H, D]`.
        v: Values `[B, L, H, E]`.
        feature_map: One of `FEATURE_MAPS`, or `favor`. With `identity`, q and k are the features,
            which should not be negative; autocast does not narrow them.
        eps: Added to the denominator; at least 0. With 0, a query without features gives NaN.
        order: `linear` forms the state S, `quadratic` the weights of all pairs of tokens: the same
            function, which plain torch computes on a CPU, faster for very few tokens. Elsewhere
            the order is linear whatever is asked for.
        projection: For `favor`, and only for it: random directions `[M, D]`, as
            `favor_features` takes them. Standard normal ones estimate softmax attention; the
            block `Performer` of the language does that with an `eps` of 0.

    Returns:
        `[B, N, H*E]`, contiguous, in the inputs' dtype (the autocast dtype under autocast).

    Raises:
        ValueError: The inputs do not fit together, or the feature map, eps, order or projection is
            not one.
        TypeError: An input is no tensor.
        NotImplementedError: A tangent of forward-mode differentiation is asked for.
    """
    if order not in ORDERS:
        raise ValueError(f"linear_attention: order is {order!r}; it must be linear or quadratic")
    if feature_map != FAVOR:
        feature_map_named(feature_map)
    if not 0 <= eps < math.inf:
        raise ValueError(f"linear_attention: eps is {eps}; it must be finite and at least 0")
    if autocast_is_on():
        q, k, v = autocast(feature_map, q, k, v)
    if not _fit(q, k, v):
        _raise_misfit(q, k, v)
    if forward_ad._current_level >= 0:
        refuse_forward_mode("linear_attention", q, k, v)
    if feature_map == FAVOR or projection is not None:
        projection = _checked_projection(projection, q, feature_map)
        fq, fk = favor_features(q, projection, "token"), favor_features(k, projection, "head")
        return linear_attention(fq, fk, v.to(fq.dtype), "identity", eps, order).to(q.dtype)
    if order == "quadratic" and q.device.type == "cpu":
        return in_quadratic_order(q, k, v, feature_map, eps)
    if torch.is_grad_enabled() and (q.requires_grad or k.requires_grad or v.requires_grad):
        return _LinearAttention.apply(q, k, v, feature_map, eps)
    return linear_attention_op(q, k, v, feature_map, eps)


class _LinearAttention(torch.autograd.Function):
    """The closed-form gradient; saves q, k, v, S and z only."""

    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor, feature_map: str, eps: float) -> Tensor:
        out, S, z = linear_attention_train_op(q, k, v, feature_map, eps)
        ctx.save_for_backward(q, k, v, S, z)
        ctx.options = feature_map, eps
        return out

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Any) -> tuple[Tensor | None, ...]:
        refuse_second_derivative("linear_attention")
        gradients = linear_attention_backward_op(*grad_outputs, *ctx.saved_tensors, *ctx.options)
        return (*gradients, None, None)


def refuse_second_derivative(name: str) -> None:
    """Raise RuntimeError in a backward pass that is to be differentiated itself."""
    # Grad mode is on there only under create_graph=True. `once_differentiable` would let the
    # second-order term vanish silently whenever grad_out is a constant.
    if torch.is_grad_enabled() and not torch.compiler.is_compiling():
        raise RuntimeError(
            f"{name} has no second derivative: differentiate without create_graph=True"
        )


def refuse_forward_mode(name: str, *inputs: Tensor) -> None:
    """Raise NotImplementedError if an input has a tangent, which would be lost silently."""
    if any(forward_ad.unpack_dual(x).tangent is not None for x in inputs):
        raise NotImplementedError(
            f"{name} has no forward-mode derivative: differentiate in reverse mode"
        )


def autocast(feature_map: str, *inputs: Tensor) -> tuple[Tensor, ...]:
    """Convert to the autocast dtype if autocast is on here; float64 is exempt, as in torch.

    Features stay as wide as they were made: exponentials may not fit into half precision.
    """
    first = inputs[0]
    device_type = first.device.type
    if (
        first.is_meta  # the meta device has no autocast to ask about
        or not torch.is_autocast_enabled(device_type)
        or first.dtype == torch.float64
    ):
        return inputs
    dtype = torch.get_autocast_dtype(device_type)
    if feature_map == "identity":
        dtype = functools.reduce(torch.promote_types, [x.dtype for x in inputs])
    return tuple([x.to(dtype) for x in inputs])


def _checked_projection(projection: Tensor | None, q: Tensor, feature_map: str) -> Tensor:
    """Raise ValueError unless there is a projection, as wide as heads, where one belongs."""
    if feature_map != FAVOR:
        raise ValueError(
            f"linear_attention: the feature map {feature_map!r} takes no projection; {FAVOR!r} does"
        )
    if projection is None:
        raise ValueError(
            f"linear_attention: the feature map {FAVOR!r} needs projection=, random directions "
            f"[M, {q.shape[3]}]"
        )
    if projection.dim() != 2 or projection.shape[1] != q.shape[3] or 0 in projection.shape:
        raise ValueError(
            f"linear_attention: projection is {list(projection.shape)} and q is {list(q.shape)}: "
            f"it must have rows as wide as a head, [M, {q.shape[3]}]"
        )
    if projection.device != q.device:
        raise ValueError(
            f"linear_attention: q is on {q.device} and projection is on {projection.device}; "
            "move one"
        )
    return projection


def _raise_misfit(q: Tensor, k: Tensor, v: Tensor) -> None:
    """Raise ValueError, naming both sides, where q, k and v do not fit together."""
    for name, tensor in (("q", q), ("k", k), ("v", v)):
        if not isinstance(tensor, Tensor):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise TypeError(
                f"linear_attention: {name} is a {type(tensor).__name__}; it must be a torch.Tensor"
            )
        if tensor.dim() != 4:
            raise ValueError(
                f"linear_attention: {name} has shape {list(tensor.shape)}; "
                "it must have four axes [batch, tokens, heads, width]"
            )
        if 0 in tensor.shape[2:]:
            raise ValueError(
                f"linear_attention: {name} has shape {list(tensor.shape)}; "
                "it needs at least one head, of width at least one"
            )
    if q.dtype not in DTYPES:
        raise ValueError(f"linear_attention: q is {q.dtype}; it must be a floating-point dtype")
    for name, tensor in (("k", k), ("v", v)):
        if tensor.dtype != q.dtype:
            raise ValueError(
                f"linear_attention: q is {q.dtype} and {name} is {tensor.dtype}; convert one"
            )
        if tensor.device != q.device:
            raise ValueError(
                f"linear_attention: q is on {q.device} and {name} is on {tensor.device}; move one"
            )
    _check_same("batch size", 0, ("q", q), ("k", k))
    _check_same("batch size", 0, ("q", q), ("v", v))
    _check_same("number of heads", 2, ("q", q), ("k", k))
    _check_same("number of heads", 2, ("q", q), ("v", v))
    _check_same("head width", 3, ("q", q), ("k", k))
    _check_same("number of tokens", 1, ("k", k), ("v", v))


def _fit(q: Tensor, k: Tensor, v: Tensor) -> bool:
    """Whether q, k and v fit together. Asked for every call, so in few operations."""
    shape, k_shape, v_shape = q.shape, k.shape, v.shape
    if not (shape == k_shape == v_shape or _shapes_fit(shape, k_shape, v_shape)):
        return False
    dtype, device = q.dtype, q.device
    return (
        len(shape) == 4
        and shape[2] * shape[3] * v_shape[3] > 0
        and dtype in DTYPES
        and dtype is k.dtype
        and dtype is v.dtype
        and device == k.device
        and device == v.device
    )


def _shapes_fit(q: tuple[int, ...], k: tuple[int, ...], v: tuple[int, ...]) -> bool:
    """Whether all but the number of queries and the width of v agree."""
    if not len(q) == len(k) == len(v) == 4:
        return False
    return k == (q[0], k[1], *q[2:]) and v[:3] == (q[0], k[1], q[2])


def _check_same(what: str, axis: int, left: tuple[str, Tensor], right: tuple[str, Tensor]) -> None:
    (left_name, left_tensor), (right_name, right_tensor) = left, right
    if left_tensor.shape[axis] != right_tensor.shape[axis]:
        raise ValueError(
            f"linear_attention: {left_name} is {list(left_tensor.shape)} and {right_name} is "
            f"{list(right_tensor.shape)}: the {what} (axis {axis}) must agree, "
            f"but {left_tensor.shape[axis]} != {right_tensor.shape[axis]}"
        )
