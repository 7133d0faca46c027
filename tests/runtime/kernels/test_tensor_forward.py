"""The tensor-core forward pass in the warp emulator, against the O(N L) definition in float64."""

import math
from collections.abc import Callable
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
from linvit_runtime.kernels.cuda import (
    tensor_forward,
    tensor_passes,
    tensor_plan,
    tensor_read_out,
    tensor_state,
    tensor_steps,
    tensor_sums,
)
from linvit_runtime.kernels.cuda.choose import Call
from linvit_runtime.kernels.cuda.launch import _flat_array
from linvit_runtime.kernels.cuda.tensor_plan import (
    TENSOR_FEATURE_MAPS,
    TENSOR_HEAD_DIMS,
    TensorConstants,
    TensorPlan,
    choose_tensor_plan,
)
from tests.runtime.kernels.source_mutants import mutated
from tests.runtime.kernels.warp_emulator import Emulator, KernelFault

EPS = 1e-6
MODULES = (tensor_steps, tensor_state, tensor_sums, tensor_read_out, tensor_forward)


@dataclass(frozen=True)
class Case:
    """A call: batch, queries, keys, heads and width; and into how many parts a head is split."""

    feature_map: str
    half_type: str
    shape: tuple[int, int, int, int, int]
    split: int = 0
    save_state: bool = True
    key_scale: float = 1


# Sizes are odd on purpose: tiles that are not full, one token, several tiles, another length of
# keys. Every width and every feature map occurs, in both half precisions.
CASES = {
    "one token": Case("split_relu", "bfloat16", (1, 1, 1, 1, 64)),
    "ragged tiles, two heads and images": Case("split_relu", "bfloat16", (2, 67, 129, 2, 64)),
    "without state": Case("split_relu", "float16", (1, 17, 70, 1, 64), save_state=False),
    "16 channels": Case("elu_plus_one", "float16", (2, 70, 33, 3, 16)),
    "32 channels": Case("softmax", "bfloat16", (1, 33, 70, 2, 32)),
    "48 channels": Case("split_relu", "float16", (1, 20, 65, 1, 48)),
    "64 channels, one half": Case("relu", "bfloat16", (1, 65, 20, 1, 64)),
    "96 channels": Case("split_relu", "bfloat16", (1, 40, 17, 1, 96)),
    "96 channels, one half": Case("softmax", "float16", (1, 17, 40, 1, 96)),
    "128 channels": Case("split_relu", "float16", (1, 40, 17, 1, 128)),
    "128 channels, one half": Case("elu_plus_one", "bfloat16", (1, 17, 20, 1, 128)),
    "features of the caller": Case("identity", "bfloat16", (1, 17, 33, 1, 32)),
    "no queries": Case("softmax", "float16", (1, 0, 5, 1, 32)),
    "no keys": Case("relu", "float16", (1, 5, 0, 1, 32)),
    "parts": Case("split_relu", "bfloat16", (1, 150, 200, 2, 32), split=2),
    "parts, wide": Case("elu_plus_one", "float16", (1, 20, 70, 1, 128), split=2),
    "small keys": Case("relu", "float16", (1, 20, 70, 1, 64), key_scale=2**-14),
    "small keys, parts": Case("relu", "float16", (1, 70, 130, 1, 32), 2, key_scale=2**-14),
    "parts, without state": Case("softmax", "float16", (1, 70, 130, 1, 48), 3, save_state=False),
}


class EmulatedDevice:
    """The warp emulator behind what `launch.prepare` is on a device."""

    def __init__(self, half_type: Any) -> None:
        self.emulator = Emulator(half_type)

    def operations(self, _half_type: str) -> Any:
        return self.emulator.operations

    def prepare(self, kernel: Any, _device: int) -> Callable[..., None]:
        def run(grid: Any, tensors: Any, numbers: Any) -> None:
            kinds = kernel.arguments[: len(tensors)]
            arrays = [_flat_array(x, kind) for x, kind in zip(tensors, kinds, strict=True)]
            self.emulator.launch(kernel, grid, (*arrays, *numbers))

        return run


def forward(case: Case, q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Run the pass as a device would, on results and workspaces full of NaN."""
    batch, queries, keys, heads, width = case.shape
    plan = choose_tensor_plan(
        case.feature_map,
        case.half_type,
        width,
        width,
        batch * heads,
        queries,
        keys,
        case.save_state,
        case.split,
    )
    assert plan is not None
    assert plan.is_split == (case.split > 0)
    sizes = (batch, queries, keys, heads, width, width)
    call = Call("forward", case.feature_map, case.half_type, *sizes, case.save_state)
    device = EmulatedDevice(case.half_type)
    launches = partial(tensor_forward.forward_launches, provider=device.operations)
    torch.use_deterministic_algorithms(True)  # which fills what is allocated with NaN
    try:
        with (
            mock.patch.object(tensor_passes, "prepare", device.prepare),
            mock.patch.object(tensor_passes, "forward_launches", launches),
        ):
            return tensor_passes.TensorForward(call, plan, -1)(q, k, v, EPS)
    finally:
        torch.use_deterministic_algorithms(False)


def inputs(case: Case) -> oracle.Inputs:
    """Views of one buffer among others, whose last query is 0, so that eps counts."""
    batch, queries, keys, heads, width = case.shape
    shape = (batch, queries, keys, heads, width, width)
    q, k, v = oracle.inputs_of(case.feature_map, shape, getattr(torch, case.half_type))
    if queries > 1:
        q[:, -1] = 0
    k *= case.key_scale
    return oracle.each(lambda x: torch.stack([x, -x, x], dim=2)[:, :, 2], (q, k, v))


def features(k: Tensor, feature_map: str) -> Tensor:
    """phi(k) in float64, `[B, L, H, F]`."""
    k = k.double()
    if feature_map == "elu_plus_one":
        return torch.where(k > 0, k + 1, k.exp())
    if feature_map == "softmax":
        return k.exp() / k.exp().sum(-1, keepdim=True)
    if feature_map == "identity":
        return k
    return torch.cat([k, -k] if feature_map == "split_relu" else [k], dim=-1).relu()


def errors(case: Case) -> tuple[float, float]:
    """The error of the output in units of its rounding, and that of S and z in units of theirs."""
    q, k, v = inputs(case)
    out, S, z = forward(case, q, k, v)
    expected = oracle.attention(q, k, v, case.feature_map, EPS)
    rounding = oracle.relative_error(expected.to(out.dtype), expected) or 1.0
    output_error = oracle.relative_error(out, expected) / rounding
    if not case.save_state:
        return output_error, 0.0
    phi = features(k, case.feature_map)
    scale = 2.0 ** math.floor(-math.log2(max(case.shape[2], 1)))
    sums = scale * torch.einsum("blhf,blhe->bhfe", phi, v.double()), scale * phi.sum(1)
    # The features of relu are exact; others are rounded once.
    exact = case.feature_map in ("split_relu", "relu", "identity")
    unit = 1e-6 if exact else torch.finfo(out.dtype).eps / 2
    return output_error, max(map(oracle.relative_error, (S, z), sums)) / unit


@pytest.mark.parametrize("name", CASES)
def test_output_and_state_are_right_and_wholly_written(name: str) -> None:
    output_error, state_error = errors(CASES[name])
    assert output_error < 1.3
    assert state_error < 1


@pytest.mark.parametrize("feature_map", TENSOR_FEATURE_MAPS)
def test_a_nan_is_not_swallowed_and_stays_in_its_image(feature_map: str) -> None:
    for which in range(3):
        case = Case(feature_map, "bfloat16", (2, 3, 5, 1, 16), save_state=False)
        tensors = inputs(case)
        tensors[which][0, 2, 0, 1] = torch.nan
        nans = forward(case, *tensors)[0].isnan()
        # That of q stays in its token, that of v in its column.
        expected = torch.zeros_like(nans)
        expected[0, *((2,), (...,), (..., 1))[which]] = True
        assert nans.equal(expected)
        assert not nans[1].any()


def test_float16_stays_finite_over_many_tokens() -> None:
    """Where the sums over keys would overflow it by far."""
    case = Case("relu", "float16", (1, 16, 2048, 1, 16), split=8)
    q, k, v = (100 * x.abs() for x in inputs(case))
    expected = oracle.attention(q, k, v, "relu", EPS)
    assert oracle.relative_error(forward(case, q, k, v)[0], expected) < 1e-3


SMALL = Case("split_relu", "float16", (1, 70, 70, 2, 32))
SMALL_ELU = Case("elu_plus_one", "float16", (1, 20, 71, 1, 16))
SMALL_SOFTMAX = Case("softmax", "float16", (1, 20, 71, 1, 16))
SMALL_PARTS = Case("split_relu", "float16", (1, 70, 130, 2, 32), split=2)

# A mistake in the source, as (module, right, wrong, case). Each must be noticed.
MUTANTS = {
    "no negative half": (tensor_steps, "if part == 0 else relu_of_negative(word)", "", SMALL),
    "exponential to the base 2": (tensor_steps, "math.log2(math.e)", "1.0", SMALL_ELU),
    "half a softmax": (tensor_steps, "total += shuffle_xor(total, 1 << i)", "pass", SMALL_SOFTMAX),
    "a row read that is no token": (tensor_steps, "row + i * rows < tokens_left", "True", SMALL),
    "columns in another order": (
        tensor_steps,
        "+ 4 * lane_of_4",
        "+ 4 * (3 - lane_of_4)",
        SMALL_PARTS,
    ),
    "columns in another order, a block at once": (
        tensor_steps,
        "4 * block + (thread_number() & 3)",
        "4 * block + 3 - (thread_number() & 3)",
        SMALL,
    ),
    "z not scaled": (tensor_sums, "value * scale", "value", SMALL),
    "S not scaled": (tensor_sums, "sums[i + 1] * scale", "sums[i + 1]", SMALL),
    "padding counted": (tensor_sums, "token + 1 < tokens_left", "True", SMALL_ELU),
    "matrices of A in the order of B": (tensor_sums, "((lane >> 4) << 3)", "(lane & 8)", SMALL),
    "no barrier before a tile": (
        tensor_sums,
        "wait_for_copies()\n            cuda.syncthreads()",
        "wait_for_copies()",
        SMALL,
    ),
    "no barrier after a tile": (
        tensor_sums,
        "sums, z_sums)\n            cuda.syncthreads()",
        "sums, z_sums)",
        SMALL,
    ),
    "no wait": (tensor_sums, "wait_for_all_but_one()\n", "commit_copies()\n", SMALL),
    "last tile dropped": (tensor_sums, "tokens_left <= 0", "tokens_left <= TILE_TOKENS", SMALL),
    "denominator of other lanes": (tensor_read_out, "(lane & 4) != 0", "(lane & 8) != 0", SMALL),
    "no eps": (tensor_read_out, "z_back + scaled_eps", "z_back", SMALL),
    "a result that is no token": (tensor_read_out, "0, token < tokens_left", "0, True", SMALL),
    "results of one row only": (tensor_read_out, "+ 8 * lower + (lane", "+ (lane", SMALL),
    "heads and tokens swapped": (
        tensor_forward,
        "batch * num_queries * row + head * head_dim",
        "(head * num_queries) * head_dim",
        SMALL,
    ),
    "no barrier between the phases": (
        tensor_forward,
        "head_index * num_features * head_dim)\n        cuda.syncthreads()",
        "head_index * num_features * head_dim)",
        SMALL,
    ),
    "no scale for small keys": (
        tensor_state,
        "return maximum(largest, float32(SMALLEST))",
        "return float32(LARGEST)",
        CASES["small keys, parts"],
    ),
    "not scaled back": (tensor_read_out, "scaled_eps) * back", "scaled_eps)", SMALL),
    "largest of a warp": (
        tensor_state,
        "for i in range(num_warps):",
        "for i in range(0):",
        CASES["48 channels"],
    ),
    "one part twice": (tensor_forward, "place += size", "place += 0", SMALL_PARTS),
    "parts overlap": (tensor_forward, "num_keys - first)", "num_keys)", SMALL_PARTS),
}


def mutant_error(directory: Path, module: Any, right: str, wrong: str, case: Case) -> float:
    """The error with one mistake in a module; infinite where the emulator finds a fault."""
    with mutated(directory, module, right, wrong, MODULES):
        try:
            return max(errors(case))
        except KernelFault:
            return math.inf


@pytest.mark.parametrize("name", MUTANTS)
def test_a_mistake_is_noticed(tmp_path: Path, name: str) -> None:
    assert mutant_error(tmp_path, *MUTANTS[name]) > 10


@pytest.mark.parametrize("case", [SMALL, SMALL_ELU, SMALL_SOFTMAX, SMALL_PARTS])
def test_the_unchanged_source_passes_where_mutants_fail(tmp_path: Path, case: Case) -> None:
    assert mutant_error(tmp_path, tensor_sums, "value * scale", "value * scale", case) < 1.3


@pytest.mark.parametrize("feature_map", TENSOR_FEATURE_MAPS)
@pytest.mark.parametrize("width", TENSOR_HEAD_DIMS)
def test_every_width_fits_and_swizzles_without_conflicts(feature_map: str, width: int) -> None:
    constants = TensorConstants(feature_map, "float16", width, True)
    assert constants.shared_bytes <= 99 * 1024  # what the smallest of the devices lends a CTA
    assert constants.num_threads <= 1024
    place = tensor_steps.build_place(constants, Emulator("float16").operations)
    for chunk in range(width // 8):
        rows = [place(row, chunk) for row in range(16)]
        assert len({at // 16 % 8 for at in rows[:8]}) == 8
        assert len({at // 16 % 8 for at in rows[8:]}) == 8
    places = {place(row, chunk) for row in range(64) for chunk in range(width // 8)}
    assert places == set(range(0, constants.tile_bytes, 16))


def test_heads_are_split_where_they_are_few_and_long() -> None:
    def choose(batch_heads: int, tokens: int) -> TensorPlan:
        plan = choose_tensor_plan(
            "relu", "float16", 64, 64, batch_heads, tokens, tokens, save_state=False
        )
        assert plan is not None
        return plan

    assert not choose(384, 4096).is_split
    assert not choose(8, 197).is_split
    plan = choose(8, 16384)
    assert plan.is_split
    assert plan.key_parts * plan.batch_heads >= tensor_plan.ENOUGH_CTAS * 0.9
    for parts, tokens in (
        (plan.key_parts, plan.key_part_tokens),
        (plan.query_parts, plan.query_part_tokens),
    ):
        assert (parts - 1) * tokens < 16384 <= parts * tokens
    assert set(plan.workspaces()) == {"S", "z", "S_parts", "z_parts"}


@pytest.mark.parametrize(
    ("feature_map", "dtype", "width", "value_width"),
    [
        ("favor", "float16", 64, 64),
        ("relu", "float32", 64, 64),
        ("relu", "float16", 40, 40),
        ("relu", "float16", 64, 32),
    ],
)
def test_there_is_no_plan_for_other_calls(
    feature_map: str, dtype: str, width: int, value_width: int
) -> None:
    assert choose_tensor_plan(feature_map, dtype, width, value_width, 8, 64, 64, True) is None
