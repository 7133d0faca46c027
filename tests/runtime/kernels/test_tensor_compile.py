"""The compile gate of the tensor-core kernels: what they become on four generations of devices.

One assembler text, for the oldest of them, is assembled for each, as NVIDIA says that PTX can be:
writing it is most of the time.
"""

import dataclasses
import functools
import re
from collections import Counter

import pytest

from tests.runtime.kernels.test_cuda_compile import need_compilers

pytest.importorskip("numba_cuda", reason="needs numba-cuda (pip install -e '.[dev]')")
from linvit_runtime.kernels.cuda import build
from linvit_runtime.kernels.cuda.kernel import Kernel
from linvit_runtime.kernels.cuda.tensor_backward import backward_launches
from linvit_runtime.kernels.cuda.tensor_forward import forward_launches
from linvit_runtime.kernels.cuda.tensor_gradient_plan import choose_tensor_backward_plan
from linvit_runtime.kernels.cuda.tensor_plan import choose_tensor_plan

CAPABILITIES = ((8, 0), (9, 0), (10, 0), (12, 0))
REGISTERS_OF_12_WARPS = 168  # of the 65,536 of a multiprocessor
SIZES = (64, 64, 384, 1024, 1024)

# Of a CTA of 4 warps: products of 16 x 8 x 16, loads of four 8 x 8 matrices, copies of 16 bytes.
# D / 16 = 4 steps, F / 8 = 16 tiles of features, D / 8 = 8 tiles of columns; see the modules.
FORWARD = {
    # S and z by a warp; out and phi(q).z of half the columns, in two rounds that LLVM unrolls.
    "mma.sync": 2 * (8 + 1) + 2 * (8 * (4 + 1)),
    "ldmatrix": 1 + 4 + 8 * 2 + 2 * 4,
    "cp.async.cg": 3 * 2 * 4,  # k, v and q: the first tile and the next, 4 chunks per thread
    "st.global.v4": 2 * 2,
    "bar.sync": 6,
}
BACKWARD = {
    "mma.sync": 3 * 4 * 8 + 2 * 8,  # t, twice, and dv of a group of channels; dS by a warp
    "ldmatrix": 3 * 4 * 4 + 1 + 4,
    "cp.async.cg": 4 * 2 * 4,
    "st.global.v4": 3 * 2,
    "bar.sync": 8,
}


@functools.cache
def kernels(direction: str, split: int = 0) -> tuple[Kernel, ...]:
    if direction == "forward":
        plan = choose_tensor_plan("split_relu", "bfloat16", *SIZES, save_state=True, split=split)
        assert plan is not None
        return tuple(launch.kernel for launch in forward_launches(plan))
    plan = choose_tensor_backward_plan("split_relu", "bfloat16", *SIZES, split=split)
    assert plan is not None
    return tuple(launch.kernel for launch in backward_launches(plan))


@functools.cache
def text_of(kernel: Kernel) -> str:
    need_compilers()
    return build.assembler_text(kernel, CAPABILITIES[0])


@pytest.mark.parametrize("direction", ["forward", "backward"])
def test_kernels_of_whole_heads_hold_all_in_registers(direction: str) -> None:
    (kernel,) = kernels(direction)
    text = text_of(kernel)
    names = "|".join(map(re.escape, FORWARD))
    found = Counter(re.findall(rf"\b({names})\b", text))
    assert found == (FORWARD if direction == "forward" else BACKWARD)
    assert "__local_depot" not in text
    assert ".f64" not in text
    for capability in CAPABILITIES:
        built = build.assemble(kernel, text, capability)
        assert built.spill_bytes == 0
        assert built.shared_bytes == kernel.shared_bytes
        # Some assemblers take more for the backward pass: two CTAs share a multiprocessor.
        is_eased = direction == "backward" and capability in ((8, 0), (12, 0))
        assert built.registers <= (255 if is_eased else REGISTERS_OF_12_WARPS)


def test_kernels_of_parts_hold_all_in_registers() -> None:
    for kernel in kernels("forward", split=2):
        for capability in CAPABILITIES:
            built = build.assemble(kernel, text_of(kernel), capability)
            assert built.spill_bytes == 0
            assert built.registers <= REGISTERS_OF_12_WARPS


def test_fewer_ctas_share_a_multiprocessor_where_registers_would_spill() -> None:
    kernel = dataclasses.replace(kernels("forward")[0], min_blocks=4)
    text = text_of(kernels("forward")[0]).replace(".minnctapersm 3", ".minnctapersm 4")
    _, log = build._link(text, "sm_90")
    assert build._spill_bytes(log) > 0
    built = build.assemble(kernel, text, (9, 0))
    assert built.spill_bytes == 0
    assert 128 < built.registers <= REGISTERS_OF_12_WARPS
