"""Passes by the SIMT kernels, in float32: what is allocated, which kernels run. See passes.py.

Legend: B batch, N queries, L keys, H heads, D head width of q and k, E of v, F features per head.
"""

import torch
from torch import Tensor

from linvit_runtime.kernels.cuda.choose import Call
from linvit_runtime.kernels.cuda.kernel import Kernel
from linvit_runtime.kernels.cuda.launch import prepare
from linvit_runtime.kernels.cuda.plan import SimtBackwardPlan, SimtPlan
from linvit_runtime.kernels.cuda.simt_backward import backward_kernels
from linvit_runtime.kernels.cuda.simt_forward import forward_kernel
from linvit_runtime.kernels.torch_backend import Forward, Gradients, state_scale


class SimtForward:
    """The forward pass by the SIMT kernel, in float32: inputs in half precision are copied first.

    Unless the plan saves S and z, what stands for them has no meaning.
    """

    backend = "numba-cuda-simt"

    @staticmethod
    def kernels(plan: SimtPlan) -> tuple[Kernel, ...]:
        """The kernels that a call launches, in order."""
        return (forward_kernel(plan),)

    def __init__(self, call: Call, plan: SimtPlan, device: int) -> None:
        heads = (call.batch, call.heads, plan.num_features)
        self._out_shape = call.batch, call.queries, call.heads * plan.value_dim
        self._state_shapes = ((*heads, plan.value_dim), heads) if plan.save_state else ()
        self._sizes = call.queries, call.keys, call.heads
        self._grid = call.batch * call.heads, plan.num_column_blocks, 1
        self._scale = state_scale(call.keys)
        self._run = prepare(forward_kernel(plan), device)

    def __call__(self, q: Tensor, k: Tensor, v: Tensor, eps: float) -> Forward:
        """Allocate the results and launch."""
        if q.dtype is not torch.float32:
            out, S, z = self(q.float(), k.float(), v.float(), eps)
            return out.to(q.dtype), S, z
        out = S = z = q.new_empty(*self._out_shape)
        if self._state_shapes:
            S_shape, z_shape = self._state_shapes
            S, z = q.new_empty(*S_shape), q.new_empty(*z_shape)
        self.into(q, k, v, out, S, z, eps)
        return out, S, z

    def into(
        self, q: Tensor, k: Tensor, v: Tensor, out: Tensor, S: Tensor, z: Tensor, eps: float
    ) -> None:
        """Launch on float32 inputs and contiguous float32 results."""
        if not self._grid[0]:
            return
        q_batch, q_token, q_head, q_channel = q.stride()
        k_batch, k_token, k_head, k_channel = k.stride()
        v_batch, v_token, v_head, v_channel = v.stride()
        if not q_channel == k_channel == v_channel == 1:
            self.into(_readable(q), _readable(k), _readable(v), out, S, z, eps)
            return
        if not self._state_shapes:
            S = z = k
        numbers = (
            *self._sizes, q_batch, q_token, q_head, k_batch, k_token, k_head,
            v_batch, v_token, v_head, self._scale, self._scale * eps,
        )  # fmt: skip
        self._run(self._grid, (q, k, v, out, S, z), numbers)


def _readable(x: Tensor) -> Tensor:
    """Return x in float32 with adjacent channels, copying only where it is not so already."""
    if x.dtype is not torch.float32:  # a conversion to what it is takes a microsecond as well
        x = x.float()
    return x if x.stride(3) == 1 else x.clone(memory_format=torch.contiguous_format)


class SimtBackward:
    """The backward pass by the SIMT kernels, in float32: half precision is copied in and out."""

    backend = "numba-cuda-simt"

    @staticmethod
    def kernels(plan: SimtBackwardPlan) -> tuple[Kernel, ...]:
        """The kernels that a call launches, in order."""
        return backward_kernels(plan)

    def __init__(self, call: Call, plan: SimtBackwardPlan, device: int) -> None:
        self._heads = call.heads, call.value_dim
        self._workspace_shapes = ((call.batch, call.heads, call.queries),) * 2
        self._sizes = call.queries, call.keys
        self._scale = state_scale(call.keys)
        tokens, heads = plan.gradients.tile_tokens, call.batch * call.heads
        grids = (
            (heads * -(-call.queries // tokens), 1, 1),
            (heads, plan.sums.num_column_blocks, 1),
            (heads * -(-call.keys // tokens), 1, 1),
        )
        self._launches = [
            (prepare(kernel, device), grid)
            for kernel, grid in zip(backward_kernels(plan), grids, strict=True)
        ]

    def __call__(
        self,
        grad_out: Tensor,
        q: Tensor,
        k: Tensor,
        v: Tensor,
        S: Tensor,
        z: Tensor,
        eps: float,
        into: Gradients | None = None,
    ) -> Gradients:
        """Launch, and give dq, dk and dv: those of `into`, views whose channels are adjacent."""
        dtype = q.dtype
        q, k, v = _readable(q), _readable(k), _readable(v)
        grad_out = _readable(grad_out.unflatten(2, self._heads))
        S, z = S.contiguous(), z.contiguous()
        grad_q, grad_k, grad_v, inverses, weights = (
            q.new_empty(*shape) for shape in (q.shape, k.shape, v.shape, *self._workspace_shapes)
        )
        grad_S, grad_z = torch.empty_like(S), torch.empty_like(z)

        queries, keys = self._sizes
        heads, scale = self._heads[0], self._scale
        of_queries = queries, heads, *q.stride()[:3], *grad_out.stride()[:3]
        of_keys = keys, heads, *k.stride()[:3], *v.stride()[:3]
        arguments = (
            ((q, grad_out, S, z, grad_q, inverses, weights), (*of_queries, scale * eps)),
            ((q, grad_out, inverses, weights, grad_S, grad_z), of_queries),
            ((k, v, grad_S, grad_z, grad_k, grad_v), (*of_keys, scale)),
        )
        for (run, grid), (tensors, numbers) in zip(self._launches, arguments, strict=True):
            if all(grid):  # without tokens there is nothing to launch
                run(grid, tensors, numbers)
        gradients = grad_q, grad_k, grad_v
        if into is not None:
            for view, gradient in zip(into, gradients, strict=True):
                view.copy_(gradient)
            return into
        if dtype is torch.float32:
            return gradients
        return grad_q.to(dtype), grad_k.to(dtype), grad_v.to(dtype)
