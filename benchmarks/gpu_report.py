"""The report of `gpu_suite.py`: one run, its stages and their time limits, and what is printed."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import math
import os
import platform
import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import contestants
import gpu_measure
import torch
from gpu_measure import Clock, Measured, Row

from linvit_runtime import kernels

HANGS_AFTER = 60.0
"""Seconds after which a case that takes milliseconds is taken to hang; it may compile first."""
HUNG = 3
"""The exit code then."""
PACKAGES = ("torch", "triton", "numpy", "numba", "numba-cuda", "cuda-bindings", "nvidia-nvvm")


@dataclass(slots=True)
class Suite:
    """One run: what was asked for, what is left of the time, and what was found.

    Attributes:
        limits: Stage -> seconds that it may take at most.
        arch: What to build for where it is not the device.
        faults: Why nothing may be timed.
        wrong_cases: How many cases differ from float64, whose kernels may not be timed. The gate is
            green while there is neither.
        verified: Kernels all of whose cases have passed: feature map, dtype and width.
        doing: What `patience` watches: what is being done, and until when it should be.
    """

    device: str
    tiny: bool
    output: Path
    ends: float
    flash_bla: contestants.Attention | None
    report: dict[str, Any]
    limits: dict[str, int]
    arch: str | None = None
    faults: list[str] = field(default_factory=list[str])
    wrong_cases: str = ""
    verified: set[tuple[str, str, int]] = field(default_factory=set[tuple[str, str, int]])
    doing: tuple[str, float] | None = None

    def stage(self, name: str, work: Callable[[Suite, float], dict[str, Any]]) -> None:
        """Run a stage until its limit or the end of the budget, and write the report."""
        start = time.monotonic()
        deadline = min(start + self.limits[name], self.ends)
        print(f"\n== {name}, at most {max(0.0, deadline - start):.0f} s", flush=True)
        try:
            found = work(self, deadline) if deadline > start else {"cut": "the budget is used up"}
        except Exception as problem:  # noqa: BLE001 - the report of the other stages must be written
            found = self.report["stages"].get(name, {})
            found |= {"failed": f"{type(problem).__name__}: {problem}"}
            self.faults.append(f"{name} failed: {found['failed']}")
        found |= {"seconds": round(time.monotonic() - start, 1)}
        for what in ("cut", "failed"):
            if what in found:
                print(f"{what}: {found[what]}")
        self.report["stages"][name] = found
        self.write()

    @contextmanager
    def patience(self, what: object, seconds: float = HANGS_AFTER) -> Generator[None, None, None]:
        """End the process, with the report, if what is done in a `with` takes far too long.

        A kernel that waits for what never comes would otherwise be ended by the time limit around
        everything, and nobody would learn which one it was.
        """
        if self.doing is None:
            threading.Thread(target=self._watch, daemon=True).start()
        self.doing = str(what), time.monotonic() + seconds
        try:
            yield
        finally:
            self.doing = "nothing", math.inf

    def _watch(self) -> None:
        while True:
            time.sleep(0.2)
            assert self.doing is not None
            what, until = self.doing
            if time.monotonic() > until:
                self.faults.append(f"hangs: {what}")
                self.write()
                print(f"hangs: {what}\n{self.output}", flush=True)
                os._exit(HUNG)

    def write(self) -> None:
        """Put the report on the disk, whole."""
        self.report["gate"] = "; ".join(filter(None, (self.wrong_cases, *self.faults))) or "green"
        self.output.parent.mkdir(parents=True, exist_ok=True)
        temporary = self.output.with_suffix(".tmp")
        temporary.write_text(json.dumps(self.report, indent=1) + "\n", encoding="utf-8")
        temporary.replace(self.output)

    def device_answers(self) -> bool:
        """Whether the device can still be used: after an illegal access no call to it succeeds."""
        if self.device.startswith("cuda"):
            try:
                torch.cuda.synchronize(self.device)
            except RuntimeError:
                return False
        return True

    @property
    def clock(self) -> Clock:
        """Of the device that is measured."""
        if not self.device.startswith("cuda"):
            return Clock(self.device, seconds=0.001, samples=3)
        return Clock(self.device, torch.cuda.get_device_properties(self.device).L2_cache_size)


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
