"""How fast one attention is: linvit's kernels beside what a user would take instead.

    OMP_WAIT_POLICY=PASSIVE .venv/bin/python benchmarks/attention.py [--save MACHINE]
    .venv/bin/python benchmarks/attention.py --device cuda

For every head width, number of tokens and number of threads: the milliseconds of
`linear_attention` (split-relu), forward and forward with backward, and how many times as long the
others of `contestants.py` take on the same tensors in the same run, and SDPA, which is another
function. With backward, and q, k and v in one buffer, linvit's is `linear_attention_qkvpacked`.
Contestants take turns; a ratio is the median of the ratios of single turns, with the quartiles in
the saved file, so that a machine whose speed drifts does not favour anybody. `--clock cpu` counts
the process's processor time instead, for a machine that others use too.

The gate: every contestant agrees with its formula in float64 before anything is timed.

On a GPU it is the stages of `gpu_suite.py` that verify and time single operators, with their own
cases and clocks; the other options are those of a CPU.
"""

from __future__ import annotations

import argparse
import datetime as dt
import json
import math
import os
import platform
import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import contestants
import gpu_suite
import torch
from torch import Tensor

from linvit_dsl import __version__
from linvit_runtime.kernels import backends_used

RESULTS = Path(__file__).parent / "results"
TOKENS = (64, 196, 256, 1024, 4096)
HEADS = 6
TOKENS_PER_CALL = 4096
"""Images are as many as give about this many tokens, but at most 16."""
TURN = 0.02
"""Seconds that one contestant's turn lasts at least."""

ATTENTIONS: dict[str, contestants.Attention] = {
    "linvit": contestants.Linvit(),
    "eager": contestants.eager,
    "compiled": contestants.compiled,
    "sdpa": contestants.sdpa,
}


@dataclass(frozen=True, slots=True)
class Case:
    """One problem.

    Attributes:
        layout: `qkv`, views of one buffer `[B, N, 3, H, D]`, as a model's projection makes them;
            or `separate`, q, k and v each contiguous `[B, H, N, D]`, as batched products like them.
    """

    width: int
    tokens: int
    threads: int
    backward: bool
    layout: str

    @property
    def batch(self) -> int:
        """Images: as many as give about `TOKENS_PER_CALL` tokens, but at most 16."""
        return max(1, min(16, TOKENS_PER_CALL // self.tokens))

    def leaves(self, dtype: torch.dtype) -> tuple[Tensor, ...]:
        """The tensors that the views are of, and that gradients are asked of."""
        generator = torch.Generator().manual_seed(0)
        shape = self.batch, self.tokens, 3, HEADS, self.width
        qkv = torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype)
        if self.layout == "qkv":
            return (qkv.requires_grad_(),)
        return tuple(x.transpose(1, 2).contiguous().requires_grad_() for x in qkv.unbind(2))

    def views(self, leaves: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """q, k and v, each `[B, N, H, D]`."""
        if self.layout == "qkv":
            return leaves[0].unbind(2)
        return tuple(leaf.transpose(1, 2) for leaf in leaves)


@dataclass(frozen=True, slots=True)
class Row:
    """What was measured of one case: milliseconds, and ratios to linvit's with quartiles."""

    case: Case
    milliseconds: dict[str, float]
    ratios: dict[str, tuple[float, float, float]]


def call(
    case: Case, attention: contestants.Attention, dtype: torch.dtype = torch.float32
) -> Callable[[], tuple[Tensor, ...]]:
    """What is timed: the forward pass, or that with the gradients of the leaves."""
    leaves = case.leaves(dtype)
    packed = contestants.takes_buffer(attention, case.layout, case.backward)

    def forward() -> tuple[Tensor, ...]:
        with torch.no_grad():
            return (attention(*case.views(leaves)),)

    grad = torch.linspace(-1, 1, case.tokens * HEADS * case.width, dtype=dtype)
    grad = grad.view(1, case.tokens, -1).expand(case.batch, -1, -1).contiguous()

    def train() -> tuple[Tensor, ...]:
        inputs = leaves if packed else case.views(leaves)
        return torch.autograd.grad(attention(*inputs), leaves, grad)

    return train if case.backward else forward


def gate(case: Case) -> None:
    """Stop unless every contestant computes its formula.

    Raises:
        AssertionError: One does not; nothing is timed then.
    """
    for name, attention in ATTENTIONS.items():
        formula = contestants.sdpa if name == "sdpa" else contestants.eager
        expected = call(case, formula, torch.float64)()
        for part, right in zip(call(case, attention)(), expected, strict=True):
            error = ((part - right).norm() / right.norm()).item()
            assert error < 1e-5, f"{name} is wrong by {error:.1e} in {case}"  # NaN is no less


def measure(case: Case, turns: int, clock: Callable[[], float]) -> Row:
    """Time all contestants in turns.

    Raises:
        AssertionError: The gate is red.
    """
    torch.set_num_threads(case.threads)
    gate(case)
    calls = {name: call(case, attention) for name, attention in ATTENTIONS.items()}
    repeats: dict[str, int] = {}
    for name, run in calls.items():
        run()
        start = clock()
        run()
        repeats[name] = max(1, math.ceil(TURN / (clock() - start + 1e-9)))
    times: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(turns):
        for name, run in calls.items():
            start = clock()
            for _ in range(repeats[name]):
                run()
            times[name].append((clock() - start) / repeats[name] * 1000)
    ratios: dict[str, tuple[float, float, float]] = {}
    for name, values in times.items():
        if name != "linvit":
            of_turns = [a / b for a, b in zip(values, times["linvit"], strict=True)]
            low, median, high = statistics.quantiles(of_turns, n=4, method="inclusive")
            ratios[name] = low, median, high
    return Row(case, {name: statistics.median(v) for name, v in times.items()}, ratios)


def geometric_means(rows: list[Row]) -> dict[str, float]:
    """The mean of each contestant's median ratios over the numbers of tokens."""
    names = rows[0].ratios
    return {name: statistics.geometric_mean(row.ratios[name][1] for row in rows) for name in names}


def show(rows: list[Row]) -> None:
    """Print the rows of one head width, direction and number of threads, and their means."""
    case = rows[0].case
    what = "forward and backward" if case.backward else "forward"
    print(f"\nD = {case.width}, {what}, {case.threads} threads, {case.layout} layout")
    print(f"{'B':>4} {'N':>5} {'linvit ms':>10}" + "".join(f"{n:>10}" for n in rows[0].ratios))
    for row in rows:
        cells = "".join(f"{median:9.2f}x" for _, median, _ in row.ratios.values())
        ours = row.milliseconds["linvit"]
        print(f"{row.case.batch:>4} {row.case.tokens:>5} {ours:>10.2f}{cells}")
    means = "".join(f"{mean:9.2f}x" for mean in geometric_means(rows).values())
    print(f"{'geometric mean':>21}{means}", flush=True)


def save(machine: str, clock: str, rows: list[Row]) -> Path:
    """Keep all figures in `benchmarks/results/`."""
    today = dt.datetime.now(tz=dt.UTC).date().isoformat()
    facts = {
        "date": today,
        "machine": machine,
        "clock": clock,
        "load": os.getloadavg(),
        "omp_wait_policy": os.environ.get("OMP_WAIT_POLICY"),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "linvit": __version__,
        "backends": backends_used(),
        "rows": [asdict(row) for row in rows],
    }
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{today}-attention-{machine}.json"
    path.write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")
    return path


def main() -> int:
    """Measure, print, and keep what is asked for; 0 unless a gate on a GPU is red."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--widths", type=int, nargs="+", default=[64, 32])
    parser.add_argument("--tokens", type=int, nargs="+", default=TOKENS)
    parser.add_argument("--layouts", nargs="+", choices=("qkv", "separate"), default=["qkv"])
    parser.add_argument("--turns", type=int, default=15)
    parser.add_argument("--clock", choices=("wall", "cpu"), default="wall")
    parser.add_argument("--only", choices=("forward", "backward"))
    parser.add_argument("--without", nargs="+", choices=("compiled", "sdpa"), default=[])
    parser.add_argument("--save", metavar="MACHINE", help="name of this machine in the results")
    options = parser.parse_args()
    if options.device == "cuda":
        return gpu_suite.main(["--stages", "build", "measure", "peers"])
    for name in options.without:
        del ATTENTIONS[name]
    clock = time.perf_counter if options.clock == "wall" else time.process_time
    # A recompilation for every shape is what is asked for here.
    torch._dynamo.config.recompile_limit = 1000
    rows: list[Row] = []
    for threads in options.threads:
        for layout in options.layouts:
            for width in options.widths:
                for backward in (False, True):
                    if options.only == ("forward" if backward else "backward"):
                        continue
                    group = [
                        measure(Case(width, n, threads, backward, layout), options.turns, clock)
                        for n in options.tokens
                    ]
                    show(group)
                    rows += group
    if options.save:
        print(f"kept in {save(options.save, options.clock, rows)}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
