"""Everything that the first run on a GPU has to do, in one command of at most ten minutes.

    PYTHONPATH=runtime python benchmarks/gpu_suite.py [--flash-bla FOLDER] [--output FOLDER]

Stages, each with a time limit: `build` compiles all kernels in parallel; `verify` holds them to
float64 (`gpu_verify.py`), with broken ones as controls; `capture` replays CUDA graphs on new
inputs; `sanitize` looks for bad accesses and races with compute-sanitizer; `measure` times forward
and backward beside eager, torch.compile, SDPA, flash-bidirectional-linear-attention and a copy
(`gpu_measure.py`); `splits` times into how many parts the tokens of few heads are best cut, for the
table of the dispatch. Nothing is timed if an earlier stage found a fault, or of a kernel that was
not verified. The report is written after every stage, so what a time limit cuts off keeps the rest.

Needs torch, numpy, Numba and numba-cuda, not the compiler's packages. `--dry-run` goes through all
stages on a machine without a GPU, on tiny cases: its times mean nothing.
"""

from __future__ import annotations

import argparse
import datetime as dt
import hashlib
import json
import multiprocessing
import os
import platform
import re
import tempfile
import time
import warnings
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass, field
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

# Numbers that a stage holds back must not depend on a lucky run of the reference's products.
os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")

import contestants
import gpu_measure
import gpu_verify
import torch
from gpu_measure import Clock, Measured, Row

from linvit_runtime import kernels
from linvit_runtime.kernels.cuda.choose import Call, Choice, Rule, choose

LIMITS = {
    "build": 150,
    "verify": 110,
    "capture": 20,
    "sanitize": 80,
    "measure": 200,
    "splits": 40,
}
"""Stage -> seconds at most; the last ones get what is left of the budget."""

TOOLS = ("memcheck", "racecheck")
PACKAGES = ("torch", "triton", "numpy", "numba", "numba-cuda", "cuda-bindings", "nvidia-nvvm")
Capability = tuple[int, int]


@dataclass(slots=True)
class Suite:
    """One run: what was asked for, what is left of the time, and what was found.

    Attributes:
        faults: Why nothing may be timed; empty while the gate is green.
        verified: Kernels all of whose cases have passed: feature map, dtype and width.
    """

    device: str
    tiny: bool
    output: Path
    ends: float
    flash_bla: contestants.Attention | None
    report: dict[str, Any]
    faults: list[str] = field(default_factory=list[str])
    verified: set[tuple[str, str, int]] = field(default_factory=set[tuple[str, str, int]])

    def stage(self, name: str, work: Callable[[Suite, float], dict[str, Any]]) -> None:
        """Run a stage until its limit or the end of the budget, and write the report."""
        start = time.monotonic()
        deadline = min(start + LIMITS[name], self.ends)
        print(f"\n== {name}, at most {max(0.0, deadline - start):.0f} s", flush=True)
        try:
            found = work(self, deadline) if deadline > start else {"cut": "the budget is used up"}
        except Exception as problem:  # noqa: BLE001 - the report of the other stages must be written
            found = {"failed": f"{type(problem).__name__}: {problem}"}
            self.faults.append(f"{name} failed: {found['failed']}")
        found |= {"seconds": round(time.monotonic() - start, 1)}
        for what in ("cut", "failed"):
            if what in found:
                print(f"{what}: {found[what]}")
        self.report["stages"][name] = found
        self.write()

    def write(self) -> None:
        """Put the report on the disk, whole."""
        self.report["gate"] = "; ".join(self.faults) or "green"
        self.output.parent.mkdir(parents=True, exist_ok=True)
        temporary = self.output.with_suffix(".tmp")
        temporary.write_text(json.dumps(self.report, indent=1) + "\n", encoding="utf-8")
        temporary.replace(self.output)

    @property
    def clock(self) -> Clock:
        """Of the device that is measured."""
        if not self.device.startswith("cuda"):
            return Clock(self.device, seconds=0.001, samples=3)
        return Clock(self.device, torch.cuda.get_device_properties(self.device).L2_cache_size)


# Stages.


def calls_of(check: gpu_verify.Check) -> Iterable[Call]:
    """The passes of a case."""
    sizes = (check.batch, check.queries, check.keys, check.heads, check.width, check.width)
    yield Call("forward", check.feature_map, check.dtype, *sizes, save_state=True)
    yield Call("forward", check.feature_map, check.dtype, *sizes)
    yield Call("backward", check.feature_map, check.dtype, *sizes)


def build_one(call: Call, rule: Rule | None, capability: Capability) -> list[dict[str, Any]]:
    """Compile the kernels of one call into the cache; what the assembler says of each."""
    from linvit_runtime.kernels.cuda.build import build
    from linvit_runtime.kernels.cuda.passes import kernels_of

    built = [build(kernel, capability) for kernel in kernels_of(_choice(call, rule, capability))]
    names = ("name", "registers", "spill_bytes", "seconds", "from_cache")
    return [{name: getattr(kernel, name) for name in names} for kernel in built]


def _choice(call: Call, rule: Rule | None, capability: Capability) -> Choice:
    if rule is None:
        return choose(call, capability)
    with gpu_verify.forced(rule):
        return choose(call, capability)


def build(suite: Suite, deadline: float) -> dict[str, Any]:
    """Compile what the other stages need, in as many processes as there are CPUs."""
    if not suite.device.startswith("cuda"):
        return {"skipped": "CPU kernels are compiled when they are first called"}
    capability = torch.cuda.get_device_capability(suite.device)
    jobs: list[tuple[Call, Rule | None]] = []
    jobs += [(c, None) for check in gpu_verify.checks() for c in calls_of(check)]
    jobs += [(c, rule) for rule, check in gpu_verify.forced_checks() for c in calls_of(check)]
    return build_all(jobs, capability, deadline, os.cpu_count() or 1)


def build_all(
    jobs: list[tuple[Call, Rule | None]], capability: Capability, deadline: float, workers: int
) -> dict[str, Any]:
    """Compile the kernels of all jobs until the deadline, each plan once."""
    plans: dict[object, tuple[Call, Rule | None]] = {}
    for call, rule in jobs:
        choice = _choice(call, rule, capability)
        if choice.plan is not None:
            plans[call.direction, choice.plan] = call, rule
    found: dict[str, dict[str, Any]] = {}
    failures: list[str] = []
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(max(1, min(workers, len(plans))), mp_context=context)
    work = [pool.submit(build_one, call, rule, capability) for call, rule in plans.values()]
    cut: dict[str, str] = {}
    try:
        for done in as_completed(work, timeout=max(0.1, deadline - time.monotonic())):
            if problem := done.exception():
                failures.append(f"{type(problem).__name__}: {problem}"[:300])
                continue
            found |= {kernel["name"]: kernel for kernel in done.result()}
    except TimeoutError:
        cut["cut"] = f"{len(found)} kernels of {len(plans)} plans"
    pool.shutdown(wait=False, cancel_futures=True)
    spilling = sorted(name for name, kernel in found.items() if kernel["spill_bytes"])
    print(f"{len(found)} kernels; with spills: {', '.join(spilling) or 'none'}")
    for failure in dict.fromkeys(failures):
        print(f"not compiled: {failure}")
    return {"kernels": list(found.values()), "failures": failures, **cut}


def verify(suite: Suite, deadline: float) -> dict[str, Any]:
    """Hold every kernel to float64, and the comparison to broken kernels."""
    outcomes: list[gpu_verify.Outcome] = []
    cut: dict[str, str] = {}
    cases: list[tuple[Rule | None, gpu_verify.Check]] = []
    cases += [(None, check) for check in gpu_verify.checks(tiny=suite.tiny)]
    cases += gpu_verify.forced_checks(tiny=suite.tiny)
    todo: dict[tuple[str, str, int], int] = {}
    for _, check in cases:
        todo[check.kernel] = todo.get(check.kernel, 0) + 1
    for rule, check in cases:
        if time.monotonic() > deadline:
            cut["cut"] = f"{len(outcomes)} of {len(cases)} cases"
            break
        outcome = gpu_verify.judge(check, suite.device, rule=rule)
        outcomes.append(outcome)
        todo[check.kernel] -= outcome.passed
        if not outcome.passed:
            fault = outcome.failure or f"errors {', '.join(f'{e:.1e}' for e in outcome.errors)}"
            print(f"FAIL {check} {rule or ''}: {fault}", flush=True)
    suite.verified |= {kernel for kernel, left in todo.items() if not left}
    failed = sum(not outcome.passed for outcome in outcomes)
    controls = gpu_verify.controls(suite.device)
    properties = gpu_verify.properties(suite.device, tiny=suite.tiny)
    suite.faults += [f"the broken {name} passes" for name, seen in controls.items() if not seen]
    suite.faults += [f"not so: {name}" for name, holds in properties.items() if not holds]
    if failed:
        suite.faults.append(f"{failed} of {len(outcomes)} cases differ from float64")
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
    """Time all contestants on as many cases as fit."""
    if suite.faults:
        return {"skipped": "the gate is red"}
    rows: list[Row] = []
    cases = list(gpu_measure.cases(tiny=suite.tiny))
    cut: dict[str, str] = {}
    for case in cases:
        if time.monotonic() > deadline:
            cut["cut"] = f"{len(rows)} of {len(cases)} cases"
            break
        row = Row(case, "not verified")
        if (case.feature_map, case.dtype, case.width) in suite.verified or suite.tiny:
            row = gpu_measure.measure(case, suite.clock, suite.flash_bla)
        rows.append(row)
        print(line(row), flush=True)
        # The outer time limit may end the process at any case.
        suite.report["stages"]["measure"] = {"rows": [asdict(row) for row in rows]}
        suite.write()
    wrong = [row.gate for row in rows if row.gate not in ("green", "not verified")]
    suite.faults += wrong
    return {"rows": [asdict(row) for row in rows], **cut}


def splits(suite: Suite, deadline: float) -> dict[str, Any]:
    """Time every number of parts that tokens can be cut into."""
    if suite.faults:
        return {"skipped": "the gate is red"}
    found: list[dict[str, Any]] = []
    for case in gpu_measure.split_cases(tiny=suite.tiny):
        if time.monotonic() > deadline:
            return {"cases": found, "cut": f"{len(found)} cases"}
        ours = {"linvit": partial(kernels.linear_attention, feature_map=case.feature_map)}
        times: dict[int, Measured] = {}
        for split in gpu_measure.SPLITS:
            with gpu_verify.forced(Rule("tensor", split=split)):
                row = gpu_measure.compete(case, suite.clock, ours)
            if row.gate == "green":
                times[split] = row.contestants["linvit"]
        best = {split: median(measured) or float("inf") for split, measured in times.items()}
        fastest = min(best, key=lambda split: best[split], default=None)
        print(f"B H {case.batch * case.heads}, N {case.tokens}: {fastest} of {best}", flush=True)
        found.append({"case": asdict(case), "fastest": fastest, "us": best})
    return {"cases": found}


# What is printed.


def median(measured: Measured) -> float | None:
    """Microseconds on the device, else of a call."""
    quartiles = measured.device_us or measured.call_us
    return None if quartiles is None else quartiles[1]


def line(row: Row) -> str:
    """One case: time, share of a copy's bandwidth, and how many times as long the others take."""
    case = row.case
    direction = "forward+backward" if case.backward else "forward"
    head = f"{case.dtype} D {case.width} BH {case.batch * case.heads} N {case.tokens}"
    head = f"{head} {case.layout} {direction}"
    times = {name: median(measured) for name, measured in row.contestants.items()}
    ours, copied = times.pop("linvit", None), times.pop(gpu_measure.COPY, None)
    if ours is None:
        return f"{head}: no figures ({row.gate})"
    copy = f", {100 * copied / ours:.0f} % of copy" if copied else ""
    ratios = [
        f"{name} {time_ / ours:.2f}x" if time_ else f"{name} ({row.contestants[name].problem})"
        for name, time_ in times.items()
    ]
    backends = "+".join(dict.fromkeys(row.backends))
    return f"{head}: {ours:.1f} us by {backends}{copy}; {', '.join(ratios)}"


def facts(device: str, machine: str) -> dict[str, Any]:
    """What the figures depend on."""
    found: dict[str, Any] = {
        "date": dt.datetime.now(tz=dt.UTC).isoformat(timespec="seconds"),
        "machine": machine,
        "python": platform.python_version(),
        "versions": {name: _version(name) for name in PACKAGES},
        "cuda": torch.version.cuda,
        "kernels_sha256": _sources_sha256(),
        "load": os.getloadavg(),
    }
    if device.startswith("cuda"):
        card = torch.cuda.get_device_properties(device)
        found["gpu"] = {
            "name": card.name,
            "capability": [card.major, card.minor],
            "multiprocessors": card.multi_processor_count,
            "memory_bytes": card.total_memory,
            "L2_bytes": card.L2_cache_size,
        }
    return found


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _sources_sha256() -> str:
    """Of all files of the kernels, which tells what was measured without a git folder."""
    folder = Path(kernels.__file__).parent
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        if path.suffix in (".py", ".toml"):
            digest.update(f"{path.relative_to(folder)}\n".encode() + path.read_bytes())
    return digest.hexdigest()


def sanitized(device: str) -> int:
    """What `sanitize` runs below the sanitizer: a few cases; the exit code."""
    outcomes = [gpu_verify.judge(check, device) for check in gpu_verify.sanitized_checks()]
    for outcome in outcomes:
        if not outcome.passed:
            print(f"FAIL {outcome}")
    return int(any(not outcome.passed for outcome in outcomes))


def main() -> int:
    """Run the stages; 0 if the gate is green."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--budget", type=float, default=540, help="seconds for everything (540)")
    parser.add_argument("--stages", nargs="+", choices=LIMITS, default=list(LIMITS))
    parser.add_argument("--output", type=Path, help="where to write (benchmarks/results/)")
    parser.add_argument("--machine", help="its name in the results (default: the GPU's)")
    parser.add_argument("--flash-bla", type=Path, metavar="FOLDER", help="a checkout of flash_bla")
    parser.add_argument("--device", default="cuda:0", help="which GPU (cuda:0)")
    parser.add_argument("--dry-run", action="store_true", help="tiny cases, without a GPU")
    parser.add_argument("--sanitized", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    device = "cpu" if options.dry_run else options.device
    if device.startswith("cuda") and not torch.cuda.is_available():
        parser.error("torch sees no CUDA device; --dry-run goes through everything without one")
    warnings.filterwarnings("ignore", message="linvit: linear attention runs in plain torch")
    if options.sanitized:
        return sanitized(device)
    card = "dry-run" if device == "cpu" else torch.cuda.get_device_name(device)
    machine = options.machine or re.sub(r"[^a-z0-9]+", "-", card.lower()).strip("-")
    today = dt.datetime.now(tz=dt.UTC).date().isoformat()
    kept = Path(tempfile.gettempdir() if options.dry_run else Path(__file__).parent / "results")
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
    )
    for name in LIMITS:
        if name in options.stages:
            suite.stage(name, STAGES[name])
    print(f"\ngate: {suite.report['gate']}\nflash_bla: {report['flash_bla']}\n{suite.output}")
    return int(bool(suite.faults))


STAGES: dict[str, Callable[[Suite, float], dict[str, Any]]] = {
    "build": build,
    "verify": verify,
    "capture": capture,
    "sanitize": sanitize,
    "measure": measure,
    "splits": splits,
}

if __name__ == "__main__":
    raise SystemExit(main())
