"""The tensor-core backward pass in the warp emulator, against autograd of the O(N L) definition."""

import math
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import torch
from torch import Tensor

from tests.runtime.kernels import oracle

pytest.importorskip("numba_cuda", reason="needs numba-cuda (pip install -e '.[dev]')")
from linvit_runtime.kernels import torch_backend
from linvit_runtime.kernels.cuda import (
    tensor_backward,
    tensor_gradient_rows,
    tensor_gradient_state,
    tensor_gradients,
    tensor_passes,
    tensor_state,
    tensor_steps,
)
from linvit_runtime.kernels.cuda.choose import Call
from linvit_runtime.kernels.cuda.tensor_gradient_plan import (
    GradientConstants,
    choose_tensor_backward_plan,
)
from linvit_runtime.kernels.cuda.tensor_plan import TENSOR_FEATURE_MAPS, TENSOR_HEAD_DIMS
from linvit_runtime.kernels.feature_maps import feature_map_named
from tests.runtime.kernels.source_mutants import mutated
from tests.runtime.kernels.test_tensor_forward import EmulatedDevice
from tests.runtime.kernels.warp_emulator import KernelFault

EPS = 1e-6
MODULES = (
    tensor_steps,
    tensor_state,
    tensor_gradient_rows,
    tensor_gradient_state,
    tensor_gradients,
    tensor_backward,
)


@dataclass(frozen=True)
class Case:
    """A call: batch, queries, keys, heads and width; and into how many parts a head is split."""

    feature_map: str
    half_type: str
    shape: tuple[int, int, int, int, int]
    split: int = 0
    loss_scale: float = 1
    eps: float = EPS


# Sizes are odd on purpose: tiles that are not full, one token, several tiles, another length of
# keys. Every width and every feature map occurs, in both half precisions.
CASES = {
    "one token": Case("split_relu", "bfloat16", (1, 1, 1, 1, 64)),
    "ragged tiles, two heads and images": Case("split_relu", "bfloat16", (2, 67, 129, 2, 64)),
    "64 channels": Case("softmax", "float16", (1, 20, 33, 1, 64)),
    "16 channels": Case("elu_plus_one", "float16", (2, 70, 33, 3, 16)),
    "32 channels": Case("softmax", "bfloat16", (1, 33, 70, 2, 32)),
    "48 channels": Case("split_relu", "float16", (1, 20, 65, 1, 48)),
    "64 channels, one half": Case("relu", "bfloat16", (1, 65, 20, 1, 64)),
    "96 channels": Case("split_relu", "bfloat16", (1, 40, 17, 1, 96)),
    "96 channels, one half": Case("softmax", "float16", (1, 17, 40, 1, 96)),
    "128 channels": Case("split_relu", "float16", (1, 40, 17, 1, 128)),
    "128 channels, one half": Case("elu_plus_one", "bfloat16", (1, 17, 20, 1, 128)),
    "features of the caller": Case("identity", "bfloat16", (1, 17, 33, 1, 32)),
    "no keys": Case("relu", "float16", (1, 5, 0, 1, 32)),
    "no queries": Case("relu", "float16", (1, 0, 5, 1, 32)),
    "parts": Case("split_relu", "bfloat16", (1, 150, 200, 2, 32), split=2),
    "parts, wide": Case("elu_plus_one", "float16", (1, 20, 70, 1, 128), split=2),
    "a small loss": Case("split_relu", "float16", (1, 70, 70, 1, 32), loss_scale=2**-10),
    "a small loss, in parts": Case(
        "split_relu", "float16", (1, 70, 70, 1, 64), 2, loss_scale=2**-10
    ),
    "a large loss": Case("relu", "float16", (1, 150, 70, 1, 32), loss_scale=2**12),
    "no eps": Case("elu_plus_one", "float16", (1, 65, 70, 1, 16), eps=0),
    "no eps, features of the caller": Case("identity", "float16", (1, 66, 70, 1, 16), eps=0),
}


def backward(
    case: Case, q: Tensor, k: Tensor, v: Tensor, grad_out: Tensor, *, packed: bool = False
) -> oracle.Inputs:
    """Run the pass as a device would, on gradients and workspaces full of NaN."""
    batch, queries, keys, heads, width = case.shape
    plan = choose_tensor_backward_plan(
        case.feature_map, case.half_type, width, width, batch * heads, queries, keys, case.split
    )
    assert plan is not None
    assert plan.is_split == (case.split > 0)
    _, S, z = torch_backend.forward(q, k, v, feature_map_named(case.feature_map), case.eps)
    sizes = (batch, queries, keys, heads, width, width)
    call = Call("backward", case.feature_map, case.half_type, *sizes)
    device = EmulatedDevice(case.half_type)
    launches = partial(tensor_backward.backward_launches, provider=device.operations)
    into = None
    if packed:
        gradients = torch.full((batch, queries, 3, heads, width), math.nan, dtype=q.dtype)
        into = oracle.each(lambda x: x, gradients.unbind(2))
    torch.use_deterministic_algorithms(True)  # which fills what is allocated with NaN
    try:
        with (
            mock.patch.object(tensor_passes, "prepare", device.prepare),
            mock.patch.object(tensor_passes, "backward_launches", launches),
        ):
            run = tensor_passes.TensorBackward(call, plan, -1)
            return run(grad_out, q, k, v, S, z, case.eps, into)
    finally:
        torch.use_deterministic_algorithms(False)


def inputs(case: Case) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Views of one buffer among others, whose last query is 0, so that eps counts; and grad_out."""
    batch, queries, keys, heads, width = case.shape
    dtype = getattr(torch, case.half_type)
    shape = (batch, queries, keys, heads, width, width)
    q, k, v = oracle.inputs_of(case.feature_map, shape, dtype)
    if queries > 1:
        # Where features are what is given, the slope at 0 is 1/eps: too steep for float16.
        q[:, -1] *= 0.01 if case.feature_map == "identity" else 0
    q, k, v = oracle.each(lambda x: torch.stack([x, -x, x], dim=2)[:, :, 2], (q, k, v))
    grad_out = torch.empty(batch, queries, heads * width, dtype=torch.float64)
    grad_out.normal_(generator=torch.Generator().manual_seed(1))
    return q, k, v, (case.loss_scale * grad_out).to(dtype)


def expected_gradients(
    case: Case, q: Tensor, k: Tensor, v: Tensor, grad_out: Tensor
) -> tuple[Tensor, ...]:
    leaves = oracle.each(lambda x: x.double().requires_grad_(), (q, k, v))
    out = oracle.attention(*leaves, case.feature_map, case.eps)
    return torch.autograd.grad(out, leaves, grad_out.double())


def error(case: Case, *, packed: bool = False) -> float:
    """The largest error of a gradient, in units of what rounding the results costs."""
    q, k, v, grad_out = inputs(case)
    expected = expected_gradients(case, q, k, v, grad_out)
    actual = backward(case, q, k, v, grad_out, packed=packed)
    # dq and dk can cancel to nothing beside dv, as they do for one key.
    whole = torch.cat([x.flatten() for x in expected]).norm().item()
    unit = torch.finfo(grad_out.dtype).eps / 4  # about what rounding spread numbers costs
    errors: list[float] = []
    for x, y in zip(actual, expected, strict=True):
        size = max(y.norm().item(), 0.2 * whole, 1e-30)
        rounding = (y.to(x.dtype) - y).norm().item() / size  # more, where float16 has few numbers
        errors.append((x.double() - y).norm().item() / size / max(rounding, unit))
    return math.inf if math.isnan(sum(errors)) else max(errors)


@pytest.mark.parametrize("name", CASES)
def test_gradients_are_right_and_wholly_written(name: str) -> None:
    assert error(CASES[name]) < 2.5


def test_gradients_are_written_into_one_buffer() -> None:
    assert error(Case("split_relu", "bfloat16", (2, 67, 67, 2, 32)), packed=True) < 2.5


@pytest.mark.parametrize("feature_map", TENSOR_FEATURE_MAPS)
def test_a_nan_is_not_swallowed_and_stays_in_its_image(feature_map: str) -> None:
    for which in range(4):
        case = Case(feature_map, "bfloat16", (2, 3, 5, 1, 16))
        tensors = inputs(case)
        tensors[which][0, 2, ..., 1] = torch.nan
        gradients = backward(case, *tensors)
        assert any(x[0].isnan().any() for x in gradients)
        assert not any(x[1].isnan().any() for x in gradients)


def test_a_feature_that_no_key_has_does_not_overflow() -> None:
    """Its weight in dS is 1/eps, more than float16 holds; but nothing of dS is read there."""
    case = Case("relu", "float16", (1, 17, 33, 1, 32))
    q, k, v, grad_out = inputs(case)
    k[..., 5] = -k[..., 5].abs()
    q[0, 3] = -1
    q[0, 3, 0, 5] = 1
    grad_out[0, 3] = 1
    actual = backward(case, q, k, v, grad_out)
    expected = expected_gradients(case, q, k, v, grad_out)
    for x, y in zip(actual, expected, strict=True):
        assert oracle.relative_error(x, y) < 2e-3


SMALL = Case("split_relu", "float16", (1, 70, 70, 2, 32))
SMALL_WIDE = Case("split_relu", "float16", (1, 20, 33, 1, 64))
SMALL_ELU = Case("elu_plus_one", "float16", (1, 20, 71, 1, 16))
SMALL_SOFTMAX = Case("softmax", "float16", (1, 20, 71, 1, 64))
SMALL_PARTS = Case("split_relu", "float16", (1, 70, 130, 2, 32), split=2)
THREE_TILES = Case("split_relu", "float16", (1, 140, 140, 1, 32))
SMALL_LOSS = CASES["a small loss, in parts"]
LARGE_LOSS = CASES["a large loss"]
NO_EPS = CASES["no eps, features of the caller"]

# A mistake in the source, as (module, right, wrong, case). Each must be noticed.
MUTANTS = {
    "no gradient of the negative half": (
        tensor_gradients,
        "select(x < float32(0), -g, float32(0))",
        "float32(0)",
        SMALL,
    ),
    "slope of relu everywhere": (
        tensor_gradients,
        "select(x < float32(0), -g, float32(0))",
        "-g",
        SMALL,
    ),
    "slope of elu": (tensor_gradients, "g, f * g)", "g, g)", SMALL_ELU),
    "slope of softmax": (tensor_gradients, "f * (g - dot)", "f * g", SMALL_SOFTMAX),
    "no term of z": (tensor_gradients, "= -inverse * slope", "= float32(0)", SMALL),
    "no eps": (tensor_gradients, "dots[row] + scaled_eps", "dots[row]", SMALL),
    "columns out of order": (
        tensor_gradients,
        "(lane & 3) * num_words",
        "(3 - (lane & 3)) * num_words",
        SMALL,
    ),
    "a result that is no token": (
        tensor_gradients,
        "row * block_tiles, token < tokens_left",
        "row * block_tiles, True",
        SMALL,
    ),
    "no barrier before sums of groups": (
        tensor_gradients,
        "            if exchanges:\n                cuda.syncthreads()\n",
        "",
        SMALL_WIDE,
    ),
    "sums of one group": (tensor_gradient_rows, "range(channel_groups):", "range(1):", SMALL_WIDE),
    "sums of two lanes": (
        tensor_gradient_rows,
        "            dots[i] += shuffle_xor(dots[i], 2)\n",
        "",
        SMALL,
    ),
    "the wrong half of S": (tensor_gradient_rows, "+ ((lane >> 4) << 3)", "+ (lane & 8)", SMALL),
    "S not turned": (tensor_gradient_rows, "ldmatrix(factors", "ops.ldmatrix_trans(factors", SMALL),
    "one row twice": (tensor_gradient_rows, "start + 8 * row_bytes)", "start)", SMALL),
    "a wrong place in S": (
        tensor_gradient_state,
        "2 * lane_of_4 + (channel & 1)",
        "2 * lane_of_4",
        SMALL,
    ),
    "largest of a warp": (
        tensor_state,
        "for i in range(num_warps):",
        "for i in range(0):",
        SMALL_WIDE,
    ),
    "no scale for small losses": (
        tensor_state,
        "return maximum(largest, float32(SMALLEST))",
        "return float32(LARGEST)",
        SMALL_LOSS,
    ),
    "no scale for large losses": (
        tensor_state,
        "return maximum(largest, float32(SMALLEST))",
        "return float32(LARGEST)",
        LARGE_LOSS,
    ),
    "weights not scaled back": (tensor_backward, "scale * reciprocal(z_norm)", "scale", SMALL),
    "z not scaled": (tensor_gradient_state, "total * factor", "total", SMALL),
    "dz of the wrong sign": (tensor_gradient_state, "-= a * slopes", "+= a * slopes", SMALL),
    "weights of other tokens": (
        tensor_gradient_state,
        "(i & 1) + 8 * (i >> 1)",
        "(i >> 1) + 8 * (i & 1)",
        SMALL,
    ),
    "padding has weight": (
        tensor_gradients,
        "select(token < tokens_left, inverse, float32(0))",
        "inverse",
        NO_EPS,
    ),
    "no barrier before a tile": (
        tensor_backward,
        "wait_for_copies()\n        cuda.syncthreads()",
        "wait_for_copies()",
        THREE_TILES,
    ),
    "no barrier between the products": (
        tensor_backward,
        "            cuda.syncthreads()\n            add_tile",
        "            add_tile",
        SMALL,
    ),
    "no barrier between the phases": (
        tensor_backward,
        "                break\n        cuda.syncthreads()",
        "                break",
        THREE_TILES,
    ),
    "no wait": (tensor_backward, "        wait_for_copies()\n", "", SMALL),
    "last tile dropped": (tensor_backward, "tokens_left <= 0", "tokens_left <= TILE_TOKENS", SMALL),
    "one part twice": (
        tensor_backward,
        "* cuda.gridDim.y + cuda.blockIdx.y",
        "* cuda.gridDim.y",
        SMALL_PARTS,
    ),
    "parts overlap": (tensor_backward, "num_keys - first)", "num_keys)", SMALL_PARTS),
}


def mutant_error(directory: Path, module: Any, right: str, wrong: str, case: Case) -> float:
    """The error with one mistake in a module; infinite where the emulator finds a fault."""
    with mutated(directory, module, right, wrong, MODULES):
        try:
            return error(case)
        except KernelFault:
            return math.inf


@pytest.mark.parametrize("name", MUTANTS)
def test_a_mistake_is_noticed(tmp_path: Path, name: str) -> None:
    assert mutant_error(tmp_path, *MUTANTS[name]) > 5


@pytest.mark.parametrize(
    "case", [SMALL, SMALL_WIDE, SMALL_ELU, SMALL_SOFTMAX, SMALL_PARTS, SMALL_LOSS]
)
def test_the_unchanged_source_passes_where_mutants_fail(tmp_path: Path, case: Case) -> None:
    unchanged = "total * factor"
    assert mutant_error(tmp_path, tensor_gradient_state, unchanged, unchanged, case) < 2.5


@pytest.mark.parametrize("feature_map", TENSOR_FEATURE_MAPS)
@pytest.mark.parametrize("width", TENSOR_HEAD_DIMS)
def test_every_width_fits_a_large_device(feature_map: str, width: int) -> None:
    constants = GradientConstants(feature_map, "float16", width)
    assert constants.shared_bytes <= 163 * 1024  # sm_80; smaller devices have SIMT for the widest
    assert constants.token_groups * constants.channel_groups == constants.num_warps
    assert constants.group_channels % (8 * constants.block_tiles) == 0


def test_calls_without_a_kernel_have_no_plan() -> None:
    for feature_map, dtype, width, value_width in (
        ("favor", "float16", 64, 64),
        ("relu", "float32", 64, 64),
        ("relu", "float16", 40, 40),
        ("relu", "float16", 64, 32),
    ):
        plan = choose_tensor_backward_plan(feature_map, dtype, width, value_width, 8, 64, 64)
        assert plan is None
