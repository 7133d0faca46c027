"""The forward and backward passes on CUDA tensors: what is allocated, which kernels run on it.

A pass is made once for a plan and a device, which compiles and loads its kernels; a call of it then
only allocates and launches. Nothing here waits for the device.

Legend: B batch, N queries, L keys, H heads, D head width of q and k, E of v, F features per head.
"""

import torch
from torch import Tensor

from linvit_runtime.kernels.cuda.choose import Choice
from linvit_runtime.kernels.cuda.launch import prepare
from linvit_runtime.kernels.cuda.plan import SimtPlan
from linvit_runtime.kernels.cuda.simt_forward import forward_kernel
from linvit_runtime.kernels.torch_backend import state_scale

Forward = tuple[Tensor, Tensor, Tensor]
"""The output `[B, N, H*E]` in the dtype of q, and S `[B, H, F, E]` and z `[B, H, F]` in float32."""


def make_pass(choice: Choice, device: int) -> "SimtForward":
    """The pass of a choice that is not torch, its kernels compiled and loaded.

    Raises:
        CaptureProblem: The current stream is being captured.
        Exception: numba-cuda, the toolkit behind it or the driver cannot.
    """
    assert choice.plan is not None
    return SimtForward(choice.plan, device)


class SimtForward:
    """The forward pass by the SIMT kernel, in float32: inputs in half precision are copied first.

    S and z are empty unless the plan saves them.
    """

    backend = "numba-cuda-simt"

    def __init__(self, plan: SimtPlan, device: int) -> None:
        self._plan = plan
        self._run = prepare(forward_kernel(plan), device)

    def __call__(self, q: Tensor, k: Tensor, v: Tensor, eps: float) -> Forward:
        """Allocate the results and launch."""
        plan = self._plan
        batch, num_queries, num_heads, _ = q.shape
        out = _floats(q, batch, num_queries, num_heads * plan.value_dim)
        heads = (batch, num_heads) if plan.save_state else (0, 0)
        S = _floats(q, *heads, plan.num_features, plan.value_dim)
        z = _floats(q, *heads, plan.num_features)
        if batch > 0:
            self.into(q, k, v, out, S, z, eps)
        return out.to(q.dtype), S, z

    def into(
        self, q: Tensor, k: Tensor, v: Tensor, out: Tensor, S: Tensor, z: Tensor, eps: float
    ) -> None:
        """Launch on contiguous float32 results of at least one head."""
        batch, num_queries, num_heads, _ = q.shape
        q, k, v = _readable(q), _readable(k), _readable(v)
        scale = state_scale(k.shape[1])
        self._run(
            (batch * num_heads, self._plan.num_column_blocks, 1),
            (q, k, v, out, S, z),
            (
                *(num_queries, k.shape[1], num_heads),
                *q.stride()[:3],
                *k.stride()[:3],
                *v.stride()[:3],
                *(scale, scale * eps),
            ),
        )


def _floats(like: Tensor, *shape: int) -> Tensor:
    return like.new_empty(shape, dtype=torch.float32)


def _readable(x: Tensor) -> Tensor:
    """Return x in float32 with adjacent channels, copying only where it is not so already."""
    x = x.to(torch.float32)
    return x if x.stride(3) == 1 or x.shape[3] == 1 else x.contiguous()
