"""Launch kernels on the fake driver, with CPU tensors for CUDA tensors, and print what happened.

A program of its own, because the driver is found before Python starts. `test_cuda_launch.py` runs
it and compares what the driver got with what is expected here, from the tensors themselves.
"""

import ctypes
import dataclasses
import inspect
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import torch

from linvit_runtime.kernels import dispatch
from linvit_runtime.kernels.cuda import build, launch, tensor_passes
from linvit_runtime.kernels.cuda.driver import DriverError
from linvit_runtime.kernels.cuda.kernel import ArgumentKind, Kernel
from linvit_runtime.kernels.cuda.plan import choose_backward_plan, choose_plan
from linvit_runtime.kernels.cuda.simt_backward import backward_kernels
from linvit_runtime.kernels.cuda.simt_forward import forward_kernel
from linvit_runtime.kernels.cuda.tensor_forward import Launch

STREAM = 0x6000
CODES = {
    "pointer16": "p",
    "pointer32": "p",
    "float_pointer": "p",
    "int32": "i",
    "int64": "l",
    "float32": "f",
}
LARGE = 99 * 1024  # bytes of shared memory that a kernel must ask for
DRIVER = ctypes.CDLL("libcuda.so.1")


def mixed(a: Any, b: Any, c: Any, small: int, large: int, x: float) -> None:
    """A kernel with an argument of every kind."""
    if large > small:
        c[0] = x + a[0] + b[0]


MIXED = Kernel(
    name="mixed",
    body=mixed,
    arguments=("pointer16", "pointer32", "float_pointer", "int32", "int64", "float32"),
    threads=96,
    shared_bytes=LARGE,
)


def recorded(action: Callable[[], object]) -> list[dict[str, Any]]:
    """What the driver was asked for by `action`."""
    log = Path(os.environ["FAKE_CUDA_LOG"])
    before = len(log.read_text().splitlines()) if log.exists() else 0
    action()
    return [json.loads(line) for line in log.read_text().splitlines()[before:]]


def announce(kernel: Kernel) -> None:
    """Tell the driver what the kernel takes, as its machine code would."""
    codes = "".join(CODES[kind] for kind in kernel.arguments)
    DRIVER.fake_parameters(kernel.name.encode(), codes.encode())


def simt_case() -> dict[str, Any]:
    """A forward pass on views of one buffer, through the dispatcher, twice."""
    plan = choose_plan("relu", 16, 32, True)
    assert plan is not None
    kernel = forward_kernel(plan)
    announce(kernel)
    q, k = torch.randn(2, 5, 3, 4, 16).unbind(2)[:2]
    v = torch.randn(2, 5, 4, 32)
    results: list[Any] = []

    def call() -> None:
        results[:] = dispatch.cuda_forward(q, k, v, "relu", 0.5)

    first, second = recorded(call), recorded(call)
    out, S, z = results
    # 5 keys: S, z and eps are scaled by 1/8.
    strides = [*[5 * 3 * 4 * 16, 3 * 4 * 16, 16] * 2, *[5 * 4 * 32, 4 * 32, 32]]
    return {
        "first": first,
        "second": second,
        "expected": {
            "call": "cuLaunchKernel",
            "kernel": kernel.name,
            "grid": [2 * 4, 1, 1],
            "block": [256, 1, 1],
            "shared": 0,
            "stream": STREAM,
            "status": 0,
            "arguments": [
                *[x.data_ptr() for x in (q, k, v, out, S, z)],
                *[5, 5, 4, *strides, 0.125, 0.0625],
            ],
        },
        "shapes": [list(x.shape) for x in (out, S, z)],
        "backends": dispatch.backends_used()["forward"],
    }


def simt_backward_case() -> dict[str, Any]:
    """A backward pass on views of every kind; what each launch got, by the kernels' own names."""
    plan = choose_backward_plan("identity", 266, 64)
    assert plan is not None
    kernels = backward_kernels(plan)
    for kernel in kernels:
        announce(kernel)
    q = torch.randn(2, 70, 2, 3, 266)[:, :, 1]
    k = torch.randn(2, 3, 33, 266).transpose(1, 2)
    v = torch.randn(2, 33, 3, 64)
    grad_out = torch.randn(1, 70, 192).expand(2, -1, -1)
    S, z = torch.randn(2, 3, 266, 64), torch.randn(2, 3, 266)
    results: list[Any] = []

    def call() -> None:
        results[:] = dispatch.cuda_backward(grad_out, q, k, v, S, z, "identity", 0.5)

    with mock.patch.object(build, "compile_kernel", built_at_once):
        calls = [call for call in recorded(call) if call["call"] == "cuLaunchKernel"]
    names = ("q", "k", "v", "grad_out", "S", "z", "grad_q", "grad_k", "grad_v")
    tensors = (q, k, v, grad_out, S, z, *results)
    return {
        "kernels": [kernel.name for kernel in kernels],
        "launched": [call["kernel"] for call in calls],
        "grids": [call["grid"] for call in calls],
        "blocks": [call["block"] for call in calls],
        "shared": [call["shared"] for call in calls],
        "streams": [call["stream"] for call in calls],
        "arguments": [
            dict(zip(inspect.signature(kernel.body).parameters, call["arguments"], strict=True))
            for kernel, call in zip(kernels, calls, strict=True)
        ],
        "addresses": dict(zip(names, [x.data_ptr() for x in tensors], strict=True)),
        "backends": dispatch.backends_used()["backward"],
    }


def built_at_once(kernel: Kernel, capability: build.Capability) -> build.BuiltKernel:
    """Stand in for the compilers: the driver of the tests reads no machine code."""
    return build.BuiltKernel(kernel.name, build.arch_name(capability), b"\x7fELF", 96, 0, 0, 0.0)


def tensor_body(
    q: Any, k: Any, v: Any, out: Any, S: Any, S_parts: Any,
    num_queries: int, num_keys: int, num_heads: int,
    q_batch: int, q_token: int, q_head: int, k_token: int, v_head: int,
    key_parts: int, key_part_tokens: int, query_part_tokens: int, scale: float, scaled_eps: float,
) -> None:  # fmt: skip
    """A kernel with the arguments of one on tensor cores, which does nothing with them."""
    if num_queries < 0:
        out[0] = q[0]


def tensor_case() -> dict[str, Any]:
    """A pass of two launches that find their arguments by name; k and v have to be copied."""
    names = tuple(inspect.signature(tensor_body).parameters)
    halves: tuple[ArgumentKind, ...] = ("pointer16",) * 4
    states: tuple[ArgumentKind, ...] = ("float_pointer",) * 2
    integers: tuple[ArgumentKind, ...] = ("int64",) * (len(names) - 8)
    kinds = (*halves, *states, *integers, "float32", "float32")
    kernel = Kernel("by_name", tensor_body, kinds, threads=64, shared_bytes=1000)
    announce(kernel)
    q = torch.randn(1, 1024, 3, 2, 64).bfloat16()[:, :, 1]
    k = torch.randn(1, 1024, 2, 72).bfloat16()[..., 1:65]  # rows that start at odd addresses
    v = torch.randn(1, 1024, 64, 2).bfloat16().mT  # channels that are not adjacent
    launches = [Launch(kernel, (2, parts, 1), names) for parts in (7, 5)]
    with mock.patch.object(tensor_passes, "forward_launches", return_value=launches):
        results: list[Any] = []
        calls = recorded(lambda: results.extend(dispatch.cuda_forward(q, k, v, "relu", 0.5)))
    first, second = (call for call in calls if call["call"] == "cuLaunchKernel")
    return {
        "grids": [first["grid"], second["grid"]],
        "shared": first["shared"],
        "same arguments": first["arguments"] == second["arguments"],
        "arguments": dict(zip(names, first["arguments"], strict=True)),
        "addresses": {
            "q": q.data_ptr(),
            "k": k.data_ptr(),
            "v": v.data_ptr(),
            "out": results[0].data_ptr(),
            "S": results[1].data_ptr(),
        },
        "shapes": [list(x.shape) for x in results],
        "dtypes": [str(x.dtype) for x in results],
        "backends": dispatch.backends_used()["forward"],
    }


def mixed_case(kernel: Kernel, large: int) -> dict[str, Any]:
    """A kernel with every kind of argument and much shared memory."""
    announce(MIXED)  # the machine code is that of MIXED, whatever the launcher takes it for
    tensors = [torch.zeros(8, dtype=torch.int16), torch.zeros(8), torch.zeros(8)]
    numbers = (-7, large, 0.1)
    loading = recorded(lambda: launch.prepare(kernel, 0))
    run = launch.prepare(kernel, 0)
    (call,) = recorded(lambda: run((3, 2, 1), tensors, numbers))
    expected = [*[x.data_ptr() for x in tensors], *numbers]
    return {"loading": loading, "call": call, "expected": expected}


def failures() -> dict[str, Any]:
    """What follows when the driver refuses a launch."""
    run = launch.prepare(MIXED, 0)
    arguments = [torch.zeros(8)] * 3, (1, 2, 3.0)

    def without_context() -> None:
        DRIVER.fake_failure(201)
        run((1, 1, 1), *arguments)

    DRIVER.fake_failure(1)
    message = ""
    try:
        run((1, 2, 3), *arguments)
    except DriverError as error:
        message = str(error)
    return {"without context": recorded(without_context), "refused": message}


def main() -> None:
    launch._raw_stream = lambda device: STREAM
    narrow = (*MIXED.arguments[:4], "int32", "float32")
    report = {
        "simt": simt_case(),
        "simt backward": simt_backward_case(),
        "tensor": tensor_case(),
        "mixed": mixed_case(MIXED, -(2**40) - 1),
        # Read as 64 bits, the upper half of which nobody set to that of a negative number.
        "narrow": mixed_case(dataclasses.replace(MIXED, arguments=narrow), -9),
        "failures": failures(),
    }
    json.dump(report, sys.stdout)


if __name__ == "__main__":
    main()
