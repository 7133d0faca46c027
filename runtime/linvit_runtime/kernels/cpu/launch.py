"""Compiles the CPU kernels and runs them on torch tensors, on torch's own threads.

Compiled code is kept in Numba's cache on disk, so that a second process starts at once.

The kernels run in the thread pool of torch's own OpenMP library, through `GOMP_parallel`, the entry
point that compilers call for a parallel region. A second pool, such as Numba's, would fight torch's
for the cores: an OpenMP thread that has just finished an operator of torch spins for a while,
waiting for the next. Where torch has another OpenMP library, the kernels run on the calling thread.
"""

from __future__ import annotations

import ctypes
import functools
import hashlib
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from linvit_runtime.kernels.cpu import backward as backward_pass
from linvit_runtime.kernels.cpu import forward as forward_pass
from linvit_runtime.kernels.cpu.plan import CpuPlan
from linvit_runtime.kernels.torch_backend import Gradients, state_scale

_TASK_WORTH_A_THREAD = 500_000
"""Multiply-adds that take about as long as waking another thread, some 20 microseconds."""

_FLOAT32_BYTES = 4


def forward(
    q: Tensor, k: Tensor, v: Tensor, plan: CpuPlan, eps: float, *, save_state: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """Compute linear attention: output, S and z as `torch_backend.forward`.

    Without `save_state`, S and z are empty.
    """
    q, k, v = _adjacent(q), _adjacent(k), _adjacent(v)
    batch, num_queries, num_heads, head_dim = q.shape
    num_keys, value_dim = v.shape[1], v.shape[3]
    features = head_dim * (2 if plan.signed else 1)
    out = q.new_empty(batch, num_queries, num_heads * value_dim)
    heads = (batch, num_heads) if save_state else (0, 0)
    S = q.new_empty(*heads, features, value_dim, dtype=torch.float32)
    z = q.new_empty(*heads, features, dtype=torch.float32)
    tasks = batch * num_heads
    work = tasks * (num_keys + num_queries) * features * value_dim
    threads = _threads(tasks, work)
    scratch = torch.empty(threads, plan.forward_scratch)
    _run(
        compiled_forward(plan),
        threads,
        [
            *(tensor.data_ptr() for tensor in (q, k, v, out, S, z, scratch)),
            *(scratch.stride(0) * _FLOAT32_BYTES, num_queries, num_keys, num_heads, tasks),
            *(head_dim, value_dim),
            *(*q.stride()[:3], *k.stride()[:3], *v.stride()[:3]),
        ],
        state_scale(num_keys),
        eps,
    )
    return out, S, z


def backward(
    grad_out: Tensor,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    S: Tensor,
    z: Tensor,
    plan: CpuPlan,
    eps: float,
    into: Gradients | None = None,
) -> Gradients:
    """Compute dq, dk and dv as `torch_backend.backward`.

    They are written to `into`, views whose channels are adjacent, where it is given.
    """
    q, k, v = _adjacent(q), _adjacent(k), _adjacent(v)
    batch, num_queries, num_heads, head_dim = q.shape
    num_keys, value_dim = v.shape[1], v.shape[3]
    grad_out = _adjacent(grad_out.unflatten(2, (num_heads, value_dim)))
    S, z = S.contiguous(), z.contiguous()
    grads = into or (q.new_empty(q.shape), k.new_empty(k.shape), v.new_empty(v.shape))
    tasks = batch * num_heads
    work = 2 * tasks * (num_keys + num_queries) * S.shape[2] * value_dim
    threads = _threads(tasks, work)
    scratch = torch.empty(threads, plan.backward_scratch)
    _run(
        compiled_backward(plan),
        threads,
        [
            *(tensor.data_ptr() for tensor in (grad_out, q, k, v, S, z, *grads, scratch)),
            *(scratch.stride(0) * _FLOAT32_BYTES, num_queries, num_keys, num_heads, tasks),
            *(head_dim, value_dim),
            *(stride for view in (grad_out, q, k, v, *grads) for stride in view.stride()[:3]),
        ],
        state_scale(num_keys),
        eps,
    )
    return grads


@functools.cache
def compiled_forward(plan: CpuPlan) -> Any:
    """The forward kernel of `plan` as a ctypes function, from the disk or compiled for seconds."""
    return _compile(forward_pass.forward_kernel(plan, _version()))


@functools.cache
def compiled_backward(plan: CpuPlan) -> Any:
    """The backward kernel of `plan` as a ctypes function."""
    return _compile(backward_pass.backward_kernel(plan, _version()))


def _compile(kernel: Callable[[Any], int]) -> Any:
    from numba import cfunc, types

    from linvit_runtime.kernels.cpu.tiles import int64_pointer

    signature = types.int64(int64_pointer)
    options: dict[str, Any] = {"nopython": True, "error_model": "numpy", "boundscheck": False}
    try:
        return cfunc(signature, cache=True, **options)(kernel)
    except RuntimeError:  # nowhere to keep it: neither beside this file nor in a home
        return cfunc(signature, **options)(kernel)


@functools.cache
def _version() -> int:
    """A number that changes with the text of the kernels."""
    digest = hashlib.sha256()
    folder = Path(__file__).parent
    for file in sorted(folder.glob("*.py")):
        digest.update(file.read_bytes())
    return int.from_bytes(digest.digest()[:7], "big")


def _threads(tasks: int, work: int) -> int:
    if _parallel() is None:
        return 1
    return max(1, min(torch.get_num_threads(), tasks, work // _TASK_WORTH_A_THREAD))


def _run(kernel: Any, threads: int, numbers: list[int], c: float, eps: float) -> None:
    """Call the kernel on `threads` threads with its arguments, two counters and two float32."""
    arguments = struct.pack(f"{len(numbers) + 2}q2f", *numbers, 0, 0, c, c * eps)
    buffer = ctypes.create_string_buffer(arguments, len(arguments))
    parallel = _parallel()
    if threads == 1 or parallel is None:
        _serial(kernel.address)(ctypes.addressof(buffer))
    else:
        parallel(kernel.address, ctypes.addressof(buffer), threads, 0)


@functools.cache
def _serial(address: int) -> Any:
    return ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_void_p)(address)


@functools.cache
def _parallel() -> Any:
    """`GOMP_parallel(function, data, threads, flags)` of torch's OpenMP library, or None."""
    library = openmp_library()
    if library is None:
        return None
    function = ctypes.CDLL(str(library)).GOMP_parallel
    pointer = ctypes.c_void_p
    function.argtypes = [pointer, pointer, ctypes.c_uint, ctypes.c_uint]
    function.restype = None
    return function


@functools.cache
def openmp_library() -> Path | None:
    """Torch's OpenMP library, whose threads the kernels share; None where they run on one."""
    for path in sorted((Path(torch.__file__).parent / "lib").glob("libgomp*.so*")):
        try:
            ctypes.CDLL(str(path)).GOMP_parallel  # noqa: B018 - whether it is there
        except (OSError, AttributeError):
            continue
        return path
    return None


def _adjacent(x: Tensor) -> Tensor:
    """`x`, copied only if its channels are not side by side."""
    return x if x.stride(-1) == 1 else x.contiguous()
