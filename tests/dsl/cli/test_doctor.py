"""`linvit doctor`: it names what has run, and finds what is broken."""

import json
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from linvit_dsl.cli import main
from linvit_runtime.kernels import dispatch, examination, verify
from linvit_runtime.kernels.cuda import launch as cuda_launch


@pytest.fixture(autouse=True)
def fresh_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dispatch, "_used", {"forward": {}, "backward": {}})
    monkeypatch.setattr(dispatch, "_reasons", {})
    dispatch._warn_of_fallback.cache_clear()


def report(capsys: pytest.CaptureFixture[str], code: int) -> dict[str, Any]:
    assert main(["doctor", "--format", "json"]) == code
    return json.loads(capsys.readouterr().out)


def test_a_sound_machine(capsys: pytest.CaptureFixture[str]) -> None:
    facts = report(capsys, 0)
    assert not facts["broken"]
    assert facts["versions"]["torch"].startswith("2.")
    assert facts["cpu"]["vector_lanes"] in (4, 8, 16)
    assert facts["cpu"]["cache_bytes"] > 0
    on_cpu = {t["dtype"]: t for t in facts["attention"] if t["device"] == "cpu"}
    for dtype in ("float32", "bfloat16", "float16"):
        assert (on_cpu[dtype]["forward"], on_cpu[dtype]["backward"]) == ("numba-cpu",) * 2
        assert on_cpu[dtype]["error"] < verify.TOLERANCES[dtype]
    assert on_cpu["float64"]["forward"] == "torch"
    assert on_cpu["float64"]["reason"] == "float64 asks for the reference"

    assert main(["doctor"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert any(line.startswith("OpenMP  ") for line in lines)
    if not facts["cuda"]["missing_compilers"]:
        assert facts["cuda"]["compiler_problem"] is None
    assert any(line.split()[:4] == ["cpu", "float32", "numba-cpu", "numba-cpu"] for line in lines)


def test_a_kernel_that_cannot_be_built_is_broken(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dispatch, "_numba_problem", lambda _: "Numba cannot build the kernel")
    assert main(["doctor"]) == 1
    (line,) = (line for line in capsys.readouterr().out.splitlines() if " float16 " in line)
    assert line.split()[2:4] == ["torch", "torch"]
    assert "BROKEN: numba-cpu should have run; Numba cannot build the kernel" in line


@pytest.mark.parametrize(("wrong", "said"), [(1.1, "wrong by 1.0e-01"), (0.0, "wrong by 1.0e+00")])
def test_a_wrong_kernel_is_broken(
    wrong: float, said: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    right = verify.linear_attention

    def changed(*inputs: Any) -> Tensor:
        return right(*inputs) * wrong

    monkeypatch.setattr(verify, "linear_attention", changed)
    assert report(capsys, 1)["attention"][0]["problem"] == said


def test_a_call_that_fails_is_no_traceback(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise OSError("the device is gone\nfor good")

    monkeypatch.setattr(verify, "linear_attention", fail)
    assert report(capsys, 1)["attention"][0]["problem"] == "OSError: the device is gone"


def test_a_device_that_runs_torch_where_it_has_kernels_is_broken(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A CPU in the place of a GPU: what runs is not what an H200 has to run."""
    monkeypatch.setattr(cuda_launch, "capability", lambda _: (9, 0))
    trial = examination.attempt("cpu", "sm_90", "float32")
    assert "numba-cuda-" in trial.problem
    assert trial.problem.endswith(" should have run")


def test_a_machine_without_tools(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(examination, "missing_compilers", lambda: ("numba-cuda",))
    monkeypatch.setattr(examination.cpu_launch, "openmp_library", lambda: None)
    monkeypatch.setattr(examination, "version", _not_installed)
    monkeypatch.setattr("shutil.which", lambda _: None)
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    assert main(["doctor"]) == 0
    printed = capsys.readouterr().out
    for said in ("not installed", "not found: numba-cuda", "on the calling thread", "DOT only"):
        assert said in printed


def test_compilers_that_fail_are_told_of(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("nvJitLink: unsupported architecture\nand more")

    monkeypatch.setattr(examination, "missing_compilers", lambda: ())
    monkeypatch.setattr(examination, "compile_kernel", fail)
    assert main(["doctor"]) == 0
    assert "RuntimeError: nvJitLink: unsupported architecture\n" in capsys.readouterr().out


def test_a_machine_whose_gpu_does_not_work(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    card = SimpleNamespace(name="NVIDIA H200", major=9, minor=0, total_memory=141 * 2**30)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: card)
    monkeypatch.setattr(torch.version, "cuda", "12.8")
    assert main(["doctor"]) == 1
    printed = capsys.readouterr().out
    assert "NVIDIA H200, sm_90, 141 GiB" in printed
    if examination.versions()["cuda-bindings"]:
        assert "torch is for CUDA 12.8, cuda-bindings is 13." in printed
        assert "pip install 'linvit[cuda12]'" in printed
    lines = [line for line in printed.splitlines() if line.startswith("cuda:0")]
    assert len(lines) == 4
    assert all("BROKEN: " in line and line.split()[2:4] == ["none", "none"] for line in lines)


def _not_installed(name: str) -> str:
    raise examination.PackageNotFoundError(name)
