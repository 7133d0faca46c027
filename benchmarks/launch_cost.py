"""What a CUDA call of linear attention costs the host, on a driver that does nothing: needs no GPU.

    .venv/bin/python benchmarks/launch_cost.py [--rounds N] [--save MACHINE]

Compiles the fake driver of the tests, starts itself again with it, and prints microseconds of CPU
time per call: the median of the rounds and the smallest. CPU tensors stand for CUDA tensors, so the
allocations are those of torch's CPU allocator, and what the real driver takes to enqueue a kernel,
some microseconds, comes on top. Inference and training are calls of `linear_attention`: training
with what autograd records, and without a backward pass; `autograd alone` records a function that
does nothing. The gate: the driver got the arguments that it should.
"""

from __future__ import annotations

import argparse
import datetime as dt
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
RESULTS = Path(__file__).parent / "results"
CALLS = 2000  # per round
INSIDE = "LINVIT_INSIDE_LAUNCH_COST"


def measure(call: Callable[[], object], rounds: int) -> tuple[float, float]:
    """Microseconds of CPU time per call: median and smallest of the rounds."""
    for _ in range(200):
        call()
    times: list[float] = []
    for _ in range(rounds):
        start = time.process_time()
        for _ in range(CALLS):
            call()
        times.append((time.process_time() - start) / CALLS * 1e6)
    return statistics.median(times), min(times)


def nothing() -> Any:
    """An autograd function that saves what linear attention saves, and does nothing else."""
    import torch
    from torch import Tensor

    class Nothing(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor, name: str, eps: float) -> Tensor:
            ctx.save_for_backward(q, k, v, q, k)
            ctx.options = name, eps
            return v.new_empty(1)

        @staticmethod
        def backward(ctx: Any, *grad_outputs: Any) -> tuple[None, ...]:
            return (None,) * 5

    return Nothing.apply


def inside(rounds: int) -> dict[str, tuple[float, float]]:
    """Measure in a process whose CUDA driver is the fake one.

    Raises:
        SystemExit: The launcher packs its arguments wrongly.
    """
    import torch

    from linvit_runtime.kernels import dispatch, library, linear_attention
    from linvit_runtime.kernels.cuda import launch
    from tests.runtime.kernels import fake_driver_cases

    torch.set_num_threads(1)
    launch._raw_stream = lambda device: fake_driver_cases.STREAM
    case = fake_driver_cases.simt_case()
    if case["second"] != [case["expected"]]:
        raise SystemExit(f"the driver got {case['second']}, not {case['expected']}")
    fake_driver_cases.DRIVER.fake_quiet(1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch warns that these replace kernels, which they do
        replace = library._library.impl
        replace("linear_attention", dispatch.cuda_forward_without_state, "CPU", allow_override=True)
        replace("linear_attention_train", dispatch.cuda_forward, "CPU", allow_override=True)

    qkv, options = torch.randn(2, 197, 3, 6, 64), ("split_relu", 1e-6)
    q, k, v = qkv.unbind(2)
    q_half, k_half, v_half = qkv.bfloat16().unbind(2)
    shapes = (q.dtype, q.shape, v.shape)
    forward = dispatch._cuda_pass("forward", "split_relu", *shapes, False, q.get_device())
    out = torch.empty(2, 197, 384)
    operator = library.linear_attention_op
    with torch.no_grad():
        found = {
            "torch.empty of the output": measure(lambda: torch.empty(2, 197, 384), rounds),
            "launch": measure(lambda: forward.into(q, k, v, out, out, out, 1e-6), rounds),
            "launch and allocation": measure(lambda: forward(q, k, v, 1e-6), rounds),
            "torch operator": measure(lambda: operator(q, k, v, *options), rounds),
            "inference, float32": measure(lambda: linear_attention(q, k, v), rounds),
            "inference, tensor cores": measure(
                lambda: linear_attention(q_half, k_half, v_half), rounds
            ),
        }
    q.requires_grad_()
    record = nothing()
    found["autograd alone"] = measure(lambda: record(q, k, v, *options), rounds)
    found["training, float32"] = measure(lambda: linear_attention(q, k, v), rounds)
    q_half.requires_grad_()
    found["training, tensor cores"] = measure(
        lambda: linear_attention(q_half, k_half, v_half), rounds
    )
    return found


def main() -> None:
    """Start again with the fake driver, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--save", metavar="MACHINE", help="keep the figures under this name")
    options = parser.parse_args()
    sys.path[:0] = [str(ROOT), str(ROOT / "runtime")]
    if os.environ.get(INSIDE):
        json.dump(inside(options.rounds), sys.stdout)
        return
    from linvit_dsl import __version__
    from tests.runtime.kernels import fake_driver

    if fake_driver.compiler() is None:
        raise SystemExit("needs a C compiler")
    with tempfile.TemporaryDirectory() as folder:
        environment = fake_driver.environment(Path(folder)) | {INSIDE: "1"}
        command = [sys.executable, __file__, "--rounds", str(options.rounds)]
        done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, check=True)
    found: dict[str, tuple[float, float]] = json.loads(done.stdout)
    machine = f"{platform.machine()}, 1 thread, Python {platform.python_version()}"
    print(f"microseconds of CPU time per call, {machine}, linvit {__version__}")
    print(f"{'':30}{'median':>8}{'least':>8}")
    for name, (median, least) in found.items():
        print(f"{name:30}{median:8.2f}{least:8.2f}")
    if options.save:
        facts = {"machine": machine, "linvit": __version__, "microseconds": found}
        path = RESULTS / f"{dt.datetime.now(dt.UTC).date()}-launch_cost-{options.save}.json"
        path.write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
