"""Kernels on a device: load machine code once, launch it in under a microsecond of host time.

Straight on the CUDA driver's API through cuda-bindings, because numba-cuda's own dispatch costs
tens of microseconds per launch and gives no kernel more than 48 KiB of dynamic shared memory.
Everything slow (compiling, loading, attributes) happens in `load_kernel`, so that a launch is one
call into the driver, without synchronisation: it can be captured in a CUDA graph.
"""

import ctypes
import functools
import importlib
import struct
import threading
from collections.abc import Iterable
from typing import Any

from linvit_runtime.kernels.cuda.build import BuiltKernel, Capability
from linvit_runtime.kernels.cuda.kernel import ArgumentKind, Kernel

DYNAMIC_SHARED_DEFAULT = 48 * 1024
"""Bytes of dynamic shared memory that a kernel may have without asking for it."""

Grid = tuple[int, int, int]
"""CTAs along x, y and z."""

_CODES: dict[ArgumentKind, str] = {  # of the module struct
    "pointer16": "P",
    "pointer32": "P",
    "float_pointer": "P",
    "int32": "i",
    "int64": "q",
    "float32": "f",
}

_cuda: Any = importlib.import_module("cuda.bindings.driver")  # a module without types
_launch: Any = _cuda.cuLaunchKernel
_NO_CONTEXT = int(_cuda.CUresult.CUDA_ERROR_INVALID_CONTEXT)


class DriverError(RuntimeError):
    """The CUDA driver refused a call; the message names the call and the driver's reason."""


class _Arguments(threading.local):
    """Where the driver reads the arguments of a launch: memory of each thread's own, laid out once.

    Left to itself, cuda-bindings makes a ctypes object of every argument of every launch.

    Attributes:
        place: A function that puts the values into a memory, aligned as in C; that memory; and
            where their addresses are.
    """

    def __init__(self, codes: str) -> None:
        layout = struct.Struct(f"@{codes}")
        # A format that ends with a count of 0 ends where such a value would start.
        offsets = [struct.calcsize(f"@{codes[:i]}0{code}") for i, code in enumerate(codes)]
        memory = ctypes.create_string_buffer(layout.size)
        start = ctypes.addressof(memory)
        self._addresses = (ctypes.c_void_p * len(codes))(*[start + offset for offset in offsets])
        self.place = layout.pack_into, memory, ctypes.addressof(self._addresses)


class LoadedKernel:
    """A kernel in the memory of one device.

    Attributes:
        name: The kernel's name.
        device: The device's number, as torch counts.
    """

    __slots__ = ("_arguments", "_block", "_function", "device", "name")

    def __init__(self, kernel: Kernel, device: int, function: Any) -> None:
        self.name = kernel.name
        self.device = device
        self._function = function
        self._block = kernel.threads, 1, 1, kernel.shared_bytes
        self._arguments = _Arguments("".join(_CODES[kind] for kind in kernel.arguments))

    def launch(
        self, grid: Grid, stream: int, addresses: Iterable[int], numbers: Iterable[int | float]
    ) -> None:
        """Enqueue the kernel on a stream of its device, whose context must be current.

        Args:
            grid: How many CTAs.
            stream: The address of the stream, as torch gives it.
            addresses: The first arguments.
            numbers: The others.

        Raises:
            struct.error: There are more or fewer arguments, or an integer does not fit.
            DriverError: The driver refused. A kernel that fails later is reported by later calls.
        """
        pack, memory, arguments = self._arguments.place
        pack(memory, 0, *addresses, *numbers)
        shape = (*grid, *self._block)
        (status,) = _launch(self._function, *shape, stream, arguments, 0)
        if status == _NO_CONTEXT:  # a thread that has used nothing of the device yet
            _call("cuCtxSetCurrent", _primary_context(self.device))
            (status,) = _launch(self._function, *shape, stream, arguments, 0)
        if status:
            threads, _, _, shared_bytes = self._block
            what = f"grid {grid}, {threads} threads, {shared_bytes} bytes shared"
            raise DriverError(f"cannot launch {self.name} ({what}): {_reason(status)}")


def load_kernel(kernel: Kernel, built: BuiltKernel, device: int) -> LoadedKernel:
    """Load machine code onto a device, wholly, so that no launch has to.

    Raises:
        DriverError: There is no such device, or it cannot run the code.
    """
    _call("cuCtxPushCurrent", _primary_context(device))
    try:
        library = _call("cuLibraryLoadData", built.cubin, [], [], 0, [], [], 0)
        handle = _call("cuLibraryGetKernel", library, built.name.encode())
        if kernel.shared_bytes > DYNAMIC_SHARED_DEFAULT:
            attribute = _cuda.CUfunction_attribute.CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES
            _call("cuKernelSetAttribute", attribute, kernel.shared_bytes, handle, _device(device))
        # A kernel becomes a function of the current context here; otherwise its first launch would
        # load it, which a graph that is being captured does not allow.
        function = _call("cuKernelGetFunction", handle)
        _call("cuFuncLoad", function)
    finally:
        _call("cuCtxPopCurrent")
    return LoadedKernel(kernel, device, function)


@functools.cache
def device_capability(device: int) -> Capability:
    """Compute capability of a device, as (major, minor)."""
    names = _cuda.CUdevice_attribute
    major = names.CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR
    minor = names.CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR
    handle = _device(device)
    return (
        int(_call("cuDeviceGetAttribute", major, handle)),
        int(_call("cuDeviceGetAttribute", minor, handle)),
    )


@functools.cache
def _device(index: int) -> Any:
    _call("cuInit", 0)
    return _call("cuDeviceGet", index)


@functools.cache
def _primary_context(device: int) -> Any:
    """The context that torch uses too; held for the life of the process, as torch holds it."""
    return _call("cuDevicePrimaryCtxRetain", _device(device))


def _call(name: str, *arguments: Any) -> Any:
    """Call the driver; its result, if it has one."""
    status, *results = getattr(_cuda, name)(*arguments)
    if status:
        raise DriverError(f"{name}: {_reason(status)}")
    return results[0] if results else None


def _reason(status: Any) -> str:
    error, text = _cuda.cuGetErrorString(status)
    return f"{status.name} ({text.decode()})" if not error and text else str(status.name)
