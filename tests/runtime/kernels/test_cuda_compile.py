"""The compile gate: the CUDA kernels become machine code for real devices, without having one.

Checked in the assembler text: the target, no double precision by accident, everything in registers,
the shared memory that the plan announces; and in the machine code: registers and spills.
"""

import re
from types import ModuleType
from typing import Any
from unittest import mock

import pytest

from linvit_runtime.kernels.cuda import build
from linvit_runtime.kernels.cuda.kernel import Kernel
from linvit_runtime.kernels.cuda.plan import SHARED_MEMORY_LIMIT, choose_backward_plan, choose_plan

Capabilities = tuple[build.Capability, ...]

MAX_REGISTERS = 128  # two CTAs of 256 threads on a multiprocessor of 65,536 registers


def need_compilers() -> None:
    """Skip where the kernels cannot be compiled; that needs no driver."""
    if missing := build.missing_compilers():
        pytest.skip(f"needs {', '.join(missing)} (pip install -e '.[dev]')")


@pytest.fixture(scope="module")
def cuda_simt() -> ModuleType:
    """The module with the kernels, where they can be compiled."""
    need_compilers()
    from linvit_runtime.kernels.cuda import simt_forward as cuda_simt

    return cuda_simt


@pytest.mark.parametrize(
    ("feature_map", "width", "capabilities"),
    [
        ("split_relu", 64, ((8, 0), (9, 0))),
        ("split_relu", 12, ((9, 0),)),
        ("elu_plus_one", 32, ((8, 0),)),
        ("split_relu", 128, ((9, 0),)),
        ("softmax", 64, ((7, 5), (8, 0), (9, 0))),
        ("identity", 64, ((7, 5), (8, 0), (9, 0))),
    ],
)
def test_kernels_assemble_without_spills(
    cuda_simt: ModuleType, feature_map: str, width: int, capabilities: Capabilities
) -> None:
    plan = choose_plan(feature_map, width, width, save_state=True)
    assert plan is not None
    expect_lean(cuda_simt.forward_kernel(plan), capabilities, 4 * plan.shared_floats)


@pytest.mark.parametrize(
    ("feature_map", "head_dim", "capabilities"),
    [
        ("split_relu", 64, ((9, 0),)),
        ("softmax", 64, ((7, 5), (8, 0), (9, 0))),
        ("identity", 64, ((7, 5), (8, 0), (9, 0))),
    ],
)
def test_backward_kernels_assemble_without_spills(
    cuda_simt: ModuleType, feature_map: str, head_dim: int, capabilities: Capabilities
) -> None:
    from linvit_runtime.kernels.cuda.simt_backward import backward_kernels

    plan = choose_backward_plan(feature_map, head_dim, 64)
    assert plan is not None
    gradients, sums = 4 * plan.gradients_shared_floats, 4 * plan.sums_shared_floats
    for kernel, size in zip(backward_kernels(plan), (gradients, sums, gradients), strict=True):
        expect_lean(kernel, capabilities, size)


def expect_lean(kernel: Kernel, capabilities: Capabilities, shared_bytes: int) -> None:
    """Compile a SIMT kernel: all in registers, few enough, no double precision by accident.

    The text for the first architecture is assembled for the others too, which differ in nothing
    else and are newer.
    """
    capability, *newer = capabilities
    with mock.patch.object(build, "_link", wraps=build._link) as link:
        built = build.compile_kernel(kernel, capability)
    text: str = link.call_args.args[0]
    target = "sm_{}{}".format(*capability)
    assert f".target {target}" in text
    assert "fma.rn.f32" in text
    assert ".f64" not in text
    assert "__local_depot" not in text
    sizes = [int(size) for size in re.findall(r"\.shared .*\[(\d+)\]", text)]
    assert sizes == [shared_bytes]
    assert shared_bytes <= SHARED_MEMORY_LIMIT
    assert built.spill_bytes == 0
    assert built.registers <= MAX_REGISTERS
    assert built.shared_bytes == shared_bytes
    assert f".entry {kernel.name}(" in text
    assert built.cubin.startswith(b"\x7fELF")
    for capability in newer:
        _, log = build._link(text, build.arch_name(capability))
        assert "0 bytes spill stores, 0 bytes spill loads" in log
        assert int(build._found(r"Used (\d+) registers", log)[1]) <= MAX_REGISTERS


def test_the_gate_sees_double_precision_and_local_memory(cuda_simt: ModuleType) -> None:
    cuda, types = cuda_simt.cuda, cuda_simt.types

    def careless(x: Any, n: int) -> None:
        sums = cuda.local.array(64, types.float64)
        for i in range(64):
            sums[i] = 0.0
        for i in range(n):
            sums[i % 64] += x[i]
        x[0] = sums[n % 64]

    kernel = Kernel("careless", careless, ("float_pointer", "int64"), threads=32)
    text = build.assembler_text(kernel, (9, 0))
    assert ".f64" in text
    assert "__local_depot" in text
