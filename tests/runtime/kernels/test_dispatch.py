"""Which implementation runs, and that falling back is neither silent nor noisy."""

import itertools
import subprocess
import sys
import warnings

import pytest
import torch

from linvit_runtime.kernels import (
    FEATURE_MAPS,
    backends_used,
    dispatch,
    linear_attention,
    support,
    torch_reasons,
)
from linvit_runtime.kernels.cpu import launch as cpu_launch
from linvit_runtime.kernels.cpu.plan import choose_cpu_plan
from linvit_runtime.kernels.cuda import launch as cuda_launch
from linvit_runtime.kernels.cuda.choose import Call, Choice
from linvit_runtime.kernels.cuda.plan import SHARED_MEMORY_LIMIT, choose_plan
from linvit_runtime.kernels.feature_maps import feature_map_named
from tests.runtime.kernels.oracle import random_inputs, random_leaves


@pytest.fixture(autouse=True)
def fresh_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dispatch, "_used", {"forward": {}, "backward": {}})
    monkeypatch.setattr(dispatch, "_reasons", {})
    dispatch._warn_of_fallback.cache_clear()
    dispatch._cuda_pass.cache_clear()
    dispatch._numba_problem.cache_clear()


def test_the_backends_that_ran_are_recorded() -> None:
    assert backends_used() == {"forward": (), "backward": ()}
    q, k, v = random_leaves((1, 3, 3, 1, 4, 4))
    out = linear_attention(q, k, v)
    assert backends_used() == {"forward": ("torch",), "backward": ()}
    out.sum().backward()
    assert backends_used() == {"forward": ("torch",), "backward": ("torch",)}
    assert torch_reasons() == ("on a CPU: float64 asks for the reference",)


def test_single_precision_takes_the_cpu_kernels() -> None:
    q, k, v = random_leaves((1, 3, 3, 1, 4, 4), torch.float32)
    linear_attention(q, k, v).sum().backward()
    assert backends_used() == {"forward": ("numba-cpu",), "backward": ("numba-cpu",)}
    assert torch_reasons() == ()


def test_the_quadratic_order_is_recorded_as_such() -> None:
    q, k, v = random_leaves((1, 3, 3, 1, 4, 4), torch.float32)
    linear_attention(q, k, v, order="quadratic").sum().backward()
    assert backends_used() == {"forward": ("torch-quadratic",), "backward": ()}
    assert torch_reasons() == ()


def test_heads_too_wide_for_the_cpu_kernels_take_torch_with_a_warning() -> None:
    inputs = random_inputs((1, 3, 3, 1, 300, 4), torch.float32)
    with pytest.warns(
        RuntimeWarning, match="plain torch on a CPU, because heads 300 wide have 600 f"
    ):
        linear_attention(*inputs)
    assert backends_used()["forward"] == ("torch",)
    assert torch_reasons() == ("on a CPU: heads 300 wide have 600 features, more than 512",)


def test_a_cpu_kernel_that_cannot_be_built_is_a_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: object) -> None:
        raise RuntimeError("no such target\nand more")

    monkeypatch.setattr(cpu_launch, "compiled_forward", fail)
    inputs = random_inputs((1, 3, 3, 1, 4, 4), torch.float32)
    with pytest.warns(RuntimeWarning, match=r"cannot build the kernel \(RuntimeError: no such tar"):
        out = linear_attention(*inputs)
    assert torch.equal(out, dispatch.forward(*inputs, "split_relu", 1e-6)[0])


# The functions behind torch's CUDA key are called with CPU tensors below: without numba-cuda, or
# on a machine whose numba-cuda finds no device, they must reach the torch path like any CUDA call.


@pytest.fixture
def without_numba_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    def nothing(name: str) -> None:
        return None

    monkeypatch.setattr(dispatch.importlib.util, "find_spec", nothing)


@pytest.mark.usefixtures("without_numba_cuda")
def test_falling_back_warns_once_and_gives_the_same_result() -> None:
    inputs = random_inputs((2, 5, 7, 2, 8, 8), torch.float32)
    with pytest.warns(RuntimeWarning, match="plain torch on CUDA, because numba-cuda is not inst"):
        out = dispatch.cuda_forward_without_state(*inputs, "split_relu", 1e-6)
    assert torch.equal(out, dispatch.forward(*inputs, "split_relu", 1e-6)[0])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        dispatch.cuda_forward(*inputs, "relu", 1e-6)
    assert backends_used()["forward"] == ("torch",)


@pytest.fixture
def on_an_h200(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuda_launch, "capability", lambda device: (9, 0))


@pytest.mark.usefixtures("on_an_h200")
def test_a_kernel_that_cannot_be_built_is_a_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    passes = pytest.importorskip("linvit_runtime.kernels.cuda.passes")

    def fail(call: Call, choice: Choice, device: int) -> None:
        raise OSError("libnvvm.so not found\nsearched everywhere")

    monkeypatch.setattr(passes, "make_pass", fail)
    inputs = random_inputs((2, 5, 7, 2, 8, 8), torch.float32)
    with pytest.warns(RuntimeWarning, match=r"cannot build the kernel \(OSError: libnvvm.so not"):
        dispatch.cuda_forward(*inputs, "split_relu", 1e-6)
    assert backends_used()["forward"] == ("torch",)


@pytest.mark.usefixtures("on_an_h200")
def test_without_tensor_cores_there_are_ordinary_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    passes = pytest.importorskip("linvit_runtime.kernels.cuda.passes")
    inputs = random_inputs((2, 5, 7, 2, 16, 16), torch.bfloat16)

    class Simt:
        backend = "numba-cuda-simt"

        def __call__(self, *arguments: object) -> tuple[torch.Tensor, ...]:
            return inputs

    def fail(call: Call, choice: Choice, device: int) -> object:
        if choice.path == "tensor":
            raise OSError("ptxas: no")
        return Simt()

    monkeypatch.setattr(passes, "make_pass", fail)
    with pytest.warns(
        RuntimeWarning, match="runs without tensor cores on CUDA, because .*ptxas: n"
    ):
        dispatch.cuda_forward(*inputs, "split_relu", 1e-6)
    assert backends_used()["forward"] == ("numba-cuda-simt",)


@pytest.mark.usefixtures("on_an_h200")
def test_a_head_too_wide_for_shared_memory_is_a_reason() -> None:
    inputs = random_inputs((1, 2, 2, 1, 2048, 8), torch.float32)
    with pytest.warns(RuntimeWarning, match="a head width of 2048 does not fit"):
        dispatch.cuda_forward(*inputs, "split_relu", 1e-6)


@pytest.mark.usefixtures("on_an_h200")
def test_a_backward_pass_without_kernels_is_a_reason() -> None:
    q, k, v = random_inputs((1, 3, 3, 1, 2048, 8), torch.float32)
    out, S, z = dispatch.forward(q, k, v, "relu", 1e-6)
    arguments = (torch.ones_like(out), q, k, v, S, z, "relu", 1e-6)
    with pytest.warns(RuntimeWarning, match="plain torch on CUDA, because "):
        gradients = dispatch.cuda_backward(*arguments)
    assert all(map(torch.equal, gradients, dispatch.backward(*arguments)))
    assert backends_used()["backward"] == ("torch",)


def test_float64_asks_for_the_reference() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        dispatch.cuda_forward(*random_inputs((1, 3, 3, 1, 4, 4)), "split_relu", 1e-6)
    assert backends_used()["forward"] == ("torch",)


def test_the_package_loads_without_numba() -> None:
    script = "import sys; from linvit_runtime.kernels import *; sys.exit('numba' in sys.modules)"
    environment = {"PYTHONPATH": ":".join(sys.path)}
    subprocess.run([sys.executable, "-c", script], check=True, env=environment)


@pytest.mark.parametrize("feature_map", ["split_relu", "relu", "elu_plus_one"])
@pytest.mark.parametrize("width", [1, 12, 16, 32, 48, 64, 80, 96, 128])
def test_every_usual_width_has_a_plan_within_the_limits(feature_map: str, width: int) -> None:
    plan = choose_plan(feature_map, width, width, save_state=True)
    assert plan is not None
    assert 4 * plan.shared_floats <= SHARED_MEMORY_LIMIT
    assert plan.rows_per_thread * plan.thread_rows >= plan.num_features
    assert plan.num_column_blocks * plan.block_columns >= width
    assert width > 64 or plan.num_column_blocks == 1


def test_what_kernels_are_made_for_is_known_without_torch() -> None:
    script = (
        "import sys, linvit_runtime.kernels.support, linvit_runtime.kernels.cuda.choose; "
        "sys.exit('torch' in sys.modules)"
    )
    environment = {"PYTHONPATH": ":".join(sys.path)}
    subprocess.run([sys.executable, "-c", script], check=True, env=environment)
    names = {name: feature_map_named(name).features_per_channel for name in FEATURE_MAPS}
    assert names == support.FEATURES_PER_CHANNEL


@pytest.mark.parametrize("lanes", [4, 8, 16])
def test_a_cpu_plan_exists_where_no_obstacle_is_named(lanes: int) -> None:
    for feature_map, width, dtype in itertools.product(
        FEATURE_MAPS, (1, 16, 255, 256, 257, 512, 513), (torch.float16, torch.float64)
    ):
        plan = choose_cpu_plan(feature_map, dtype, width, width, lanes)
        obstacle = support.cpu_obstacle(feature_map, str(dtype)[6:], width, width)
        assert (plan is None) == (obstacle is not None)
        if plan is not None:
            assert plan.feature_width <= support.MOST_FEATURES
            assert plan.value_width <= support.WIDEST_VALUE
