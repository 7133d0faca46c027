"""From torch tensors to the arguments of a kernel: addresses, streams, and the simulator.

A kernel takes raw addresses and strides, so a view of a qkv buffer costs nothing, and is enqueued
on torch's current stream. In numba-cuda's simulator the same bodies run on CPU tensors, through the
same calls; that is how the tests reach them without a GPU.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import torch
from torch import Tensor

from linvit_runtime.kernels.cuda.build import Capability
from linvit_runtime.kernels.cuda.kernel import OLDEST_CAPABILITY, Kernel

Run: TypeAlias = Callable[[tuple[int, int, int], Sequence[Tensor], tuple[int | float, ...]], None]
"""`run(grid, tensors, numbers)`: enqueue a kernel whose arguments are the tensors' addresses, then
the numbers. The tensors must outlive the work, as torch's stream-ordered allocator sees to."""

# A build of torch for CPUs has neither.
_raw_stream: Callable[[int], int] = getattr(torch._C, "_cuda_getCurrentRawStream", lambda _: 0)
_address: Callable[[Tensor], int] = Tensor.data_ptr
current_device: Callable[[], int] = getattr(torch._C, "_cuda_getDevice", lambda: -1)
"""The number of torch's current device, found without the microseconds of its public function."""


class CaptureProblem(RuntimeError):
    """A kernel is first needed while a CUDA graph is being captured."""


def simulated() -> bool:
    """Whether this process runs CUDA kernels in numba-cuda's simulator."""
    import numba.cuda

    cuda: Any = numba.cuda
    return bool(cuda.config.ENABLE_CUDASIM)


def capability(device: int) -> Capability:
    """Compute capability of a device; the simulator has no tensor cores."""
    if simulated():
        return OLDEST_CAPABILITY
    from linvit_runtime.kernels.cuda.driver import device_capability

    return device_capability(device)


@functools.cache
def prepare(kernel: Kernel, device: int) -> Run:
    """Make `kernel` ready on a device: compiled in seconds if the cache lacks it, and loaded.

    Raises:
        CaptureProblem: The current stream is being captured, which allows neither.
        Exception: numba-cuda, the toolkit behind it or the driver cannot.
    """
    if simulated():
        return _simulated(kernel)
    if torch.cuda.is_available() and torch.cuda.is_current_stream_capturing():
        raise CaptureProblem(
            f"linvit: {kernel.name} is not loaded yet, and a CUDA graph is being captured: run the "
            "model once with the same shapes before capturing it"
        )
    from linvit_runtime.kernels.cuda.build import build
    from linvit_runtime.kernels.cuda.driver import load_kernel

    launch = load_kernel(kernel, build(kernel, capability(device)), device).launch

    def run(
        grid: tuple[int, int, int], tensors: Sequence[Tensor], numbers: tuple[int | float, ...]
    ) -> None:
        launch(grid, _raw_stream(device), map(_address, tensors), numbers)

    return run


def _simulated(kernel: Kernel) -> Run:
    import numba.cuda

    from linvit_runtime.kernels.cuda.build import numba_signature

    cuda: Any = numba.cuda
    compiled = cuda.jit(numba_signature(kernel))(kernel.body)
    kinds = kernel.arguments

    def run(
        grid: tuple[int, int, int], tensors: Sequence[Tensor], numbers: tuple[int | float, ...]
    ) -> None:
        words = [_flat_array(x, kind) for x, kind in zip(tensors, kinds, strict=False)]
        compiled[grid, kernel.threads, 0, kernel.shared_bytes](*words, *numbers)

    return run


def _flat_array(x: Tensor, kind: str) -> Any:
    """The words of a CPU tensor from its first element on, as the kernel would address them."""
    reach = sum((size - 1) * stride for size, stride in zip(x.shape, x.stride(), strict=True))
    flat = x.detach().as_strided((reach + 1 if x.numel() else 0,), (1,))
    if kind == "pointer16":
        return flat.view(torch.int16).numpy().view("uint16")
    array = flat.numpy()
    return array.view("uint32") if kind == "pointer32" else array
