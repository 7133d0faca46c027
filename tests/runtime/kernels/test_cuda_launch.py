"""What the launcher asks of the CUDA driver, against a driver that writes it down."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.runtime.kernels import fake_driver
from tests.runtime.kernels.test_cuda_compile import need_compilers

HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Run the cases in a process whose CUDA driver is the fake one."""
    need_compilers()
    if fake_driver.compiler() is None:
        pytest.skip(f"needs a C compiler ({', '.join(fake_driver.COMPILERS)})")
    folder = tmp_path_factory.mktemp("driver")
    environment = fake_driver.environment(folder)
    environment["LINVIT_KERNEL_CACHE"] = str(folder / "cache")
    program = HERE / "fake_driver_cases.py"
    run = subprocess.run(
        [sys.executable, program], env=environment, capture_output=True, text=True, timeout=300
    )
    assert run.returncode == 0, run.stderr
    return json.loads(run.stdout)


def test_a_pass_is_one_launch_with_the_addresses_and_strides_of_the_views(
    report: dict[str, Any],
) -> None:
    case = report["simt"]
    assert case["shapes"] == [[2, 5, 128], [2, 4, 16, 32], [2, 4, 16]]
    assert case["backends"] == ["numba-cuda-simt"]
    # The second time nothing but the launch reaches the driver: no loading, no synchronisation.
    assert case["second"] == [case["expected"]]


def test_a_backward_pass_is_three_launches_that_share_their_workspaces(
    report: dict[str, Any],
) -> None:
    case = report["simt backward"]
    assert case["backends"] == ["numba-cuda-simt"]
    assert case["launched"] == case["kernels"]
    # 6 heads: 5 tiles of 16 among 70 queries, 2 blocks of 32 among 64 columns, 3 tiles of 33 keys.
    assert case["grids"] == [[30, 1, 1], [6, 2, 1], [18, 1, 1]]
    assert case["blocks"] == [[256, 1, 1]] * 3
    assert case["shared"] == [0] * 3  # tiles are static
    assert len(set(case["streams"])) == 1

    of_q, of_state, of_k = case["arguments"]
    # In the order of their launches: r and w of the first, then dS and dz of the second.
    workspaces = {name: of_q.pop(name) for name in ("inverses", "weights")}
    workspaces |= {name: of_state[name] for name in ("grad_S", "grad_z")}
    assert len({*workspaces.values(), *case["addresses"].values()}) == 4 + len(case["addresses"])
    known = case["addresses"] | workspaces
    queries = {
        "num_queries": 70,
        "num_heads": 3,
        "q_batch": 70 * 2 * 3 * 266,
        "q_token": 2 * 3 * 266,
        "q_head": 266,
        "out_batch": 0,
        "out_token": 192,
        "out_head": 64,
    }
    keys = {
        "num_keys": 33,
        "num_heads": 3,
        "k_batch": 3 * 33 * 266,
        "k_token": 266,
        "k_head": 33 * 266,
        "v_batch": 33 * 192,
        "v_token": 192,
        "v_head": 64,
    }
    # 33 keys: dk and dv, and eps, are scaled by 1/64.
    assert of_q == queries | {"scaled_eps": 1 / 128} | _some(known, "q grad_out S z grad_q")
    tensors = _some(known, "q grad_out inverses weights grad_S grad_z")
    assert of_state == queries | tensors
    assert of_k == keys | {"scale": 1 / 64} | _some(known, "k v grad_S grad_z grad_k grad_v")


def _some(addresses: dict[str, int], names: str) -> dict[str, int]:
    return {name: addresses[name] for name in names.split()}


def test_a_kernel_is_loaded_as_machine_code_before_its_first_launch(report: dict[str, Any]) -> None:
    calls = [call["call"] for call in report["simt"]["first"]]
    assert calls == [
        "cuCtxPushCurrent",
        "cuLibraryLoadData",
        "cuLibraryGetKernel",
        "cuKernelGetFunction",
        "cuFuncLoad",
        "cuCtxPopCurrent",
        "cuLaunchKernel",
    ]


def test_launches_of_one_pass_find_their_arguments_by_name(report: dict[str, Any]) -> None:
    case = report["tensor"]
    assert case["backends"][-1] == "numba-cuda-tensor"
    assert case["grids"] == [[2, 7, 1], [2, 5, 1]]
    assert case["shared"] == 1000
    assert case["same arguments"]
    assert case["shapes"] == [[1, 1024, 128], [1, 2, 64, 64], [1, 2, 64]]
    assert case["dtypes"] == ["torch.bfloat16", "torch.float32", "torch.float32"]
    found, addresses = case["arguments"], case["addresses"]
    assert {name: found[name] for name in ("q", "out", "S")} == {
        name: addresses[name] for name in ("q", "out", "S")
    }
    numbers = ("num_queries", "num_keys", "num_heads", "q_batch", "q_token", "q_head")
    assert [found[name] for name in numbers] == [1024, 1024, 2, 1024 * 384, 384, 64]
    # 2 heads are split: into parts of at least 256 tokens.
    parts = [found[name] for name in ("key_parts", "key_part_tokens", "query_part_tokens")]
    assert parts == [4, 256, 256]
    assert [found["scale"], found["scaled_eps"]] == [2**-10, 2**-11]


def test_rows_that_tensor_cores_cannot_read_are_copied(report: dict[str, Any]) -> None:
    found, addresses = report["tensor"]["arguments"], report["tensor"]["addresses"]
    for name in ("k", "v"):
        assert found[name] != addresses[name]
        assert found[name] % 16 == 0
    assert (found["k_token"], found["v_head"]) == (128, 64)


def test_every_kind_of_argument_arrives(report: dict[str, Any]) -> None:
    case = report["mixed"]
    assert case["call"]["arguments"] == pytest.approx(case["expected"], rel=1e-7)
    assert case["call"]["grid"] == [3, 2, 1]
    assert case["call"]["block"] == [96, 1, 1]
    assert case["call"]["shared"] == 99 * 1024


def test_much_shared_memory_is_asked_for_once(report: dict[str, Any]) -> None:
    asked = [call for call in report["mixed"]["loading"] if call["call"] == "cuKernelSetAttribute"]
    maximum = 8  # CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES
    assert asked == [
        {
            "call": "cuKernelSetAttribute",
            "kernel": "mixed",
            "attribute": maximum,
            "value": 99 * 1024,
        }
    ]


def test_a_wrong_packing_is_noticed(report: dict[str, Any]) -> None:
    case = report["narrow"]
    assert case["call"]["arguments"] != pytest.approx(case["expected"], rel=1e-7)


def test_a_thread_without_context_gets_one_and_launches_again(report: dict[str, Any]) -> None:
    calls = report["failures"]["without context"]
    names = [call["call"] for call in calls]
    assert names == ["cuLaunchKernel", "cuCtxSetCurrent", "cuLaunchKernel"]
    assert [calls[0]["status"], calls[2]["status"]] == [201, 0]
    assert calls[0]["arguments"] == calls[2]["arguments"]


def test_a_refused_launch_says_what_was_launched_and_why(report: dict[str, Any]) -> None:
    assert report["failures"]["refused"] == (
        "cannot launch mixed (grid (1, 2, 3), 96 threads, 101376 bytes shared): "
        "CUDA_ERROR_INVALID_VALUE (as the test asked)"
    )
