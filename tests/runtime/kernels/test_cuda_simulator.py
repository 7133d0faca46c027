"""The CUDA kernels in numba-cuda's simulator, against the O(N L) definition in float64."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from linvit_runtime.kernels.cuda.plan import SIMT_FEATURE_MAPS
from tests.runtime.kernels import kernel_mutants, simulator_cases

ROOT = Path(__file__).parents[3]
TOLERANCE = 1e-6  # of the relative errors of out, S and z, in float32


def _names(mutants: kernel_mutants.Mutants) -> list[tuple[str, str]]:
    return [(feature_map, name) for feature_map, changes in mutants.items() for name in changes]


@pytest.fixture(scope="module")
def report() -> dict[str, Any]:
    """Run the simulator in a process of its own: it must be chosen before numba is imported."""
    pytest.importorskip("numba_cuda", reason="needs numba-cuda (pip install -e '.[dev]')")
    environment = os.environ | {
        "NUMBA_ENABLE_CUDASIM": "1",
        "PYTHONPATH": os.pathsep.join(map(str, (ROOT, ROOT / "runtime"))),
    }
    run = subprocess.run(
        [sys.executable, simulator_cases.__file__],
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert run.returncode == 0, run.stderr
    return json.loads(run.stdout)


@pytest.mark.parametrize("name", simulator_cases.CASES)
def test_output_and_state_are_right_and_wholly_written(report: dict[str, Any], name: str) -> None:
    assert max(report["cases"][name]) < TOLERANCE


@pytest.mark.parametrize(
    ("dtype", "tolerance"),
    [("torch.float32", 1e-6), ("torch.float16", 1e-3), ("torch.bfloat16", 4e-3)],
)
def test_every_dtype_and_channels_far_apart(
    report: dict[str, Any], dtype: str, tolerance: float
) -> None:
    assert report["dtypes"][dtype] < tolerance


def test_a_nan_is_not_swallowed_and_stays_in_its_image(report: dict[str, Any]) -> None:
    assert report["nan"] == [[True, False]] * len(SIMT_FEATURE_MAPS)


@pytest.mark.parametrize(("feature_map", "name"), _names(kernel_mutants.MUTANTS))
def test_a_mistake_in_the_kernel_is_noticed(
    report: dict[str, Any], feature_map: str, name: str
) -> None:
    assert report["mutants"][feature_map][name] > kernel_mutants.NOTICED


@pytest.mark.parametrize("feature_map", kernel_mutants.MUTANTS)
def test_the_unchanged_kernel_passes_where_mutants_fail(
    report: dict[str, Any], feature_map: str
) -> None:
    assert report["mutants"][feature_map]["control"] < TOLERANCE


@pytest.mark.parametrize("name", simulator_cases.BACKWARD_CASES)
def test_gradients_are_right_and_wholly_written(report: dict[str, Any], name: str) -> None:
    assert report["backward cases"][name] < TOLERANCE


@pytest.mark.parametrize(
    ("dtype", "tolerance"),
    [("torch.float32", 1e-6), ("torch.float16", 1e-3), ("torch.bfloat16", 4e-3)],
)
def test_every_dtype_has_gradients(report: dict[str, Any], dtype: str, tolerance: float) -> None:
    assert report["backward dtypes"][dtype] < tolerance


def test_a_nan_reaches_all_gradients_of_its_image_alone(report: dict[str, Any]) -> None:
    assert report["backward nan"] == [[True, False] * 3] * len(SIMT_FEATURE_MAPS)


@pytest.mark.parametrize(("feature_map", "name"), _names(kernel_mutants.BACKWARD_MUTANTS))
def test_a_mistake_in_the_backward_kernels_is_noticed(
    report: dict[str, Any], feature_map: str, name: str
) -> None:
    assert report["backward mutants"][feature_map][name] > kernel_mutants.NOTICED


@pytest.mark.parametrize("feature_map", kernel_mutants.BACKWARD_MUTANTS)
def test_the_unchanged_backward_kernels_pass_where_mutants_fail(
    report: dict[str, Any], feature_map: str
) -> None:
    assert report["backward mutants"][feature_map]["control"] < TOLERANCE


@pytest.mark.parametrize("direction", ["barriers", "backward barriers"])
def test_a_missing_barrier_is_noticed(report: dict[str, Any], direction: str) -> None:
    errors = report[direction]
    assert len(errors) > 5
    assert [place for place, error in errors.items() if error <= kernel_mutants.NOTICED] == []
