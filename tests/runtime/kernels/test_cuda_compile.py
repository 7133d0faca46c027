"""The compile gate: the CUDA kernels become machine code for real devices, without having one.

Checked in the assembler text: the target, no double precision by accident, everything in registers,
the shared memory that the plan announces. Where nvJitLink is installed, also registers and spills.
"""

import importlib
import re
from types import ModuleType
from typing import Any

import pytest

from linvit_runtime.kernels.cuda.plan import SHARED_MEMORY_LIMIT, choose_plan

MAX_REGISTERS = 128  # two CTAs of 256 threads on a multiprocessor of 65,536 registers


def installed(library: str) -> bool:
    """Whether a library of the CUDA toolkit can be loaded; none of these needs a driver."""
    from cuda.pathfinder import DynamicLibNotFoundError, load_nvidia_dynamic_lib

    try:
        load_nvidia_dynamic_lib(library)
    except DynamicLibNotFoundError:
        return False
    return True


@pytest.fixture(scope="module")
def cuda_simt() -> ModuleType:
    """The module with the kernels, where they can be compiled."""
    pytest.importorskip("numba_cuda", reason="needs numba-cuda (pip install -e '.[dev]')")
    if not (installed("nvvm") and installed("nvrtc")):
        pytest.skip("needs NVVM and NVRTC (pip install 'numba-cuda[cu13]>=0.30.4,<0.31')")
    from linvit_runtime.kernels.cuda import simt_forward as cuda_simt

    return cuda_simt


def compile_to_assembler(
    cuda_simt: ModuleType, kernel: object, signature: object, capability: tuple[int, int]
) -> str:
    """Compile for a device of that compute capability."""
    text, _ = cuda_simt.cuda.compile(
        kernel, signature, cc=capability, output="ptx", device=False, abi="numba"
    )
    return text


def link(text: str, target: str) -> str:
    """Return what the assembler reports about the machine code of one kernel."""
    core: Any = importlib.import_module("cuda.core")
    options = core.LinkerOptions(arch=target, ptxas_options=["-v"])
    linker = core.Linker(core.ObjectCode.from_ptx(text.encode()), options=options)
    assert len(linker.link("cubin").code) > 1000
    return linker.get_info_log()


@pytest.mark.parametrize(
    ("feature_map", "width", "capability"),
    [
        ("split_relu", 64, (8, 0)),
        ("split_relu", 64, (9, 0)),
        ("split_relu", 12, (9, 0)),
        ("relu", 64, (9, 0)),
        ("elu_plus_one", 32, (8, 0)),
        ("split_relu", 128, (9, 0)),
    ],
)
def test_kernels_assemble_without_spills(
    cuda_simt: ModuleType, feature_map: str, width: int, capability: tuple[int, int]
) -> None:
    plan = choose_plan(feature_map, width, width, save_state=True)
    assert plan is not None
    kernel = cuda_simt.build_forward_kernel(plan)
    text = compile_to_assembler(cuda_simt, kernel, cuda_simt.SIGNATURE, capability)
    target = "sm_{}{}".format(*capability)
    assert f".target {target}" in text
    assert "fma.rn.f32" in text
    assert ".f64" not in text
    assert "__local_depot" not in text
    sizes = [int(size) for size in re.findall(r"\.shared .*\[(\d+)\]", text)]
    assert sizes == [4 * plan.shared_floats]
    assert sizes[0] <= SHARED_MEMORY_LIMIT
    if installed("nvJitLink"):
        log = link(text, target)
        assert "0 bytes spill stores, 0 bytes spill loads" in log
        registers = re.search(r"Used (\d+) registers", log)
        assert registers is not None
        assert int(registers[1]) <= MAX_REGISTERS


def test_the_gate_sees_double_precision_and_local_memory(cuda_simt: ModuleType) -> None:
    cuda, types = cuda_simt.cuda, cuda_simt.types

    def careless(x: Any, n: int) -> None:
        sums = cuda.local.array(64, types.float64)
        for i in range(64):
            sums[i] = 0.0
        for i in range(n):
            sums[i % 64] += x[i]
        x[0] = sums[n % 64]

    signature = types.void(types.CPointer(types.float32), types.int64)
    text = compile_to_assembler(cuda_simt, careless, signature, (9, 0))
    assert ".f64" in text
    assert "__local_depot" in text
