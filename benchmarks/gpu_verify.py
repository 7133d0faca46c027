"""The gate of `gpu_suite.py`: every kernel against float64, before anything is timed.

A case is one feature map, head width, dtype, number of tokens and layout, forward and backward. The
expected results are those of all pairs of tokens in float64, differentiated by autograd, which no
kernel computes. Memory that an implementation allocates is filled with NaN first, so that what it
forgets to write is found. The same comparison is then given broken implementations, and has to
reject each of them.
"""

from __future__ import annotations

import itertools
import os
import shutil
import subprocess
import sys
import warnings
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from torch import Tensor

from linvit_runtime.kernels import (
    FEATURE_MAPS,
    dispatch,
    linear_attention,
    linear_attention_qkvpacked,
)
from linvit_runtime.kernels.cuda import choose
from linvit_runtime.kernels.cuda.choose import Rule
from linvit_runtime.kernels.dispatch import recording
from linvit_runtime.kernels.quadratic import attention_by_weights
from linvit_runtime.kernels.verify import EPS, TOLERANCES

Attention = Callable[[Tensor, Tensor, Tensor, str, float], Tensor]

WIDTHS = (64, 32, 128, 48, 96, 16)
"""Head widths, the usual one first: the budget may end before the last."""

RANDOM_FEATURES = 266
"""The usual number of features of FAVOR+ for heads 64 wide, which the kernels get ready-made."""

# Batch, queries, keys, heads, and the layout of q, k and v: ragged images of patches, few heads of
# many tokens (which are split), one query, other keys than queries, every kind of stride. With one
# key the gradients of q and k are what eps leaves of a difference, which no float32 holds.
PROBLEMS = (
    (2, 197, 197, 3, "qkv"),
    (1, 1025, 1025, 2, "qkv"),
    (2, 50, 33, 2, "heads_first"),
    (1, 65, 130, 2, "strided_channels"),
    (1, 1, 3, 2, "contiguous"),
)
FORCED = (Rule("simt"), Rule("tensor", split=1), Rule("tensor", split=4))
"""Paths that the table may not choose for the cases, and that other sizes or a new table take."""
TINY_PROBLEMS = ((1, 5, 5, 2, "qkv"), (1, 3, 4, 1, "strided_channels"))
SANITIZED_PROBLEMS = ((1, 70, 70, 2, "qkv"), (1, 20, 33, 1, "heads_first"))


@dataclass(frozen=True, slots=True)
class Check:
    """One case: B, N, L and H; D is also the width of a value."""

    feature_map: str
    dtype: str
    width: int
    batch: int
    queries: int
    keys: int
    heads: int
    layout: str

    @property
    def kernel(self) -> tuple[str, str, int]:
        """What of it a measurement depends on: feature map, dtype and width."""
        return self.feature_map, self.dtype, self.width

    def inputs(self, device: str) -> tuple[Tensor, ...]:
        """q, k and v in the layout, and a gradient of the output."""
        draw = torch.Generator().manual_seed(0)
        dtype = getattr(torch, self.dtype)
        tokens = (self.queries, self.keys, self.keys)
        q, k, v = (
            torch.randn(self.batch, n, self.heads, self.width, generator=draw) for n in tokens
        )
        if self.feature_map == "identity":  # whose features are the caller's, and not negative
            q, k = q.abs(), k.abs()
        placed = (x.to(device, dtype) for x in (q, k, v))
        grad = torch.randn(self.batch, self.queries, self.heads * self.width, generator=draw)
        return (*_laid_out(tuple(placed), self.layout), grad.to(device, dtype))


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a check ended: backends, errors of output, dq, dk and dv, or what was raised."""

    check: Check
    forward: str
    backward: str
    errors: tuple[float, ...]
    failure: str = ""
    forced: Rule | None = None

    @property
    def passed(self) -> bool:
        """Whether nothing was raised and no error is above the tolerance, or no number."""
        tolerance = TOLERANCES[self.check.dtype]
        return not self.failure and all(error <= tolerance for error in self.errors)


def checks(*, tiny: bool = False) -> Iterator[Check]:
    """All cases, those of the widths and dtypes that matter most first."""
    if tiny:
        for kernel in (("split_relu", "bfloat16"), ("split_relu", "float32"), ("relu", "float32")):
            yield from (Check(*kernel, 64, *problem) for problem in TINY_PROBLEMS)
        return
    dtypes = ("bfloat16", "float32", "float16")
    for width, dtype, name in itertools.product(WIDTHS, dtypes, FEATURE_MAPS):
        yield from (Check(name, dtype, width, *problem) for problem in PROBLEMS)
    for dtype, problem in itertools.product(dtypes, PROBLEMS):
        yield Check("identity", dtype, RANDOM_FEATURES, *problem)


def sanitized_checks() -> Iterator[tuple[Rule | None, Check]]:
    """Few and small ones: a sanitizer makes a kernel a hundred times slower."""
    for dtype, name in itertools.product(("bfloat16", "float32"), FEATURE_MAPS):
        for problem in SANITIZED_PROBLEMS:
            yield None, Check(name, dtype, 64, *problem)
        if dtype == "bfloat16":  # in parts, by kernels of their own
            yield Rule("tensor", split=2), Check(name, dtype, 64, *SANITIZED_PROBLEMS[0])


def forced_checks(*, tiny: bool = False) -> Iterator[tuple[Rule | None, Check]]:
    """The paths of `FORCED`, on usual heads."""
    problems = TINY_PROBLEMS[:1] if tiny else PROBLEMS[:3]
    kernels = itertools.product(("bfloat16", "float16"), FEATURE_MAPS, (64, 32))
    some = [("bfloat16", "split_relu", 64)] if tiny else list(kernels)
    for rule, (dtype, name, width) in itertools.product(FORCED, some):
        yield from ((rule, Check(name, dtype, width, *problem)) for problem in problems)


def all_checks(*, tiny: bool = False) -> Iterator[tuple[Rule | None, Check]]:
    """Cases by the table and forced ones, those of heads 64 wide before all others."""
    found = [(None, check) for check in checks(tiny=tiny)]
    yield from (case for case in found if case[1].width == 64)
    yield from forced_checks(tiny=tiny)
    yield from (case for case in found if case[1].width != 64)


def _laid_out(inputs: tuple[Tensor, ...], layout: str) -> tuple[Tensor, ...]:
    """q, k and v `[B, N, H, D]` with the same numbers and other strides."""
    q = inputs[0]
    if layout == "qkv":
        return torch.stack(inputs, 2).unbind(2)
    if layout == "heads_first":
        return tuple(x.transpose(1, 2).contiguous().transpose(1, 2) for x in inputs)
    if layout == "strided_channels":
        return tuple(torch.stack((x, x), -1)[..., 0] for x in inputs)
    assert layout == "contiguous", layout
    assert q.is_contiguous()
    return inputs


@contextmanager
def poisoned() -> Generator[None, None, None]:
    """Fill what `torch.empty` and its kin allocate with NaN."""
    before = torch.are_deterministic_algorithms_enabled()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of cuBLAS, which the reference calls
        torch.use_deterministic_algorithms(True, warn_only=True)
        try:
            assert torch.empty(1).isnan().item(), "this torch fills no memory"
            yield
        finally:
            torch.use_deterministic_algorithms(before)


def judge(
    check: Check,
    device: str,
    attention: Attention = linear_attention,
    rule: Rule | None = None,
) -> Outcome:
    """Compare `attention` with float64 on one case; failures are outcomes, not exceptions.

    Args:
        check: The case.
        device: As torch calls it.
        attention: What is compared.
        rule: The path that it is forced to take; None leaves it to the table.
    """
    *inputs, grad = check.inputs(device)
    # On the CPU: what is compared with a device owes it nothing, and a sanitizer sees kernels only.
    wide = [x.detach().cpu().double().requires_grad_() for x in inputs]
    expected = _results(attention_by_weights, check, wide, grad.cpu().double())
    leaves = [x.detach().requires_grad_() for x in inputs]
    with poisoned(), recording() as used, nullcontext() if rule is None else forced(rule):
        try:
            found = _results(attention, check, leaves, grad)
        except Exception as failure:  # noqa: BLE001 - a driver has many ways to fail
            text = (str(failure).splitlines() or [""])[0]
            return Outcome(check, "", "", (), f"{type(failure).__name__}: {text}", rule)
        forward, backward = ("+".join(used[name]) for name in ("forward", "backward"))
    errors = tuple(relative_error(*pair) for pair in zip(found, expected, strict=True))
    # Torch would pass, and say nothing of the kernels: there is one for every case.
    fallen = device.startswith("cuda") and "torch" in (forward, backward)
    failure = "ran in torch" if fallen and attention is linear_attention else ""
    return Outcome(check, forward, backward, errors, failure, rule)


@contextmanager
def forced(rule: Rule) -> Generator[None, None, None]:
    """Let CUDA calls take the path of one rule, whatever the checked-in table says."""
    table = choose.Table(measured=False, note="forced", rules=(rule,))
    with mock.patch.object(choose, "read_table", return_value=table):
        dispatch._cuda_pass.cache_clear()
        try:
            yield
        finally:
            dispatch._cuda_pass.cache_clear()


def _results(
    attention: Attention, check: Check, leaves: list[Tensor], grad: Tensor
) -> tuple[Tensor, ...]:
    q, k, v = leaves
    out = attention(q, k, v, check.feature_map, EPS)
    return (out.detach(), *torch.autograd.grad(out, leaves, grad))


def relative_error(found: Tensor, expected: Tensor) -> float:
    """||found - expected|| / ||expected|| in float64; of expected zeros, ||found||."""
    norm = expected.norm().item()
    return (found.to(expected) - expected).norm().item() / (norm or 1.0)


# Implementations that are wrong as a kernel would be.


def _forgets_the_last_query(q: Tensor, k: Tensor, v: Tensor, name: str, eps: float) -> Tensor:
    out = linear_attention(q, k, v, name, eps)
    written = torch.empty_like(out)
    written[:, :-1] = out[:, :-1]
    return written


def _forgets_the_last_key(q: Tensor, k: Tensor, v: Tensor, name: str, eps: float) -> Tensor:
    return linear_attention(q, k[:, :-1], v[:, :-1], name, eps) + 0 * k.sum()


def _halves_eps(q: Tensor, k: Tensor, v: Tensor, name: str, eps: float) -> Tensor:
    return linear_attention(q, k, v, name, eps / 2)


def _halves_a_gradient(q: Tensor, k: Tensor, v: Tensor, name: str, eps: float) -> Tensor:
    return linear_attention(q, (k + k.detach()) / 2, v, name, eps)


BROKEN = (_forgets_the_last_query, _forgets_the_last_key, _halves_eps, _halves_a_gradient)


def controls(device: str) -> dict[str, bool]:
    """Whether each broken implementation is rejected."""
    check = Check("relu", "float32", 64, 2, 9, 9, 2, "qkv")
    return {broken.__name__[1:]: not judge(check, device, broken).passed for broken in BROKEN}


def properties(device: str, *, tiny: bool = False) -> dict[str, bool]:
    """What holds for every implementation: the same bits twice, and no overflow in float16.

    And whoever trains from one buffer gets its gradient whole.
    """
    tokens = 64 if tiny else 16384
    check = Check("split_relu", "float16", 64, 1, tokens, tokens, 2, "qkv")
    *inputs, grad = check.inputs(device)
    runs: list[tuple[Tensor, ...]] = []
    for _ in range(2):
        leaves = [(20 * x).detach().requires_grad_() for x in inputs]
        runs.append(_results(linear_attention, check, leaves, grad))
    return {
        "same bits twice": all(map(torch.equal, *runs)),
        f"finite in float16 at {tokens} tokens": all(bool(x.isfinite().all()) for x in runs[0]),
        "a buffer's gradient is that of its views": all(
            _packed_as_views(dtype, device) for dtype in ("bfloat16", "float32")
        ),
    }


def _packed_as_views(dtype: str, device: str) -> bool:
    check = Check("split_relu", dtype, 64, 2, 70, 70, 2, "qkv")
    *inputs, grad = check.inputs(device)
    leaves = [x.detach().requires_grad_() for x in inputs]
    qkv = torch.stack(inputs, 2).requires_grad_()
    _, *expected = _results(linear_attention, check, leaves, grad)
    with poisoned():
        out = linear_attention_qkvpacked(qkv, check.feature_map, EPS)
        (found,) = torch.autograd.grad(out, qkv, grad)
    error = relative_error(found, torch.stack(expected, 2).double())
    return error <= TOLERANCES[dtype]


def replayed(check: Check, device: str) -> float:
    """The largest error of a CUDA graph of forward and backward, replayed on other inputs.

    Off CUDA the same function is called instead of captured.
    """
    *first, grad = check.inputs(device)
    leaves = [x.detach().clone().requires_grad_() for x in first]

    def step() -> tuple[Tensor, ...]:
        return _results(linear_attention, check, leaves, grad)

    others = [x.detach().flip(1).mul(0.5) for x in first]
    graph: Any = None
    results: tuple[Tensor, ...] = ()
    if device.startswith("cuda"):
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(3):  # compiles, loads and allocates what a capture must not
                step()
        torch.cuda.current_stream().wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            results = step()
    with torch.no_grad():
        for leaf, other in zip(leaves, others, strict=True):
            leaf.copy_(other)
    if graph is None:
        results = step()
    else:
        graph.replay()
    wide = [x.detach().double().requires_grad_() for x in others]
    expected = _results(attention_by_weights, check, wide, grad.double())
    return max(map(relative_error, results, expected))


SANITIZER = "compute-sanitizer"
FOUND_SOMETHING = 99


def sanitizer_path() -> str | None:
    """Where compute-sanitizer is: on the path, or in a toolkit."""
    folders = [os.environ.get("CUDA_HOME", ""), "/usr/local/cuda"]
    places = (str(Path(folder) / "bin" / SANITIZER) for folder in folders if folder)
    return next(filter(None, map(shutil.which, (SANITIZER, *places))), None)


def sanitize(tool: str, script: Path, device: str, seconds: float) -> str:
    """Run the sanitized cases under one tool: `clean`, or what is the matter."""
    sanitizer = sanitizer_path()
    if sanitizer is None:
        return f"not run: {SANITIZER} is not installed"
    words = [sanitizer, "--tool", tool, "--error-exitcode", str(FOUND_SOMETHING)]
    command = [*words, sys.executable, str(script), "--sanitized", "--device", device]
    # Every tensor an allocation of its own, or memcheck would see torch's large blocks only.
    environment = {**os.environ, "PYTORCH_NO_CUDA_MEMORY_CACHING": "1"}
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
            env=environment,
        )
    except subprocess.TimeoutExpired:
        return f"not finished in {seconds:.0f} s"
    except OSError as problem:
        return f"not run: {problem}"
    lines = (done.stdout + done.stderr).splitlines()
    if done.returncode == 0:
        return ": ".join(["clean", *lines[-1:]])  # the tool's own summary
    tail = " | ".join(lines[-6:])
    kind = "findings" if done.returncode == FOUND_SOMETHING else f"exit code {done.returncode}"
    return f"{kind}: {tail}"
