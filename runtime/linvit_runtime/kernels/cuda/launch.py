"""Run the SIMT kernel on torch tensors: compile once, allocate, take addresses, launch.

The kernels take raw addresses and strides, so a view of a qkv buffer costs nothing. They run on
torch's current stream. numba-cuda's own dispatch costs some tens of microseconds per launch.

In the CUDA simulator the same code runs on CPU tensors; that is how the tests reach it.

Not verified: nothing here has run on a physical GPU yet. The kernel passes in the simulator and
assembles for sm_80 and sm_90 without spills; its launches and its speed have never been measured.
"""

import functools
import warnings
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor

from linvit_runtime.kernels.cuda.plan import SimtPlan
from linvit_runtime.kernels.cuda.simt_forward import SIGNATURE, build_forward_kernel, cuda
from linvit_runtime.kernels.torch_backend import state_scale


def forward(
    q: Tensor, k: Tensor, v: Tensor, plan: SimtPlan, eps: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Compute linear attention with the kernel of `plan`, as `torch_backend.forward` does.

    Inputs in half precision are converted to float32 first, which costs a copy of each.

    Returns:
        The output `[B, N, H*E]` in the dtype of q, and S and z in float32; S and z are empty
        unless the plan saves them.
    """
    batch, num_queries, num_heads, _ = q.shape
    out = _empty(q, batch, num_queries, num_heads * plan.value_dim)
    state = (batch, num_heads, plan.num_features) if plan.save_state else (0, 0, 0)
    S, z = _empty(q, *state, plan.value_dim), _empty(q, *state)
    if batch * num_heads > 0:
        launch_forward(q, k, v, out, S, z, plan, eps)
    return out.to(q.dtype), S, z


def launch_forward(
    q: Tensor, k: Tensor, v: Tensor, out: Tensor, S: Tensor, z: Tensor, plan: SimtPlan, eps: float
) -> None:
    """Launch the kernel of `plan` on contiguous float32 results of at least one head."""
    batch, num_queries, num_heads, _ = q.shape
    q, k, v = _readable(q), _readable(k), _readable(v)
    scale = state_scale(k.shape[1])
    grid = (batch * num_heads, plan.num_column_blocks)
    with _on_device(q.device):
        if q.is_cuda:
            stream = torch.cuda.current_stream(q.device).cuda_stream
            launch = _configured(plan, grid, q.device.index, stream)
        else:  # the simulator: its kernels remember the latest configuration only
            launch = _compiled(plan, None)[grid, plan.num_threads]
        launch(
            *[_address(tensor) for tensor in (q, k, v, out, S, z)],
            *(num_queries, k.shape[1], num_heads),
            *q.stride()[:3],
            *k.stride()[:3],
            *v.stride()[:3],
            scale,
            scale * eps,
        )


def compile_forward(plan: SimtPlan, device: torch.device) -> None:
    """Compile the kernel of `plan` for a device ahead of its first launch, in about two seconds.

    Raises:
        Exception: numba-cuda or the CUDA toolkit behind it cannot; of whatever class they choose.
    """
    with _on_device(device):
        _compiled(plan, device.index)


@functools.cache
def _compiled(plan: SimtPlan, device_index: int | None) -> Any:
    # The index is part of the key because the machine code is made for that device.
    return cuda.jit(SIGNATURE)(build_forward_kernel(plan))


@functools.lru_cache(maxsize=256)
def _configured(
    plan: SimtPlan, grid: tuple[int, int], device_index: int, stream_handle: int
) -> Callable[..., None]:
    stream = cuda.external_stream(stream_handle)
    with warnings.catch_warnings():
        # A small grid is the caller's batch size, not a mistake that a user could act on.
        warnings.filterwarnings("ignore", message="Grid size")
        return _compiled(plan, device_index)[grid, plan.num_threads, stream]


def _empty(like: Tensor, *shape: int) -> Tensor:
    return like.new_empty(shape, dtype=torch.float32)


def _readable(x: Tensor) -> Tensor:
    """Return x in float32 with adjacent channels, copying only where it is not so already."""
    x = x.detach().to(torch.float32)
    return x if x.stride(3) == 1 or x.shape[3] == 1 else x.contiguous()


def _on_device(device: torch.device) -> AbstractContextManager[object]:
    return torch.cuda.device(device) if device.type == "cuda" else nullcontext()


def _address(x: Tensor) -> Any:
    """Return where the elements start, or for the simulator a flat array that starts there."""
    if x.is_cuda:
        return x.data_ptr()
    reach = sum((size - 1) * stride for size, stride in zip(x.shape, x.stride(), strict=True))
    return x.as_strided((reach + 1 if x.numel() else 0,), (1,)).numpy()
