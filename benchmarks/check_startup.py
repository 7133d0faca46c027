"""How long `linvit check` takes from a cold process, beside an empty Python on the same machine.

    .venv/bin/python benchmarks/check_startup.py [SPEC ...] [--repeats N] [--save MACHINE]

Prints the minimum and median wall time in milliseconds of `linvit check` for every spec (by default
all shipped ones) and of `python -c pass`, interleaved, one process after the other. The gate: every
check must find the spec sound, and none may import torch. `--save` keeps the figures, with what
they were measured on, in `benchmarks/results/`.
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
import time
from pathlib import Path

from linvit_dsl import __version__
from linvit_dsl.check import shipped_specs

RESULTS = Path(__file__).parent / "results"


def run(*arguments: str) -> float:
    """Milliseconds of one process.

    Raises:
        SystemExit: It failed.
    """
    start = time.perf_counter()
    done = subprocess.run([sys.executable, *arguments], capture_output=True, check=False)
    elapsed = (time.perf_counter() - start) * 1000
    if done.returncode:
        raise SystemExit(f"{' '.join(arguments)} failed:\n{done.stderr.decode()}")
    return elapsed


def gate(spec: str) -> None:
    """Stop unless the check passes without torch.

    Raises:
        SystemExit: It does not.
    """
    code = (
        "import sys\nfrom linvit_dsl.cli import main\n"
        f"code = main(['check', {spec!r}])\n"
        "sys.exit(code or ('torch was imported' if 'torch' in sys.modules else 0))"
    )
    run("-c", code)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("specs", nargs="*", default=list(shipped_specs()))
    parser.add_argument("--repeats", type=int, default=10)
    parser.add_argument("--save", metavar="MACHINE", help="name of this machine in the results")
    options = parser.parse_args()
    commands: dict[str, tuple[str, ...]] = {"python -c pass": ("-c", "pass")}
    for spec in options.specs:
        gate(spec)
        commands[f"linvit check {spec}"] = ("-m", "linvit_dsl", "check", spec)
    times: dict[str, list[float]] = {name: [] for name in commands}
    for _ in range(options.repeats):
        for name, arguments in commands.items():
            times[name].append(run(*arguments))
    print(f"{'command':<34} {'min ms':>8} {'median ms':>10}")
    for name, values in times.items():
        print(f"{name:<34} {min(values):8.0f} {statistics.median(values):10.0f}")
    if options.save:
        save(options.save, times)


def save(machine: str, times: dict[str, list[float]]) -> None:
    """Write all times, in milliseconds, with what they were measured on."""
    today = dt.datetime.now(tz=dt.UTC).date().isoformat()
    facts = {
        "date": today,
        "machine": machine,
        "cpus": os.cpu_count(),
        "load": os.getloadavg(),
        "python": platform.python_version(),
        "linvit": __version__,
        "milliseconds": {name: [round(value, 1) for value in each] for name, each in times.items()},
    }
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{today}-check_startup-{machine}.json"
    path.write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")
    print(f"kept in {path}")


if __name__ == "__main__":
    main()
