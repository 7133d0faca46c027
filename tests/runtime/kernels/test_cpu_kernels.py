"""The CPU kernels on every vector width, layout and element type, against the definition."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Literal

import numba
import pytest
import torch
from torch import Tensor

from linvit_runtime.kernels import linear_attention
from linvit_runtime.kernels.cpu import backward as backward_pass
from linvit_runtime.kernels.cpu import forward as forward_pass
from linvit_runtime.kernels.cpu import launch as cpu_launch
from linvit_runtime.kernels.cpu import parts
from linvit_runtime.kernels.cpu.plan import CpuPlan, choose_cpu_plan, vector_lanes
from linvit_runtime.kernels.cpu.tiles import int64_pointer
from tests.runtime.kernels.oracle import (
    attention,
    each,
    inputs_of,
    maps_and_dtypes,
    random_inputs,
    relative_error,
)

TOLERANCES = {torch.float32: 2e-6, torch.bfloat16: 5e-3, torch.float16: 8e-4}


@pytest.fixture
def poisoned() -> Iterator[None]:
    """Whatever torch allocates starts as NaN: what deterministic algorithms imply."""
    torch.use_deterministic_algorithms(True)
    assert torch.empty(1).isnan()
    yield
    torch.use_deterministic_algorithms(False)


def plan_for(
    feature_map: str, inputs: tuple[Tensor, Tensor, Tensor], lanes: int | None = None
) -> CpuPlan:
    q, _, v = inputs
    plan = choose_cpu_plan(feature_map, q.dtype, q.shape[3], v.shape[3], lanes)
    assert plan is not None
    return plan


def errors(plan: CpuPlan, inputs: tuple[Tensor, Tensor, Tensor]) -> list[float]:
    """Of the output and of all gradients in one vector, relative to the definition in float64."""
    leaves = each(lambda x: x.double().requires_grad_(), inputs)
    expected = attention(*leaves, plan.feature_map)
    generator = torch.Generator().manual_seed(1)
    grad_out = torch.randn(expected.shape, generator=generator).to(inputs[0].dtype)
    expected_grads = torch.autograd.grad(expected, leaves, grad_out.double())
    out, S, z = cpu_launch.forward(*inputs, plan, 1e-6, save_state=True)
    grads = cpu_launch.backward(grad_out, *inputs, S, z, plan, 1e-6)
    flat = torch.cat([x.double().flatten() for x in grads])
    expected_flat = torch.cat([x.flatten() for x in expected_grads])
    return [relative_error(out, expected.detach()), relative_error(flat, expected_flat)]


# Each case compiles two kernels: the maps share what differs between widths.
@pytest.mark.parametrize(
    ("feature_map", "lanes", "head_dim", "value_dim"),
    [
        ("split_relu", 4, 9, 30),
        ("split_relu", 8, 9, 30),
        ("elu_plus_one", 8, 9, 30),
        ("split_relu", 16, 9, 30),
        ("relu", 16, 16, 32),  # nothing is padded
        ("split_relu", 8, 16, 64),  # from 64 on, S is summed by sign
        ("split_relu", 16, 9, 128),
        ("split_relu", 4, 255, 3),  # a row of v is short beside one of q
    ],
)
@pytest.mark.usefixtures("poisoned")
def test_every_vector_width_computes_the_definition(
    feature_map: str, lanes: int, head_dim: int, value_dim: int
) -> None:
    # 65 and 130 tokens are one and two blocks and some; 9 and 30 channels end in part of a vector
    inputs = inputs_of(feature_map, (2, 65, 130, 2, head_dim, value_dim), torch.float32)
    assert max(errors(plan_for(feature_map, inputs, lanes), inputs)) < 2e-6


@pytest.mark.parametrize("lanes", [8, 16])
@pytest.mark.usefixtures("poisoned")
def test_tokens_that_fill_no_tile_compute_the_definition(lanes: int) -> None:
    # Tiles are of 4 and 6 tokens, blocks of 64; the plan, and so the kernel, is the same for all.
    for queries, keys in ((1, 7), (5, 1), (6, 5), (7, 6), (67, 69)):
        inputs = inputs_of("split_relu", (2, queries, keys, 2, 16, 16), torch.float32)
        assert max(errors(plan_for("split_relu", inputs, lanes), inputs)) < 2e-6, (queries, keys)


@pytest.mark.parametrize(("feature_map", "dtype"), maps_and_dtypes(TOLERANCES), ids=str)
@pytest.mark.usefixtures("poisoned")
def test_every_element_type_computes_the_definition(feature_map: str, dtype: torch.dtype) -> None:
    inputs = inputs_of(feature_map, (2, 37, 41, 2, 12, 11), dtype)
    assert max(errors(plan_for(feature_map, inputs), inputs)) < TOLERANCES[dtype]


def test_a_kernel_for_another_feature_map_is_caught() -> None:
    inputs = random_inputs((1, 9, 9, 1, 12, 20), torch.float32)
    wrong = dataclasses.replace(plan_for("relu", inputs), feature_map="elu_plus_one")
    out, _, _ = cpu_launch.forward(*inputs, wrong, 1e-6, save_state=False)
    assert relative_error(out, attention(*inputs, "relu")) > 0.1


def run_broken(
    direction: Literal["forward", "backward"],
    plan: CpuPlan,
    right: str,
    wrong: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Let the launcher run a kernel whose parts say `wrong` where they say `right`."""
    source = Path(parts.__file__).read_text(encoding="utf-8")
    assert right in source
    broken = ModuleType("broken_parts")
    exec(compile(source.replace(right, wrong), parts.__file__, "exec"), broken.__dict__)
    kernels = forward_pass if direction == "forward" else backward_pass
    for name, value in vars(kernels).items():
        if value is getattr(parts, name, None) and callable(value):
            monkeypatch.setattr(kernels, name, getattr(broken, name))
    # Not through the cache on disk, which would give the kernel without the mistake.
    signature = numba.types.int64(int64_pointer)
    compiled = numba.cfunc(signature, error_model="numpy")(
        getattr(kernels, f"{direction}_kernel")(plan, 0)
    )
    monkeypatch.setattr(cpu_launch, f"compiled_{direction}", lambda _plan: compiled)


def test_a_softmax_that_counts_what_pads_a_head_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    inputs = random_inputs((1, 9, 9, 1, 12, 11), torch.float32)
    plan = plan_for("softmax", inputs)
    run_broken("forward", plan, "NOTHING, LANES", "ZERO, LANES", monkeypatch)
    assert errors(plan, inputs)[0] > 1e-2


def test_a_softmax_without_all_of_its_derivative_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    inputs = random_inputs((1, 9, 9, 1, 12, 11), torch.float32)
    plan = plan_for("softmax", inputs)
    run_broken("backward", plan, "spread(mean, LANES)", "spread(ZERO, LANES)", monkeypatch)
    output, gradient = errors(plan, inputs)
    assert gradient > 1e-2 > 2e-6 > output
    # Control: dv, which needs no derivative of phi, is right.
    q, k, v = inputs
    values = v.double().requires_grad_()
    out = attention(q, k, values, "softmax")
    (expected,) = torch.autograd.grad(out.sum(), values)
    _, S, z = cpu_launch.forward(q, k, v, plan, 1e-6, save_state=True)
    *_, grad_v = cpu_launch.backward(torch.ones(out.shape), q, k, v, S, z, plan, 1e-6)
    assert relative_error(grad_v, expected) < 2e-6


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("g_width, positive, near, far)", "g_width, positive, far, near)"),  # the other feature
        (
            "min(first, max(0, count - ROWS))",
            "min(first, max(0, count - ROWS - 1))",
        ),  # a token less
        ("where_zero(negative, nothing, negate(row))", "where_zero(negative, nothing, row)"),
        ("z_row = where_positive(phi, z_row,", "z_row = where_positive(negate(phi), z_row,"),
    ],
)
def test_a_gradient_of_the_wrong_sign_is_caught(
    right: str, wrong: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    inputs = random_inputs((1, 9, 9, 1, 16, 16), torch.float32)
    plan = plan_for("split_relu", inputs)
    run_broken("backward", plan, right, wrong, monkeypatch)
    output, gradient = errors(plan, inputs)
    assert not gradient < 1e-2  # NaN is no less
    assert output < 2e-6


@pytest.mark.parametrize("layout", ["qkv buffer", "heads first", "channels apart"])
def test_views_give_what_copies_give(layout: str) -> None:
    buffer = torch.randn(2, 33, 3, 4, 16, generator=torch.Generator().manual_seed(0))
    if layout == "heads first":
        buffer = buffer.permute(0, 2, 3, 1, 4).contiguous().permute(0, 3, 1, 2, 4)
    if layout == "channels apart":
        buffer = buffer.transpose(1, 4).contiguous().transpose(1, 4)
    q, k, v = buffer.unbind(2)
    views = linear_attention(q, k, v)
    assert torch.equal(views, linear_attention(q.contiguous(), k.contiguous(), v.contiguous()))


def test_the_number_of_threads_changes_no_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cpu_launch, "_TASK_WORTH_A_THREAD", 1)
    inputs = random_inputs((3, 65, 65, 5, 16, 16), torch.float32)
    results: list[list[Tensor]] = []
    threads = torch.get_num_threads()
    try:
        for count in (1, 2, 7):
            torch.set_num_threads(count)
            leaves = each(lambda x: x.clone().requires_grad_(), inputs)
            out = linear_attention(*leaves)
            results.append([out, *torch.autograd.grad(out.square().sum(), leaves)])
    finally:
        torch.set_num_threads(threads)
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other, strict=True))


def test_without_the_thread_pool_of_torch_it_runs_on_one_thread(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    inputs = random_inputs((2, 9, 9, 2, 16, 16), torch.float32)
    expected = linear_attention(*inputs)
    monkeypatch.setattr(cpu_launch, "_parallel", lambda: None)
    assert torch.equal(linear_attention(*inputs), expected)


@pytest.mark.parametrize("width", [16, 64])
def test_a_nan_reaches_the_output_of_its_own_image_only(width: int) -> None:
    for index in range(3):
        inputs = random_inputs((2, 9, 9, 2, width, width), torch.float32)
        inputs[index][1, 4, 0, 3] = torch.nan
        out = linear_attention(*inputs)
        assert not out[0].isnan().any()
        assert out[1].isnan().any()


@pytest.mark.parametrize("width", [16, 64])
@pytest.mark.parametrize("sign", [-1, 1])
def test_a_nan_among_the_keys_reaches_queries_of_either_sign(width: int, sign: int) -> None:
    q, k, v = random_inputs((1, 9, 9, 1, width, width), torch.float32)
    k[0, 4, 0, 3] = torch.nan
    assert linear_attention(sign * q.abs(), k, v).isnan().all()


def test_half_precision_stays_finite_over_many_tokens() -> None:
    q, k, v = random_inputs((1, 2, 16_384, 1, 64, 64), torch.float16)
    assert linear_attention(q, k * 8, v).isfinite().all()


def test_this_machine_has_vectors() -> None:
    assert vector_lanes() in (4, 8, 16)


@pytest.mark.slow
def test_a_second_process_takes_the_compiled_kernel_from_disk(tmp_path: Path) -> None:
    program = (
        "import torch\n"
        "from linvit_runtime.kernels.cpu import launch as cpu_launch\n"
        "from linvit_runtime.kernels.cpu.plan import choose_cpu_plan\n"
        "plan = choose_cpu_plan('relu', torch.float32, 8, 8)\n"
        "print(cpu_launch.compiled_forward(plan).cache_hits)\n"
    )
    environment = {
        **os.environ,
        "NUMBA_CACHE_DIR": str(tmp_path),
        "PYTHONPATH": os.pathsep.join(sys.path),
    }
    hits = [
        subprocess.run(
            [sys.executable, "-c", program],
            env=environment,
            check=True,
            capture_output=True,
            text=True,
        ).stdout.strip()
        for _ in range(2)
    ]
    assert hits == ["0", "1"]
