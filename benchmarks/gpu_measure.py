"""The measurements of `gpu_suite.py`: contestants, the gate of each case, clocks.

A contestant takes views `[B, N, H, D]` and gives `[B, N, H*D]`; linvit's takes their buffer where
gradients are measured. Times are of the device: calls on several sets of inputs, together larger
than its cache, are captured in one CUDA graph, which is replayed between two events. What a call
takes when it is launched from Python, which for small problems is mostly the host, is measured
beside it.
"""

from __future__ import annotations

import functools
import importlib
import itertools
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import contestants
import torch
from torch import Tensor

from linvit_runtime.kernels.dispatch import recording

Run = Callable[[], tuple[Tensor, ...]]

COPY = "copy"
GATE_TOLERANCE = {"float32": 1e-4, "bfloat16": 3e-2, "float16": 1e-2}
"""Of the contestants' output and gradients against float64, on images picked from the batch."""


@dataclass(frozen=True, slots=True)
class Case:
    """One problem.

    Attributes:
        layout: `qkv`, views of one buffer `[B, N, 3, H, D]`; `separate`, each contiguous as
            `[B, H, N, D]`; `features`, the same with q and k as features that are made already.
        slow: Whether the contestants are those that compile or tune for seconds or minutes.
    """

    dtype: str
    width: int
    batch: int
    heads: int
    tokens: int
    layout: str
    backward: bool
    slow: bool = False

    @property
    def feature_map(self) -> str:
        """Of linvit's call."""
        return "identity" if self.layout == "features" else "split_relu"

    @property
    def bytes_moved(self) -> int:
        """The least traffic: forward q, k, v and out once; backward also dout, dq, dk and dv."""
        size = getattr(torch, self.dtype).itemsize
        tensors = 4 + 7 if self.backward else 4
        return tensors * self.batch * self.heads * self.tokens * self.width * size

    def leaves(self, device: str, seed: int, dtype: torch.dtype | None = None) -> list[Tensor]:
        """The tensors that the views are of, and that gradients are asked of."""
        draw = torch.Generator(device).manual_seed(seed)
        dtype = dtype or getattr(torch, self.dtype)
        options: dict[str, Any] = {"generator": draw, "device": device, "dtype": torch.float32}
        if self.layout == "qkv":
            shape = self.batch, self.tokens, 3, self.heads, self.width
            return [torch.randn(shape, **options).to(dtype)]
        shape = self.batch, self.heads, self.tokens, self.width
        q, k, v = (torch.randn(shape, **options).to(dtype) for _ in range(3))
        return [q.abs(), k.abs(), v] if self.layout == "features" else [q, k, v]

    def views(self, leaves: list[Tensor]) -> tuple[Tensor, ...]:
        """q, k and v, each `[B, N, H, D]`."""
        if self.layout == "qkv":
            return leaves[0].unbind(2)
        return tuple(leaf.transpose(1, 2) for leaf in leaves)


@dataclass(slots=True)
class Measured:
    """Microseconds of one contestant on one case: quartiles on the device, and of a call."""

    device_us: tuple[float, float, float] | None = None
    call_us: tuple[float, float, float] | None = None
    problem: str = ""


@dataclass(slots=True)
class Row:
    """What was measured of one case, nothing where the gate is red; what ran behind linvit."""

    case: Case
    gate: str
    backends: tuple[str, ...] = ()
    contestants: dict[str, Measured] = field(default_factory=dict[str, Measured])


GRID = ((384, 1024), (384, 196), (1536, 1024), (1536, 256), (384, 64), (1536, 4096), (384, 16384))
FEW_HEADS = ((6, 16384), (24, 4096), (6, 1024), (96, 196))
"""B H and N: where one CTA per head fills the device, and where the tokens have to be split."""
SLOW = ((64, 1024, "qkv"), (64, 1024, "features"), (64, 196, "qkv"), (1, 16384, "features"))
"""B, N and layout of the cases of torch.compile and flash_bla, after all others."""
SPLITS = (0, 1, 2, 4, 8, 16)
"""Into how many parts tokens are cut; 0 leaves it to the kernels' plan."""
SPLIT_GRID = tuple(itertools.product((6, 24, 96, 192, 384), (196, 1024, 4096, 16384)))
HEADS = 6


def cases(*, tiny: bool = False) -> Iterator[Case]:
    """All problems, those that decide most first: the budget may end before the last."""
    if tiny:
        for layout, backward in itertools.product(("qkv", "separate", "features"), (False, True)):
            yield Case("float32", 64, 2, 2, 12, layout, backward)
        return
    directions = (False, True)
    for (heads, tokens), backward in itertools.product((*GRID, *FEW_HEADS), directions):
        yield Case("bfloat16", 64, heads // HEADS, HEADS, tokens, "qkv", backward)
    for layout, backward in itertools.product(("features", "separate"), directions):
        yield Case("bfloat16", 64, 64, HEADS, 1024, layout, backward)
    for (heads, tokens), backward in itertools.product(GRID[:3], directions):
        yield Case("float32", 64, heads // HEADS, HEADS, tokens, "qkv", backward)
    for width, backward in itertools.product((32, 128), directions):
        yield Case("bfloat16", width, 64, HEADS, 1024, "qkv", backward)
    yield Case("bfloat16", 64, 512, HEADS, 16384, "qkv", False)
    for (batch, tokens, layout), backward in itertools.product(SLOW, directions):
        yield Case("bfloat16", 64, batch, HEADS, tokens, layout, backward, slow=True)


def split_cases(*, tiny: bool = False) -> Iterator[Case]:
    """Where into how many parts tokens are cut is measured."""
    if tiny:
        yield Case("bfloat16", 64, 1, 2, 20, "qkv", False)
        return
    for backward, (heads, tokens) in itertools.product((False, True), SPLIT_GRID):
        yield Case("bfloat16", 64, heads // HEADS, HEADS, tokens, "qkv", backward)


def contestants_of(case: Case, flash_bla: contestants.Attention | None) -> dict[str, Any]:
    """Who takes part, by name; linvit first."""
    found: dict[str, Any] = {"linvit": contestants.Linvit(case.feature_map)}
    made = case.layout == "features"
    if case.slow:
        torch._dynamo.config.recompile_limit = 1000  # one compilation for every case is meant
        found["compiled"] = _compiled_on_features() if made else contestants.compiled
        if flash_bla:
            found["flash_bla"] = flash_bla if made else functools.partial(_mapped, flash_bla)
        return found
    found["eager"] = _eager_on_features if made else contestants.eager
    if made:
        return found
    if case.dtype == "float32":
        return found | {"sdpa": contestants.sdpa}
    return found | {"sdpa_flash": _sdpa("FLASH_ATTENTION"), "sdpa_cudnn": _sdpa("CUDNN_ATTENTION")}


@functools.cache
def _compiled_on_features() -> contestants.Attention:
    return torch.compile(_eager_on_features, dynamic=False, fullgraph=True)


def _eager_on_features(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    q, k, v = (x.transpose(1, 2) for x in (q, k, v))
    S, z = k.transpose(-1, -2) @ v, k.sum(-2)
    return (q @ S / ((q @ z.unsqueeze(-1)) + contestants.EPS)).transpose(1, 2).flatten(2)


def _mapped(attention: contestants.Attention, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return attention(contestants.split_relu(q), contestants.split_relu(k), v)


def _sdpa(backend: str) -> contestants.Attention:
    from torch.nn.attention import SDPBackend, sdpa_kernel

    def attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        with sdpa_kernel(getattr(SDPBackend, backend)):
            return contestants.sdpa(q, k, v)

    return attention


def load_flash_bla(folder: Path | None) -> contestants.Attention | str:
    """fla-org/flash-bidirectional-linear-attention on features, or why it cannot take part.

    Args:
        folder: A checkout of it; None looks among the installed packages.
    """
    if folder is not None:
        sys.path.insert(0, str(folder))
    try:
        fused: Any = importlib.import_module("flash_bla.ops.linear_attn.fused").linear_attention
    except Exception as problem:  # noqa: BLE001 - it needs Triton, and what else it imports
        return f"not imported: {type(problem).__name__}: {problem}"

    def attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        q, k, v = (x.transpose(1, 2) for x in (q, k, v))
        return fused(q, k, v).transpose(1, 2).flatten(2)

    return attention


def call(case: Case, attention: Any, leaves: list[Tensor]) -> Run:
    """What is timed: the forward pass, or that with the gradients of the leaves."""
    if not case.backward:

        def forward() -> tuple[Tensor, ...]:
            with torch.no_grad():
                return (attention(*case.views(leaves)),)

        return forward
    wanted = [leaf.detach().requires_grad_() for leaf in leaves]
    ramp = torch.linspace(-1, 1, case.heads * case.width, dtype=leaves[0].dtype)
    grad = ramp.to(leaves[0].device).expand(case.batch, case.tokens, -1).contiguous()
    packed = contestants.takes_buffer(attention, case.layout, case.backward)

    def train() -> tuple[Tensor, ...]:
        inputs = wanted if packed else case.views(wanted)
        return torch.autograd.grad(attention(*inputs), wanted, grad)

    return train


def gate(case: Case, name: str, attention: Any, leaves: list[Tensor]) -> str:
    """Empty if the first and the last image are as the formula gives them in float64.

    Softmax attention is not linvit's, and held to torch's in float32: all pairs of tokens in
    float64 would not fit.
    """
    picked = [leaf[[0, -1]] if case.batch > 1 else leaf for leaf in leaves]
    formula = _eager_on_features if case.layout == "features" else contestants.eager
    dtype = torch.float64
    if name.startswith("sdpa"):
        formula, dtype = contestants.sdpa, torch.float32
    small = replace(case, batch=len(picked[0]))
    expected = call(small, formula, [leaf.to(dtype) for leaf in picked])()
    for part, right in zip(call(case, attention, leaves)(), expected, strict=True):
        images = part[[0, -1]] if case.batch > 1 else part
        error = ((images.double() - right.double()).norm() / right.double().norm()).item()
        if not error <= GATE_TOLERANCE[case.dtype]:  # a NaN is no less
            return f"{name} is wrong by {error:.1e}"
    return ""


@dataclass(frozen=True, slots=True)
class Clock:
    """How long to measure, and on what.

    Attributes:
        device: As torch calls it.
        cache_bytes: Inputs are as many as exceed this several times.
        seconds: That the samples of one contestant take together, about.
        samples: At least, of what takes less than 0.2 s.
    """

    device: str
    cache_bytes: int = 0
    seconds: float = 0.06
    samples: int = 7

    @property
    def cuda(self) -> bool:
        """Whether there are events and graphs."""
        return self.device.startswith("cuda")

    def synchronize(self) -> None:
        """Wait for the device."""
        if self.cuda:
            torch.cuda.synchronize()

    def sample(self, run: Callable[[], object], runs: int) -> tuple[float, float, float]:
        """Quartiles of the microseconds of one of the `runs` that `run` does."""
        self.synchronize()
        start = time.perf_counter()
        run()
        self.synchronize()
        once = time.perf_counter() - start
        least = self.samples if once < 0.2 else 3
        count = max(least, min(200, int(self.seconds / (once + 1e-9))))
        times = [self._once(run) / runs for _ in range(count)]
        low, median, high = statistics.quantiles(times, n=4, method="inclusive")
        return low, median, high

    def _once(self, run: Callable[[], object]) -> float:
        if not self.cuda:
            start = time.perf_counter()
            run()
            return (time.perf_counter() - start) * 1e6
        first, last = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        first.record()
        run()
        last.record()
        last.synchronize()
        return first.elapsed_time(last) * 1e3


def measure_runs(clock: Clock, runs: list[Run]) -> Measured:
    """Time calls on sets of inputs that take turns, captured in a graph and launched one by one."""

    def each() -> None:
        for run in runs:
            run()

    found = Measured()
    try:
        for _ in range(2):
            each()
        found.call_us = clock.sample(each, len(runs))
        if clock.cuda:
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph):
                each()
            found.device_us = clock.sample(graph.replay, len(runs))
            graph.reset()
    except Exception as problem:  # noqa: BLE001 - a contestant that cannot take part is a result
        found.problem = f"{type(problem).__name__}: {(str(problem).splitlines() or [''])[0]}"
    if clock.cuda:
        torch.cuda.empty_cache()  # a graph's memory is its own
    return found


def measure(case: Case, clock: Clock, flash_bla: contestants.Attention | None) -> Row:
    """Gate all contestants of a case, then time them, and a copy of as many bytes."""
    row = compete(case, clock, contestants_of(case, flash_bla))
    if row.gate == "green":
        row.contestants[COPY] = _measure_copy(case, clock, _sets(case, clock))
    return row


def compete(case: Case, clock: Clock, attentions: dict[str, Any]) -> Row:
    """Gate and time the contestants given; linvit at fault leaves the row empty."""
    leaves = [case.leaves(clock.device, seed) for seed in range(_sets(case, clock))]
    row = Row(case, "green")
    for name, attention in attentions.items():
        try:
            with recording() as used:
                wrong = gate(case, name, attention, leaves[0])
                if name == "linvit":
                    row.backends = tuple(itertools.chain(*used.values()))
        except Exception as problem:  # noqa: BLE001 - as in measure_runs
            wrong = f"{name}: {type(problem).__name__}: {(str(problem).splitlines() or [''])[0]}"
        if wrong and name == "linvit":
            return Row(case, wrong)
        if wrong:
            row.contestants[name] = Measured(problem=wrong)
            continue
        runs = [call(case, attention, some) for some in leaves]
        row.contestants[name] = measure_runs(clock, runs)
    return row


def _sets(case: Case, clock: Clock) -> int:
    """So many that together they are four times the cache, at most 32."""
    return max(1, min(32, -(-4 * clock.cache_bytes // case.bytes_moved)))


def _measure_copy(case: Case, clock: Clock, sets: int) -> Measured:
    """`copy_` of as many bytes as the case moves at least: half of them read, half written."""
    count = case.bytes_moved // 2
    pairs = [torch.empty(2, count, dtype=torch.uint8, device=clock.device) for _ in range(sets)]

    def copying(pair: Tensor) -> Run:
        return lambda: (pair[0].copy_(pair[1]),)

    return measure_runs(clock, [copying(pair) for pair in pairs])
