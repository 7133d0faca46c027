"""Everything that the first run on a GPU has to do, in one command of at most ten minutes.

    PYTHONPATH=runtime python benchmarks/gpu_suite.py [--flash-bla FOLDER] [--output FOLDER]

Stages, each with a time limit: `build` compiles all kernels in parallel (`gpu_build.py`); `verify`
holds them to float64 (`gpu_verify.py`), with broken ones as controls; `capture` replays CUDA graphs
on new inputs; `sanitize` looks for bad accesses and races with compute-sanitizer; `measure` times
forward and backward beside eager, SDPA and a copy (`gpu_measure.py`); `splits` times into how many
parts the tokens of few heads are best cut, for the table of the dispatch; `peers` times those that
compile or tune first, torch.compile and flash-bidirectional-linear-attention. A kernel
that differs from float64 turns the gate red, and is not timed; any other fault stops all timing.
The report (`gpu_report.py`) is written after every stage, so what a time limit cuts off keeps the
rest.

Needs torch, numpy, Numba and numba-cuda, not the compiler's packages. `--dry-run` goes through all
stages on a machine without a GPU, on tiny cases: its times mean nothing.
"""

from __future__ import annotations

import argparse
import datetime as dt
import os
import re
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

# What cuBLAS needs to give the same bits twice, which poisoned memory goes together with.
os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")

import gpu_build
import gpu_measure
import gpu_verify
import torch
from gpu_measure import Case, Measured, Row
from gpu_report import HANGS_AFTER, Suite, facts, line, median

from linvit_runtime import kernels
from linvit_runtime.kernels.cuda.choose import Rule
from linvit_runtime.kernels.explanation import parse_arch

LIMITS = {
    "build": 150,
    "verify": 100,
    "capture": 20,
    "sanitize": 70,
    "measure": 130,
    "splits": 80,
    "peers": 120,
}
"""Stage -> seconds at most; the last ones get what is left of the budget."""

TIMED = {"measure", "splits", "peers"}
"""Stages that need `verify` before them."""

TOOLS = ("memcheck", "racecheck")


def build(suite: Suite, deadline: float) -> dict[str, Any]:
    """Compile what the other stages need, in as many processes as there are CPUs."""
    if suite.arch is not None:
        capability = parse_arch(suite.arch)
    elif suite.device.startswith("cuda"):
        capability = torch.cuda.get_device_capability(suite.device)
    else:
        return {"skipped": "CPU kernels are compiled when they are first called"}
    return gpu_build.build_all(gpu_build.jobs(), capability, deadline, os.cpu_count() or 1)


def verify(suite: Suite, deadline: float) -> dict[str, Any]:
    """Hold every kernel to float64, and the comparison to broken kernels."""
    outcomes: list[gpu_verify.Outcome] = []
    cut: dict[str, str] = {}
    wrong: set[tuple[str, str, int]] = set()
    cases = list(gpu_verify.all_checks(tiny=suite.tiny))
    todo = Counter(check.kernel for rule, check in cases if rule is None)
    for rule, check in cases:
        if time.monotonic() > deadline:
            cut["cut"] = f"{len(outcomes)} of {len(cases)} cases"
            break
        with suite.patience(check):
            outcome = gpu_verify.judge(check, suite.device, rule=rule)
        outcomes.append(outcome)
        if not outcome.passed:
            wrong.add(check.kernel)
            fault = outcome.failure or f"errors {', '.join(f'{e:.1e}' for e in outcome.errors)}"
            print(f"FAIL {check} {rule or ''}: {fault}", flush=True)
            if not suite.device_answers():
                suite.faults.append(f"the device is lost after {check} {rule or ''}")
                cut["cut"] = f"{len(outcomes)} of {len(cases)} cases"
                break
        todo[check.kernel] -= rule is None
    suite.verified |= {kernel for kernel, left in todo.items() if not left} - wrong
    failed = sum(not outcome.passed for outcome in outcomes)
    if failed:
        suite.wrong_cases = f"{failed} of {len(outcomes)} cases differ from float64"
    # Kept even if what follows fails.
    suite.report["stages"]["verify"] = {"cases": [asdict(outcome) for outcome in outcomes]}
    with suite.patience("controls and properties"):
        controls = gpu_verify.controls(suite.device)
        properties = gpu_verify.properties(suite.device, tiny=suite.tiny)
    suite.faults += [f"the broken {name} passes" for name, seen in controls.items() if not seen]
    suite.faults += [f"not so: {name}" for name, holds in properties.items() if not holds]
    ran = sorted({f"{outcome.forward}, {outcome.backward}" for outcome in outcomes})
    print(f"{len(outcomes) - failed} of {len(outcomes)} cases agree with float64; ran {ran}")
    print(f"controls {controls}, properties {properties}")
    return {
        "cases": [asdict(outcome) for outcome in outcomes],
        "controls": controls,
        "properties": properties,
        "reasons_for_torch": kernels.torch_reasons(),
        **cut,
    }


def capture(suite: Suite, deadline: float) -> dict[str, Any]:
    """Replay captured training steps on inputs that they were not captured with."""
    found: dict[str, float] = {}
    for check in gpu_verify.checks(tiny=suite.tiny):
        if time.monotonic() > deadline or check.width != 64:
            break
        with suite.patience(check):
            error = gpu_verify.replayed(check, suite.device)
        name = " ".join(map(str, asdict(check).values()))
        found[name] = error
        if not error <= gpu_verify.TOLERANCES[check.dtype]:
            suite.faults.append(f"a replayed graph is wrong by {error:.1e}: {name}")
    print(f"{len(found)} graphs replayed, the worst error is {max(found.values()):.1e}")
    return {"errors": found}


def sanitize(suite: Suite, deadline: float) -> dict[str, Any]:
    """Run memcheck and racecheck, where there is a compute-sanitizer."""
    found: dict[str, str] = {}
    for index, tool in enumerate(TOOLS):
        seconds = (deadline - time.monotonic()) / (len(TOOLS) - index)
        found[tool] = gpu_verify.sanitize(tool, Path(__file__), suite.device, seconds)
        print(f"{tool}: {found[tool]}", flush=True)
        if not found[tool].startswith(("clean", "not ")):
            suite.faults.append(f"{tool}: {found[tool]}")
    return dict(found)


def measure(suite: Suite, deadline: float) -> dict[str, Any]:
    """Time the contestants that need no compilation on as many cases as fit."""
    return _race(suite, deadline, [case for case in _cases(suite) if not case.slow], "measure")


def peers(suite: Suite, deadline: float) -> dict[str, Any]:
    """Time torch.compile and flash_bla, which compile and tune for up to minutes."""
    return _race(suite, deadline, [case for case in _cases(suite) if case.slow], "peers")


def _cases(suite: Suite) -> Iterable[Case]:
    return gpu_measure.cases(tiny=suite.tiny)


def _race(suite: Suite, deadline: float, cases: list[Case], stage: str) -> dict[str, Any]:
    if suite.faults:
        return {"skipped": "the gate is red"}
    rows: list[Row] = []
    for case in cases:
        if time.monotonic() > deadline:
            return {"rows": rows_of(rows), "cut": f"{len(rows)} of {len(cases)} cases"}
        row = Row(case, "not verified")
        if _may_be_timed(suite, case):
            with suite.patience(case, 600 if case.slow else HANGS_AFTER):
                row = gpu_measure.measure(case, suite.clock, suite.flash_bla)
        rows.append(row)
        if row.gate not in ("green", "not verified"):
            suite.faults.append(row.gate)
        print(line(row), flush=True)
        # The time limit around everything may end the process at any case.
        suite.report["stages"][stage] = {"rows": rows_of(rows)}
        suite.write()
    return {"rows": rows_of(rows)}


def _may_be_timed(suite: Suite, case: Case) -> bool:
    kernel = case.feature_map, case.dtype, case.width
    return kernel in suite.verified or (suite.tiny and not suite.wrong_cases)


def rows_of(rows: list[Row]) -> list[dict[str, Any]]:
    """As plain values."""
    return [asdict(row) for row in rows]


def splits(suite: Suite, deadline: float) -> dict[str, Any]:
    """Time every number of parts that tokens can be cut into."""
    if suite.faults:
        return {"skipped": "the gate is red"}
    found: list[dict[str, Any]] = []
    for case in gpu_measure.split_cases(tiny=suite.tiny):
        if not _may_be_timed(suite, case):
            return {"skipped": "not verified"}
        if time.monotonic() > deadline:
            return {"cases": found, "cut": f"{len(found)} cases"}
        ours = {"linvit": gpu_measure.contestants.Linvit(case.feature_map)}
        times: dict[int, Measured] = {}
        for split in gpu_measure.SPLITS:
            with gpu_verify.forced(Rule("tensor", split=split)), suite.patience(case):
                row = gpu_measure.compete(case, suite.clock, ours)
            if row.gate == "green" and "torch" not in row.backends:
                times[split] = row.contestants["linvit"]
        medians = {split: median(measured) for split, measured in times.items()}
        best = {split: found for split, found in medians.items() if found is not None}
        fastest = min(best, key=lambda split: best[split], default=None)
        print(f"B H {case.batch * case.heads}, N {case.tokens}: {fastest} of {best}", flush=True)
        found.append({"case": asdict(case), "fastest": fastest, "us": best})
    return {"cases": found}


def sanitized(device: str) -> int:
    """What `sanitize` runs below the sanitizer: a few cases; the exit code."""
    outcomes = [
        gpu_verify.judge(check, device, rule=rule) for rule, check in gpu_verify.sanitized_checks()
    ]
    for outcome in outcomes:
        if not outcome.passed:
            print(f"FAIL {outcome}")
    return int(any(not outcome.passed for outcome in outcomes))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the stages; 0 if the gate is green."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--budget", type=float, default=540, help="seconds for everything (540)")
    parser.add_argument("--stages", nargs="+", choices=LIMITS, default=list(LIMITS))
    parser.add_argument("--output", type=Path, help="where to write (benchmarks/results/)")
    parser.add_argument("--machine", help="its name in the results (default: the GPU's)")
    parser.add_argument("--flash-bla", type=Path, metavar="FOLDER", help="a checkout of flash_bla")
    parser.add_argument("--device", default="cuda:0", help="which GPU (cuda:0)")
    parser.add_argument("--arch", help="build for sm_90, say, without a GPU, and do nothing else")
    parser.add_argument("--dry-run", action="store_true", help="tiny cases, without a GPU")
    parser.add_argument("--sanitized", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    stages = {"build"} if options.arch else {*options.stages}
    if stages & TIMED:
        stages.add("verify")
    device = "cpu" if options.dry_run or options.arch else options.device
    if device.startswith("cuda") and not torch.cuda.is_available():
        parser.error("torch sees no CUDA device; --dry-run goes through everything without one")
    warnings.filterwarnings("ignore", message="linvit: linear attention runs in plain torch")
    if options.sanitized:
        return sanitized(device)
    card = options.arch or "dry-run" if device == "cpu" else torch.cuda.get_device_name(device)
    machine = options.machine or re.sub(r"[^a-z0-9]+", "-", card.lower()).strip("-")
    today = dt.datetime.now(tz=dt.UTC).date().isoformat()
    kept = Path(tempfile.gettempdir() if device == "cpu" else Path(__file__).parent / "results")
    folder = options.output or kept
    flash_bla = gpu_measure.load_flash_bla(options.flash_bla)
    report = facts(device, machine)
    report |= {"stages": {}, "flash_bla": flash_bla if isinstance(flash_bla, str) else "imported"}
    suite = Suite(
        device=device,
        tiny=options.dry_run,
        output=folder / f"{today}-gpu_suite-{machine}.json",
        ends=time.monotonic() + options.budget,
        flash_bla=None if isinstance(flash_bla, str) else flash_bla,
        report=report,
        limits={"build": int(options.budget)} if options.arch else LIMITS,
        arch=options.arch,
    )
    for name in LIMITS:
        if name in stages:
            suite.stage(name, STAGES[name])
    print(f"\ngate: {suite.report['gate']}\nflash_bla: {report['flash_bla']}\n{suite.output}")
    return int(suite.report["gate"] != "green")


STAGES: dict[str, Callable[[Suite, float], dict[str, Any]]] = {
    "build": build,
    "verify": verify,
    "capture": capture,
    "sanitize": sanitize,
    "measure": measure,
    "splits": splits,
    "peers": peers,
}

if __name__ == "__main__":
    raise SystemExit(main())
