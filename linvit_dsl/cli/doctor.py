"""`linvit doctor`: what this machine offers, and what linear attention on it really takes."""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from linvit_dsl import __version__
from linvit_dsl.cli.arguments import add_format
from linvit_dsl.cli.failures import REJECTED

if TYPE_CHECKING:
    from linvit_runtime.kernels.examination import Trial

EXAMPLES = """\
examples:
  linvit doctor                    a report for a person
  linvit doctor --format json      the same as data, for a report of a bug

Every device runs a small call of linear attention in every dtype, forward and
backward, and is compared with float64; what is named is what has run. The exit
code is 1 if a result is wrong or a kernel that belongs to the device did not
run, and 0 otherwise. The first time, kernels are compiled for some seconds.
"""

_INSTRUCTIONS = {16: "AVX-512", 8: "AVX2"}


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    parser.epilog = EXAMPLES
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    add_format(parser)
    parser.set_defaults(handler=run)


def run(options: argparse.Namespace) -> int:
    """Examine the machine, print the report, and say whether anything is broken."""
    from dataclasses import asdict

    from linvit_dsl.cli.output import show_json
    from linvit_runtime.kernels import examination

    facts: dict[str, Any] = {
        "linvit": __version__,
        "versions": examination.versions(),
        "cpu": examination.cpu_facts(),
        "cuda": examination.cuda_facts(),
        "pictures": _pictures(),
    }
    trials = list(examination.trials())
    broken = any(trial.problem for trial in trials)
    if options.format == "json":
        show_json({**facts, "attention": [asdict(trial) for trial in trials], "broken": broken})
    else:
        _print(facts, trials)
    return REJECTED if broken else 0


def _pictures() -> str | None:
    """What draws SVG, PNG and PDF; None where only DOT can be written."""
    from importlib.util import find_spec

    if shutil.which("dot"):
        return "Graphviz"
    return "pygraphviz" if find_spec("pygraphviz") else None


def _print(facts: dict[str, Any], trials: Sequence[Trial]) -> None:
    from linvit_dsl.cli.table import table

    lines = [("linvit", facts["linvit"]), *_lines(facts)]
    width = max(len(name) for name, _ in lines)
    for name, text in lines:
        print(f"{name:<{width}}  {text}")
    cells = [
        (
            trial.device,
            trial.dtype,
            trial.forward or "none",
            trial.backward or "none",
            "" if trial.error is None else f"{trial.error:.0e}",
            "; ".join(filter(None, (trial.problem and f"BROKEN: {trial.problem}", trial.reason)))
            or "ok",
        )
        for trial in trials
    ]
    headings = ("device", "dtype", "forward", "backward", "error", "verdict")
    print()
    print(table(headings, cells, (True, True, True, True, False, True)), end="")


def _lines(facts: dict[str, Any]) -> Iterator[tuple[str, str]]:
    versions, cpu, cuda = facts["versions"], facts["cpu"], facts["cuda"]
    for name, installed in versions.items():
        yield name, installed or "not installed"
    lanes = cpu["vector_lanes"]
    instructions = _INSTRUCTIONS.get(lanes, "no AVX2")
    threads = f"{cpu['torch_threads']} threads of {cpu['cpus']} CPUs"
    yield "CPU", f"{cpu['processor']}, {lanes} float32 per vector ({instructions}), {threads}"
    yield "OpenMP", cpu["openmp"] or "not torch's: CPU kernels run on the calling thread"
    yield "CPU kernels", _cache(cpu["cache"], cpu["cache_bytes"])
    if not cuda["devices"]:
        built = "torch is built for CPUs" if cuda["torch_cuda"] is None else "torch sees none"
        yield "CUDA device", f"none: {built}"
    for device in cuda["devices"]:
        memory = f"{device['bytes'] / 2**30:.0f} GiB"
        yield "CUDA device", f"{device['name']}, {device['arch']}, {memory}"
    yield "CUDA compilers", _compilers(cuda)
    if cuda["mismatch"]:
        yield "CUDA versions", cuda["mismatch"]
    count = f"{cuda['cached_kernels']} kernels, "
    yield "CUDA kernels", count + _cache(cuda["cache"], cuda["cache_bytes"])
    yield "pictures", facts["pictures"] or "DOT only: neither Graphviz nor pygraphviz is installed"


def _compilers(cuda: dict[str, Any]) -> str:
    if missing := cuda["missing_compilers"]:
        return f"not found: {', '.join(missing)} (pip install 'linvit[cuda]')"
    problem = cuda["compiler_problem"]
    return problem or "a kernel was compiled by NVVM and nvJitLink, without needing a GPU"


def _cache(folder: str | None, size: int) -> str:
    if folder is None:
        return "not kept: every process compiles them anew"
    return f"{size / 2**20:.1f} MiB in {folder}"
