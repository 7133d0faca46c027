"""`linvit cost --kernels`: what the attention of every layer runs on, and why.

Asked of the rules by which calls are dispatched, not of a device: neither torch nor Numba loads.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from linvit_dsl.cli.arguments import open_spec, settings
from linvit_dsl.cli.failures import UsageProblem

if TYPE_CHECKING:
    from linvit_codegen.kernel_calls import AttentionLayer, KernelCall

DTYPES = ("float32", "bfloat16", "float16", "float64")
CPU = "cpu"


@dataclass(frozen=True, slots=True)
class _Row:
    """One layer of a model on one device."""

    model: str
    layer: str
    count: int
    attention: str
    batch: int
    queries: int
    keys: int
    heads: int
    head_dim: int
    value_dim: int
    device: str
    dtype: str
    forward: str
    backward: str
    why: str


def add_kernel_options(parser: argparse.ArgumentParser) -> None:
    """Add `--kernels` and what goes with it."""
    parser.add_argument(
        "--kernels",
        action="store_true",
        help="say what the attention of every layer runs on, and why",
    )
    parser.add_argument(
        "--arch",
        metavar="DEVICES",
        help="with --kernels: as cpu,sm_80,sm_90 (default: cpu and this machine's GPUs)",
    )
    parser.add_argument(
        "--dtype",
        metavar="DTYPE",
        choices=DTYPES,
        help="with --kernels: of q, k and v (default: float32 on a CPU, bfloat16 on a GPU)",
    )


def refuse_kernel_options(options: argparse.Namespace) -> None:
    """Demand that nothing is asked about kernels where they are not.

    Raises:
        UsageProblem: Something is.
    """
    for name in ("arch", "dtype"):
        if getattr(options, name) is not None:
            raise UsageProblem(f"--{name} goes with --kernels")


def show_kernels(options: argparse.Namespace) -> int:
    """Print a line per layer and device, of the model named or of all models of the file."""
    from linvit_dsl.cli.output import show_json

    if options.advice or options.depth is not None:
        raise UsageProblem("--kernels stands alone, without --advice and --depth")
    devices = _devices(options.arch)
    rows = list(_rows(options, devices))
    if options.format == "json":
        show_json([asdict(row) for row in rows])
    else:
        _print(rows, options.batch)
    return 0


def _devices(text: str | None) -> Sequence[str]:
    """The devices that are asked for, or those of this machine.

    Raises:
        UsageProblem: One is neither `cpu` nor an architecture.
    """
    from linvit_runtime.kernels.explanation import parse_arch

    if text is None:
        return (CPU, *_gpus())
    words = tuple(dict.fromkeys(word.strip() for word in text.split(",")))
    for word in words:
        try:
            _ = word == CPU or parse_arch(word)
        except ValueError as problem:
            raise UsageProblem(f"--arch: {problem}, or cpu") from problem
    return words


def _gpus() -> Sequence[str]:
    """The architectures of this machine's GPUs, asked of the driver's tool: torch is not loaded."""
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return ()
    command = [tool, "--query-gpu=compute_cap", "--format=csv,noheader"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return ()
    found = (f"sm_{line.strip().replace('.', '')}" for line in done.stdout.splitlines())
    return tuple(dict.fromkeys(arch for arch in found if arch[3:].isdigit()))


def _rows(options: argparse.Namespace, devices: Sequence[str]) -> Iterator[_Row]:
    from linvit_codegen.kernel_calls import attention_layers
    from linvit_dsl.check import elaborate
    from linvit_dsl.cli.output import show

    overrides = settings(options.set)
    program, name = open_spec(options.spec)
    # A parameter that is set may be one of the first model only.
    names = (name,) if name or overrides else program.models
    for each in names:
        model = elaborate(program, each, overrides)
        show(model.warnings, stream=sys.stderr)
        for layer in attention_layers(model.graph):
            for device in devices:
                dtype = options.dtype or ("float32" if device == CPU else "bfloat16")
                yield _row(model.name, layer, device, dtype, options.batch)


def _row(model: str, layer: AttentionLayer, device: str, dtype: str, images: int) -> _Row:
    from linvit_codegen.kernel_calls import KernelCall

    call = layer.call
    if isinstance(call, KernelCall):
        operator = f"linear, {call.feature_map}"
        runs = _linear(call, device, dtype, images)
    else:
        operator = "softmax"
        runs = ("SDPA", "SDPA", "torch chooses among its kernels of softmax attention")
    sizes = (call.queries, call.keys, call.heads, call.head_dim, call.value_dim)
    place = (model, layer.path, layer.count, operator, images * call.batch)
    return _Row(*place, *sizes, device, dtype, *runs)


def _linear(call: KernelCall, device: str, dtype: str, images: int) -> tuple[str, str, str]:
    """Forward, backward and why of a call of `linear_attention`."""
    from linvit_codegen.passes.order_table import DATE, MACHINE
    from linvit_runtime.kernels.explanation import explain

    if call.order == "quadratic" and device == CPU:
        why = f"all pairs of tokens first: measured as faster on {MACHINE}, {DATE}"
        return "torch-quadratic", "torch", why
    forward, backward = explain(
        call.feature_map,
        dtype,
        device,
        batch=images * call.batch,
        queries=call.queries,
        keys=call.keys,
        heads=call.heads,
        head_dim=call.head_dim,
        value_dim=call.value_dim,
    )
    why = forward.reason
    if backward.reason != forward.reason:
        why = f"forward: {forward.reason}; backward: {backward.reason}"
    return forward.backend, backward.backend, why


def _print(rows: Sequence[_Row], images: int) -> None:
    from linvit_dsl.cli.table import table

    if not rows:
        print("no attention here: no kernel is called")
        return
    counted = "1 image" if images == 1 else f"{images} images"
    headings = ("layer", "calls", "attention", "B", "N", "L", "H", "D", "E")
    headings += ("device", "dtype", "forward", "backward", "why")
    left = (True, False, True, *(False,) * 6, *(True,) * 5)
    for index, model in enumerate(dict.fromkeys(row.model for row in rows)):
        cells = [
            tuple(str(value) for value in list(asdict(row).values())[1:])
            for row in rows
            if row.model == model
        ]
        if index:
            print()
        print(f"{model}, {counted}\n")
        print(table(headings, cells, left), end="")
