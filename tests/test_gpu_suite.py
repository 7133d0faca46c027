"""`benchmarks/gpu_suite.py` without a GPU: what its first run there does, on tiny cases."""

import dataclasses
import importlib
import itertools
import json
import subprocess
import sys
import time
from contextlib import nullcontext
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor

from linvit_runtime.kernels import torch_backend
from linvit_runtime.kernels.feature_maps import feature_map_named

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
OF_THE_COMPILER = ("lark", "pydantic", "graphviz", "rich", "networkx", "safetensors")


@pytest.fixture
def suite(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(BENCHMARKS)
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    return importlib.import_module("gpu_suite")


def run(
    suite: ModuleType, monkeypatch: pytest.MonkeyPatch, folder: Path, *words: str
) -> tuple[int, dict[str, Any]]:
    """The exit code and the report of a dry run in this process."""
    words = ("gpu_suite.py", "--dry-run", "--output", str(folder), *words)
    monkeypatch.setattr(sys, "argv", list(words))
    code = suite.main()
    (path,) = folder.glob("*-gpu_suite-dry-run.json")
    return code, json.loads(path.read_text())


def test_a_dry_run_goes_through_all_stages_without_the_compilers_packages(tmp_path: Path) -> None:
    for name in OF_THE_COMPILER:
        (tmp_path / f"{name}.py").write_text(f"raise ImportError({name!r})\n")
    script = [sys.executable, str(BENCHMARKS / "gpu_suite.py"), "--dry-run", "--output", "out"]
    paths = [str(tmp_path), str(BENCHMARKS.parent / "runtime")]
    environment = {"PYTHONPATH": ":".join(paths), "OMP_WAIT_POLICY": "PASSIVE", "PATH": "/bin"}
    environment |= {"OMP_NUM_THREADS": "1", "HOME": str(Path.home())}
    done = subprocess.run(
        script, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (path,) = (tmp_path / "out").glob("*.json")
    report = json.loads(path.read_text())
    assert report["gate"] == "green"
    assert report["versions"]["torch"].startswith("2.")
    stages = report["stages"]
    assert list(stages) == [
        *("build", "verify", "capture", "sanitize", "measure", "splits", "peers")
    ]
    assert all(case["forward"] == "numba-cpu" for case in stages["verify"]["cases"])
    assert stages["sanitize"]["memcheck"].startswith("not run")
    first = stages["measure"]["rows"][0]
    assert first["backends"] == ["numba-cpu"]
    assert set(first["contestants"]) == {"linvit", "eager", "sdpa", "copy"}
    low, median, high = first["contestants"]["linvit"]["call_us"]
    assert 0 < low <= median <= high
    assert stages["splits"]["cases"][0]["fastest"] in (0, 1, 2, 4, 8, 16)


def test_a_wrong_kernel_turns_the_gate_red_and_is_not_timed(
    suite: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    judge, wrong = suite.gpu_verify.judge, suite.gpu_verify._forgets_the_last_query
    case = next(suite.gpu_measure.cases(tiny=True))
    cases = [case, dataclasses.replace(case, dtype="bfloat16")]
    monkeypatch.setattr(suite.gpu_measure, "cases", lambda **_: cases)

    def judged(check: Any, device: str, attention: Any = None, rule: Any = None) -> Any:
        right = attention or suite.kernels.linear_attention
        return judge(check, device, wrong if check.dtype == "bfloat16" else right, rule)

    monkeypatch.setattr(suite.gpu_verify, "judge", judged)
    stages = ("--stages", "verify", "measure", "splits")
    code, report = run(suite, monkeypatch, tmp_path, *stages)
    assert code == 1
    assert report["gate"] == "5 of 9 cases differ from float64"
    gates = [row["gate"] for row in report["stages"]["measure"]["rows"]]
    assert gates == ["green", "not verified"]
    assert report["stages"]["splits"]["skipped"] == "not verified"


def test_a_lost_device_ends_the_checks_and_keeps_them(
    suite: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("an illegal memory access was encountered")

    monkeypatch.setattr(suite.gpu_verify, "_results", fail)
    monkeypatch.setattr(suite.Suite, "device_answers", lambda _: False)

    def judged(check: Any, *_: object, **__: object) -> Any:
        return suite.gpu_verify.Outcome(check, "", "", (), "an illegal memory access")

    monkeypatch.setattr(suite.gpu_verify, "judge", judged)
    code, report = run(suite, monkeypatch, tmp_path, "--stages", "verify", "measure")
    assert code == 1
    assert "the device is lost after Check(" in report["gate"]
    stages = report["stages"]
    assert len(stages["verify"]["cases"]) == 1
    assert stages["verify"]["failed"].startswith("RuntimeError")
    assert stages["measure"]["skipped"] == "the gate is red"


def test_torch_is_no_kernel(suite: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without compilers everything would be right, and nothing verified."""
    verify = suite.gpu_verify
    check = next(verify.checks(tiny=True))
    inputs = verify.Check.inputs
    monkeypatch.setattr(verify.Check, "inputs", lambda self, _: inputs(self, "cpu"))
    used = {"forward": {"torch": None}, "backward": {"numba-cuda-simt": None}}
    monkeypatch.setattr(verify, "recording", lambda: nullcontext(used))
    assert verify.judge(check, "cpu").passed
    outcome = verify.judge(check, "cuda:0")
    assert (outcome.passed, outcome.failure) == (False, "ran in torch")


def test_a_comparison_that_rejects_nothing_turns_the_gate_red(
    suite: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(suite.gpu_verify.TOLERANCES, "float32", 10.0)
    code, report = run(suite, monkeypatch, tmp_path, "--stages", "verify")
    assert code == 1
    assert "the broken halves_eps passes" in report["gate"]
    # What is not written is NaN, and above every tolerance.
    assert report["stages"]["verify"]["controls"]["forgets_the_last_query"]


def test_what_is_left_of_the_budget_is_kept(
    suite: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    code, report = run(suite, monkeypatch, tmp_path, "--budget", "0")
    assert code == 0
    assert all(stage["cut"] == "the budget is used up" for stage in report["stages"].values())

    def fail(*_: object) -> None:
        raise RuntimeError("the device is gone")

    monkeypatch.setattr(suite.gpu_verify, "replayed", fail)
    code, report = run(suite, monkeypatch, tmp_path, "--stages", "capture", "measure")
    assert code == 1
    assert report["gate"] == "capture failed: RuntimeError: the device is gone"
    assert report["stages"]["measure"]["skipped"] == "the gate is red"


def test_a_contestant_that_is_wrong_is_not_timed(suite: ModuleType) -> None:
    case = next(suite.gpu_measure.cases(tiny=True))
    clock = suite.gpu_measure.Clock("cpu", seconds=0.001, samples=3)

    def wrong(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return suite.gpu_measure.contestants.eager(q, k, v) + 0.01

    right = suite.gpu_measure.contestants.eager
    row = suite.gpu_measure.compete(case, clock, {"linvit": right, "peer": wrong})
    assert row.contestants["linvit"].call_us is not None
    assert row.contestants["peer"].call_us is None
    assert "peer is wrong by" in row.contestants["peer"].problem
    row = suite.gpu_measure.compete(case, clock, {"linvit": wrong, "peer": right})
    assert row.gate.startswith("linvit is wrong by")
    assert row.contestants == {}
    assert "no figures" in suite.line(row)


FLASH_BLA = """\
def linear_attention(q, k, v):
    assert q.shape[:3] == k.shape[:3] == v.shape[:3], "heads first"
    return q @ (k.mT @ v) / (q @ k.sum(-2).unsqueeze(-1) + 1e-6)
"""


@pytest.mark.parametrize("layout", ["qkv", "features"])
def test_flash_bla_takes_part_where_it_can_be_imported(
    layout: str, suite: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    measure = suite.gpu_measure
    assert measure.load_flash_bla(None).startswith("not imported: ModuleNotFoundError")
    monkeypatch.setattr(sys, "path", sys.path.copy())
    path = tmp_path / "flash_bla/ops/linear_attn/fused.py"
    path.parent.mkdir(parents=True)
    path.write_text(FLASH_BLA)
    flash_bla = measure.load_flash_bla(tmp_path)
    for name in [name for name in sys.modules if name.startswith("flash_bla")]:
        del sys.modules[name]
    case = measure.Case("float32", 64, 2, 2, 12, layout, backward=True, slow=True)
    taking_part = measure.contestants_of(case, flash_bla)
    assert list(taking_part) == ["linvit", "compiled", "flash_bla"]
    del taking_part["compiled"]  # for seconds
    clock = measure.Clock("cpu", seconds=0.001, samples=3)
    row = measure.compete(case, clock, taking_part)
    assert row.contestants["flash_bla"].call_us is not None, row


class FakeEvent:
    """A CUDA event that is recorded two milliseconds after the one before."""

    now = 0.0

    def __init__(self, *, enable_timing: bool) -> None:
        assert enable_timing

    def record(self) -> None:
        FakeEvent.now += 2.0
        self.time = FakeEvent.now

    def synchronize(self) -> None:
        assert self.time

    def elapsed_time(self, last: "FakeEvent") -> float:
        return last.time - self.time


class FakeGraph:
    """A CUDA graph that counts its replays."""

    replays = 0

    def replay(self) -> None:
        FakeGraph.replays += 1

    def reset(self) -> None:
        pass


def test_a_device_is_timed_by_events_and_graphs(
    suite: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "Event", FakeEvent)
    monkeypatch.setattr(torch.cuda, "CUDAGraph", FakeGraph)
    monkeypatch.setattr(torch.cuda, "graph", lambda _: nullcontext())
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: None)
    calls: list[int] = []

    def run() -> tuple[Tensor, ...]:
        calls.append(1)
        return ()

    clock = suite.gpu_measure.Clock("cuda:0", seconds=0.0, samples=5)
    measured = suite.gpu_measure.measure_runs(clock, [run, run])
    # 2 ms for two calls; two rounds to warm up, one to estimate, five samples, one to capture
    assert measured.call_us == measured.device_us == (1000.0, 1000.0, 1000.0)
    assert (len(calls), FakeGraph.replays) == (2 * (2 + 1 + 5 + 1), 1 + 5)

    def fail(_: object) -> object:
        raise RuntimeError("operation not permitted\nwhen stream is capturing")

    monkeypatch.setattr(torch.cuda, "graph", fail)
    measured = suite.gpu_measure.measure_runs(clock, [run])
    assert measured.device_us is None
    assert measured.problem == "RuntimeError: operation not permitted"


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("echo 0 hazards", "clean: 0 hazards"),
        ('test "$PYTORCH_NO_CUDA_MEMORY_CACHING" = 1', "clean"),
        ("echo 'Invalid __global__ read'; exit 99", "findings: Invalid __global__ read"),
        ("exit 3", "exit code 3"),
        ("exec sleep 20", "not finished in"),
    ],
)
def test_what_a_sanitizer_says(
    body: str, said: str, suite: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    program = tmp_path / "compute-sanitizer"
    program.write_text(f"#!/bin/sh\n{body}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    script = BENCHMARKS / "gpu_suite.py"
    found = suite.gpu_verify.sanitize("memcheck", script, "cpu", 0.5)
    assert found.startswith(said)


def test_the_cases_are_those_of_the_design(suite: ModuleType) -> None:
    checks = list(suite.gpu_verify.checks())
    assert {check.width for check in checks} == {16, 32, 48, 64, 96, 128, 266}
    assert {check.dtype for check in checks} == {"float32", "bfloat16", "float16"}
    assert {check.layout for check in checks} >= {"qkv", "heads_first", "strided_channels"}
    assert any(check.queries != check.keys for check in checks)
    cases = list(suite.gpu_measure.cases())
    assert {case.tokens for case in cases} >= {196, 1024, 4096, 16384}
    assert {case.width for case in cases} == {32, 64, 128}
    assert {case.backward for case in cases} == {False, True}
    h200 = suite.gpu_measure.Clock("cuda:0", 50 * 2**20)
    assert all(
        suite.gpu_measure._sets(case, h200) * case.bytes_moved > h200.cache_bytes for case in cases
    )


class InTorch(torch.autograd.Function):
    """Linear attention by the torch backend, in the dtype's own accumulation."""

    @staticmethod
    def forward(ctx: Any, *inputs: Any) -> Tensor:
        q, k, v, name, eps = inputs
        out, S, z = torch_backend.forward(q, k, v, feature_map_named(name), eps)
        ctx.save_for_backward(q, k, v, S, z)
        ctx.options = feature_map_named(name), eps
        return out

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Any) -> Any:
        gradients = torch_backend.backward(*grad_outputs, *ctx.saved_tensors, *ctx.options)
        return (*gradients, None, None)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_every_case_of_the_gate_can_be_passed(dtype: str, suite: ModuleType) -> None:
    verify = suite.gpu_verify
    for problem, name in itertools.product(verify.PROBLEMS, verify.FEATURE_MAPS):
        outcome = verify.judge(verify.Check(name, dtype, 64, *problem), "cpu", InTorch.apply)
        assert outcome.passed, outcome
        assert max(outcome.errors) < 0.8 * verify.TOLERANCES[dtype]


def test_inputs_have_the_strides_that_their_layout_promises(suite: ModuleType) -> None:
    for check in suite.gpu_verify.checks(tiny=True):
        q, *_ = check.inputs("cpu")
        assert q.shape == (check.batch, check.queries, check.heads, check.width)
        assert (q.stride(3) == 1) == (check.layout != "strided_channels")


def measured_splits(fastest: dict[tuple[bool, int, int], int]) -> dict[str, Any]:
    """A report in which the split given is fastest at each (backward, heads, tokens)."""
    cases = [
        {
            "case": {"backward": backward, "batch": heads // 6, "heads": 6, "tokens": tokens},
            "us": {str(split): 9.0 if split == best else 10.0 for split in (0, 1, 4, 16)},
        }
        for (backward, heads, tokens), best in fastest.items()
    ]
    return {
        "gate": "green",
        "date": "2027-01-02T03:04:05+00:00",
        "gpu": {"name": "NVIDIA H200", "capability": [9, 0]},
        "versions": {"torch": "2.13.0", "numba-cuda": "0.30.4"},
        "stages": {"splits": {"cases": cases}},
    }


def test_a_report_becomes_the_table(suite: ModuleType, tmp_path: Path) -> None:
    from linvit_runtime.kernels.cuda.choose import Call, choose, read_table, write_rules

    table = importlib.import_module("gpu_table")
    fastest = {(False, 6, 400): 0, (False, 6, 1600): 16, (False, 6, 6400): 16}
    fastest |= {(False, 96, 400): 0, (False, 96, 1600): 0, (False, 96, 6400): 4}
    report = measured_splits(fastest)
    rules = table.rules_of(report)
    assert len(rules) == 2 + len(table.GENERAL), "neighbours are one rule"
    path = tmp_path / "choices.toml"
    write_rules(rules, "a test", path)

    def split(heads: int, tokens: int, arch: tuple[int, int] = (9, 0)) -> int:
        sizes = (heads // 6, tokens, tokens, 6, 64, 64)
        call = Call("forward", "split_relu", "bfloat16", *sizes)
        return choose(call, arch, read_table(path)).split

    assert [split(6, n) for n in (400, 799, 800, 99999)] == [0, 0, 16, 16]
    assert [split(96, n) for n in (3199, 3200)] == [0, 4]
    assert [split(h, 6400) for h in (18, 24, 9996)] == [16, 4, 4]
    assert split(6, 1600, (8, 0)) == 0, "another architecture was not measured"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"gate": "3 of 9 cases differ"}, "the gate is red: 3 of 9 cases differ"),
        ({"stages": {"splits": {"cases": [], "cut": "0 cases"}}}, "was not finished"),
        ({"stages": {}}, "was not finished"),
        ({"gpu": None}, "it is not of a GPU"),
    ],
)
def test_no_table_is_made_of_less(
    changes: dict[str, Any],
    said: str,
    suite: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    report = {**measured_splits({(False, 6, 400): 4}), **changes}
    path = tmp_path / "report.json"
    path.write_text(
        json.dumps({name: value for name, value in report.items() if value is not None})
    )
    monkeypatch.setattr(sys, "argv", ["gpu_table.py", str(path), "--write"])
    with pytest.raises(SystemExit) as leaving:
        importlib.import_module("gpu_table").main()
    assert leaving.value.code == 2
    assert said in capsys.readouterr().err


def test_a_gpu_is_asked_for(
    suite: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(sys, "argv", ["gpu_suite.py"])
    with pytest.raises(SystemExit) as leaving:
        suite.main()
    assert leaving.value.code == 2
    assert "torch sees no CUDA device" in capsys.readouterr().err


def test_kernels_are_compiled_by_other_processes(
    suite: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    pytest.importorskip("numba.cuda")
    monkeypatch.setenv("LINVIT_KERNEL_CACHE", str(tmp_path))
    paths = (str(BENCHMARKS), str(BENCHMARKS.parent / "runtime"))
    monkeypatch.setenv("PYTHONPATH", ":".join(paths))
    call = suite.gpu_build.Call("forward", "relu", "float32", 1, 8, 8, 1, 16, 16)
    jobs = [(call, suite.Rule("simt")), (call, suite.Rule("simt"))]
    found = suite.gpu_build.build_all(jobs, (9, 0), time.monotonic() + 100, 1)
    assert found["failures"] == []
    assert len(found["kernels"]) == len(list(tmp_path.glob("*.cubin"))) == 1


def test_a_kernel_that_hangs_is_named(tmp_path: Path) -> None:
    script = (
        "import sys, time; import gpu_suite, gpu_report\n"
        "def hang(check, device, rule): time.sleep(60)\n"
        "gpu_suite.gpu_verify.judge = hang\n"
        "gpu_report.Suite.patience.__wrapped__.__defaults__ = (0.1,)\n"
        f"sys.argv = ['x', '--dry-run', '--stages', 'verify', '--output', {str(tmp_path)!r}]\n"
        "gpu_suite.main()"
    )
    paths = [str(BENCHMARKS), str(BENCHMARKS.parent / "runtime")]
    environment = {"PYTHONPATH": ":".join(paths), "PATH": "/bin"}
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 3, done.stdout + done.stderr
    (path,) = tmp_path.glob("*.json")
    gate = json.loads(path.read_text())["gate"]
    assert gate.startswith("hangs: Check(feature_map='split_relu', dtype='bfloat16'")
