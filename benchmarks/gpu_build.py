"""The first stage of `gpu_suite.py`: all kernels, compiled by several processes at once."""

from __future__ import annotations

import itertools
import multiprocessing
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import nullcontext
from typing import Any

import gpu_measure
import gpu_verify

from linvit_runtime.kernels.cuda.choose import Call, Rule, choose
from linvit_runtime.kernels.cuda.kernel import Kernel

Capability = tuple[int, int]
Job = tuple[Call, Rule | None]
"""A pass, and the path that it is forced to take; None leaves it to the table."""


def calls_of(case: gpu_verify.Check | gpu_measure.Case) -> Iterable[Call]:
    """The passes of a case: in inference, in training, and backward."""
    queries = keys = case.tokens if isinstance(case, gpu_measure.Case) else case.queries
    if isinstance(case, gpu_verify.Check):
        keys = case.keys
    sizes = (case.batch, queries, keys, case.heads, case.width, case.width)
    yield Call("forward", case.feature_map, case.dtype, *sizes, save_state=True)
    yield Call("forward", case.feature_map, case.dtype, *sizes)
    yield Call("backward", case.feature_map, case.dtype, *sizes)


def jobs() -> Iterator[Job]:
    """The passes of all cases, those that are measured first, and the paths they are forced to."""
    cases: list[tuple[gpu_verify.Check | gpu_measure.Case, Rule | None]] = []
    cases += [(case, None) for case in gpu_measure.cases()]
    cases += [(check, rule) for rule, check in gpu_verify.all_checks()]
    for case, split in itertools.product(gpu_measure.split_cases(), gpu_measure.SPLITS):
        cases.append((case, Rule("tensor", split=split)))
    for case, rule in cases:
        yield from ((call, rule) for call in calls_of(case))


def build_all(
    jobs: Iterable[Job], capability: Capability, deadline: float, workers: int
) -> dict[str, Any]:
    """Compile the kernels of all jobs until the deadline, each once.

    Args:
        jobs: What is called.
        capability: Of the device.
        deadline: When to stop, by the monotonic clock.
        workers: Processes.
    """
    todo: dict[tuple[str, ...], Job] = {}
    for job in jobs:
        todo.setdefault(tuple(kernel.name for kernel in _kernels(job, capability)), job)
    todo.pop((), None)
    found: dict[str, dict[str, Any]] = {}
    failures: list[str] = []
    cut: dict[str, str] = {}
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(max(1, min(workers, len(todo))), mp_context=context)
    work = [pool.submit(_build, job, capability) for job in todo.values()]
    try:
        for done in as_completed(work, timeout=max(0.1, deadline - time.monotonic())):
            if problem := done.exception():
                failures.append(f"{type(problem).__name__}: {problem}"[:300])
                continue
            found |= {kernel["name"]: kernel for kernel in done.result()}
    except TimeoutError:
        cut["cut"] = f"{len(found)} kernels, of {len(todo)} passes"
    pool.shutdown(wait=False, cancel_futures=True)
    spilling = sorted(name for name, kernel in found.items() if kernel["spill_bytes"])
    print(f"{len(found)} kernels; with spills: {', '.join(spilling) or 'none'}")
    for failure in dict.fromkeys(failures):
        print(f"not compiled: {failure}")
    return {"kernels": list(found.values()), "failures": failures, **cut}


def _build(job: Job, capability: Capability) -> list[dict[str, Any]]:
    """Compile the kernels of one pass into the cache; what the assembler says of each."""
    from linvit_runtime.kernels.cuda.build import build

    built = [build(kernel, capability) for kernel in _kernels(job, capability)]
    names = ("name", "registers", "spill_bytes", "seconds", "from_cache")
    return [{name: getattr(kernel, name) for name in names} for kernel in built]


def _kernels(job: Job, capability: Capability) -> Sequence[Kernel]:
    from linvit_runtime.kernels.cuda.passes import kernels_of

    call, rule = job
    with nullcontext() if rule is None else gpu_verify.forced(rule):
        return kernels_of(choose(call, capability))
