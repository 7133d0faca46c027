"""Where linear attention is faster with all pairs of tokens first: the table of a compiler pass.

    .venv/bin/python benchmarks/attention_order.py [--save MACHINE] [--write]

Times both orders of `linear_attention` on one thread, forward and forward with backward, over head
widths and numbers of tokens, and prints the milliseconds of each and the break-even: the largest
number of tokens up to which `order="quadratic"` is faster both ways. The gate: both orders agree
with each other before anything is timed. `--write` puts the break-evens into the compiler
(`codegen/linvit_codegen/passes/order_table.py`), `--save` keeps all figures in
`benchmarks/results/`.
"""

from __future__ import annotations

import argparse
import datetime as dt
import json
import os
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from linvit_dsl import __version__
from linvit_runtime.kernels import FEATURE_MAPS, backends_used, linear_attention

RESULTS = Path(__file__).parent / "results"
TABLE = Path(__file__).parents[1] / "codegen/linvit_codegen/passes/order_table.py"
WIDTHS = (8, 16, 32, 64)
TOKENS = (4, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256)
CHANNELS = 192
"""Of all heads together."""
NUMBERS = 16 * 64 * CHANNELS
"""In q of one call, at any number of tokens: a batch of 16 images of 64 tokens."""

Row = dict[str, Any]
Run = Callable[[str], Tensor]


def problem(
    tokens: int, width: int, feature_map: str, dtype: torch.dtype = torch.float32
) -> tuple[Run, Run]:
    """The forward pass, and that with the backward pass, in a given order."""
    batch = max(1, NUMBERS // (tokens * CHANNELS))
    generator = torch.Generator().manual_seed(0)
    qkv = torch.randn(batch, tokens, 3, CHANNELS // width, width, generator=generator, dtype=dtype)
    weight = torch.randn(batch, tokens, CHANNELS, generator=generator, dtype=dtype)

    def forward(order: str) -> Tensor:
        with torch.no_grad():
            return linear_attention(*qkv.unbind(2), feature_map=feature_map, order=order)

    def train(order: str) -> Tensor:
        leaf = qkv.detach().requires_grad_()
        out = linear_attention(*leaf.unbind(2), feature_map=feature_map, order=order)
        out.backward(weight)
        assert leaf.grad is not None
        return leaf.grad

    return forward, train


def gate(tokens: int, width: int, feature_map: str) -> None:
    """Stop unless both orders agree, in float64."""
    for run in problem(tokens, width, feature_map, torch.float64):
        torch.testing.assert_close(run("quadratic"), run("linear"), rtol=1e-7, atol=1e-9)


def milliseconds(run: Run, repeats: int) -> dict[str, float]:
    """The median time of each order, taken in turns."""
    times: dict[str, list[float]] = {"linear": [], "quadratic": []}
    for _ in range(repeats):
        for order, values in times.items():
            start = time.perf_counter()
            run(order)
            values.append((time.perf_counter() - start) * 1000)
    return {order: statistics.median(values) for order, values in times.items()}


def measure(repeats: int) -> list[Row]:
    """Every row of the table, printed as it is measured."""
    rows: list[Row] = []
    print(f"{'map':<13} {'width':>5} {'tokens':>6} {'forward ms':>18} {'with backward ms':>18}")
    for feature_map in FEATURE_MAPS:
        for width in WIDTHS:
            for tokens in TOKENS:
                gate(tokens, width, feature_map)
                forward, train = problem(tokens, width, feature_map)
                times = milliseconds(forward, repeats), milliseconds(train, repeats)
                cells = [f"{t['linear']:8.2f} {t['quadratic']:8.2f}" for t in times]
                print(f"{feature_map:<13} {width:>5} {tokens:>6} {cells[0]:>18} {cells[1]:>18}")
                row = {"map": feature_map, "width": width, "tokens": tokens}
                rows.append(row | {"forward": times[0], "training": times[1]})
    return rows


def break_evens(rows: list[Row]) -> dict[tuple[str, int], int]:
    """The largest number of tokens up to which quadratic is faster, forward and in training."""
    found: dict[tuple[str, int], int] = {}
    lost: set[tuple[str, int]] = set()
    for row in rows:
        key = row["map"], row["width"]
        wins = all(row[way]["quadratic"] < row[way]["linear"] for way in ("forward", "training"))
        if not wins:
            lost.add(key)
        found.setdefault(key, 0)
        if key not in lost:
            found[key] = row["tokens"]
    return found


def write(machine: str, found: dict[tuple[str, int], int]) -> None:
    """Put the break-evens into the compiler."""
    today = dt.datetime.now(tz=dt.UTC).date().isoformat()
    lines = [f'    ("{name}", {width}): {tokens},' for (name, width), tokens in found.items()]
    TABLE.write_text(
        '"""Written by benchmarks/attention_order.py: measured, not to be edited."""\n\n'
        f'MACHINE = "{machine}, torch {torch.__version__}, 1 thread"\n'
        f'DATE = "{today}"\n\n'
        "BREAK_EVEN: dict[tuple[str, int], int] = {\n" + "\n".join(lines) + "\n}\n"
        '"""Feature map, head width -> up to how many tokens `order="quadratic"` is faster."""\n',
        encoding="utf-8",
    )


def main() -> None:
    """Measure, print, and keep what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--save", metavar="MACHINE", help="name of this machine in the results")
    parser.add_argument("--write", action="store_true", help="replace the compiler's table")
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows = measure(options.repeats)
    found = break_evens(rows)
    for (name, width), tokens in found.items():
        print(f"{name}, width {width}: quadratic up to {tokens} tokens")
    machine = options.save or platform.machine()
    if options.write:
        write(machine, found)
    if options.save:
        today = dt.datetime.now(tz=dt.UTC).date().isoformat()
        facts = {
            "date": today,
            "machine": machine,
            "load": os.getloadavg(),
            "python": platform.python_version(),
            "torch": torch.__version__,
            "linvit": __version__,
            "backends": backends_used(),
            "milliseconds": rows,
        }
        RESULTS.mkdir(exist_ok=True)
        path = RESULTS / f"{today}-attention_order-{machine}.json"
        path.write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")
        print(f"kept in {path}")


if __name__ == "__main__":
    main()
