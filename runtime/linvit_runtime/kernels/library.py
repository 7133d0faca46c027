"""The torch operators `linvit::linear_attention*`: schemas, kernels, fakes, autocast, FLOPs.

There are four, because an operator has a fixed number of results: `linear_attention` for
inference; `linear_attention_train`, which also returns the state (S, z) that the backward pass
needs; `linear_attention_backward`; and `linear_attention_qkvpacked_backward`, which gives the
gradients of q, k and v in one tensor. None is differentiable by itself: `attention.py` and
`packed.py` wrap an `autograd.Function` around them. That and `Library.define` instead of
`custom_op` is the cheapest combination per call, and the one torch's maintainers recommend.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import register_flop_formula

from linvit_runtime.kernels import dispatch
from linvit_runtime.kernels.feature_maps import feature_map_named
from linvit_runtime.kernels.torch_backend import accumulation_dtype

_INPUTS = "Tensor q, Tensor k, Tensor v"
_OPTIONS = "str feature_map, float eps"
_SCHEMAS = (
    f"linear_attention({_INPUTS}, {_OPTIONS}) -> Tensor",
    f"linear_attention_train({_INPUTS}, {_OPTIONS}) -> (Tensor out, Tensor S, Tensor z)",
    f"linear_attention_backward(Tensor grad_out, {_INPUTS}, Tensor S, Tensor z, {_OPTIONS})"
    " -> (Tensor grad_q, Tensor grad_k, Tensor grad_v)",
    "linear_attention_qkvpacked_backward"
    f"(Tensor grad_out, Tensor qkv, Tensor S, Tensor z, {_OPTIONS}) -> Tensor",
)

# Inductor may otherwise hand over copies in a layout of its choice: the kernels read views of one
# qkv buffer in place, and that copy is what they are there to avoid.
_TAGS = (torch.Tag.needs_fixed_stride_order, torch.Tag.pt2_compliant_tag)

_library = torch.library.Library("linvit", "FRAGMENT")  # its operators live as long as it does
for _schema in _SCHEMAS:
    _library.define(_schema, tags=_TAGS)

linear_attention_op = torch.ops.linvit.linear_attention.default
linear_attention_train_op = torch.ops.linvit.linear_attention_train.default
linear_attention_backward_op = torch.ops.linvit.linear_attention_backward.default
linear_attention_qkvpacked_backward_op = (
    torch.ops.linvit.linear_attention_qkvpacked_backward.default
)


def _fake_out(q: Tensor, k: Tensor, v: Tensor, feature_map: str, eps: float) -> Tensor:
    return q.new_empty(q.shape[0], q.shape[1], v.shape[2] * v.shape[3])


def _fake_out_and_state(
    q: Tensor, k: Tensor, v: Tensor, feature_map: str, eps: float
) -> tuple[Tensor, Tensor, Tensor]:
    batch, _, num_heads, head_dim = q.shape
    width = feature_map_named(feature_map).width(head_dim)
    dtype = accumulation_dtype(q.dtype)
    S = q.new_empty(batch, num_heads, width, v.shape[3], dtype=dtype)
    z = q.new_empty(batch, num_heads, width, dtype=dtype)
    return _fake_out(q, k, v, feature_map, eps), S, z


def _fake_gradients(
    grad_out: Tensor, q: Tensor, k: Tensor, v: Tensor, *_: object
) -> tuple[Tensor, Tensor, Tensor]:
    return q.new_empty(q.shape), k.new_empty(k.shape), v.new_empty(v.shape)


def _fake_packed_gradient(grad_out: Tensor, qkv: Tensor, *_: object) -> Tensor:
    return qkv.new_empty(qkv.shape)


def _without_autocast(operator: Callable[..., Any]) -> Callable[..., Any]:
    """Make the kernel that runs `operator` under autocast.

    Without it, the matrix products inside the torch backend would be cast to half precision one by
    one; the sums over tokens must stay in float32 (EfficientViT switches autocast off here too).
    """

    def kernel(first: Tensor, *rest: object) -> object:
        with torch.autocast(first.device.type, enabled=False):
            return operator(first, *rest)

    return kernel


def _forward_flops(
    q_shape: torch.Size,
    k_shape: torch.Size,
    v_shape: torch.Size,
    feature_map: str,
    *_: object,
    **__: object,
) -> int:
    """Count 2 FLOPs per multiply-accumulate of S and of the read-out: 2 B H (L + N) F E.

    The sums z and the denominators, which are (L + N) F more, are not counted, like the additions
    and divisions of any other operator.
    """
    batch, num_queries, num_heads, head_dim = q_shape
    width = feature_map_named(feature_map).width(head_dim)
    return 2 * batch * num_heads * (k_shape[1] + num_queries) * width * v_shape[3]


def _backward_flops(grad_out_shape: torch.Size, *args: Any, **_: object) -> int:
    """Count the four products S g, phi(q) g^T, dS v, dS^T phi(k): twice the forward pass.

    What is recomputed (the features and the denominators) is not counted.
    """
    q_shape, k_shape, v_shape, _S, _z, feature_map, *_eps = args
    return 2 * _forward_flops(q_shape, k_shape, v_shape, feature_map)


def _packed_backward_flops(
    grad_out_shape: torch.Size, qkv_shape: torch.Size, *args: Any, **_: object
) -> int:
    """Count what the backward pass of its three parts counts."""
    shape = torch.Size((*qkv_shape[:2], *qkv_shape[3:]))
    return _backward_flops(grad_out_shape, shape, shape, shape, *args)


def _register(
    operator: Any,
    fake: Callable[..., Any],
    *,
    anywhere: Callable[..., Any],
    cpu: Callable[..., Any],
    cuda: Callable[..., Any],
) -> None:
    name = operator.name()
    _library.impl(name, anywhere, "CompositeExplicitAutograd")
    _library.impl(name, cpu, "CPU")
    _library.impl(name, cuda, "CUDA")
    torch.library.register_fake(name, fake, lib=_library)
    for key in ("AutocastCPU", "AutocastCUDA"):
        _library.impl(name, _without_autocast(operator), key)


_register(
    linear_attention_op,
    _fake_out,
    anywhere=dispatch.forward_without_state,
    cpu=dispatch.cpu_forward_without_state,
    cuda=dispatch.cuda_forward_without_state,
)
_register(
    linear_attention_train_op,
    _fake_out_and_state,
    anywhere=dispatch.forward,
    cpu=dispatch.cpu_forward,
    cuda=dispatch.cuda_forward,
)
_register(
    linear_attention_backward_op,
    _fake_gradients,
    anywhere=dispatch.backward,
    cpu=dispatch.cpu_backward,
    cuda=dispatch.cuda_backward,
)
_register(
    linear_attention_qkvpacked_backward_op,
    _fake_packed_gradient,
    anywhere=dispatch.qkvpacked(dispatch.backward),
    cpu=dispatch.qkvpacked(dispatch.cpu_backward),
    cuda=dispatch.qkvpacked(dispatch.cuda_backward),
)

register_flop_formula([torch.ops.linvit.linear_attention, torch.ops.linvit.linear_attention_train])(
    _forward_flops
)
register_flop_formula(torch.ops.linvit.linear_attention_backward)(_backward_flops)
register_flop_formula(torch.ops.linvit.linear_attention_qkvpacked_backward)(_packed_backward_flops)
