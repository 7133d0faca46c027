"""The table of CUDA paths from what `gpu_suite.py` measured.

    .venv/bin/python benchmarks/gpu_table.py benchmarks/results/DATE-gpu_suite-GPU.json [--write]

Prints into how many parts tokens are cut fastest, for every number of heads and of tokens that was
measured, as rules of `choices.toml`; `--write` replaces that file. A measured point stands for its
surroundings, up to half way (by ratio) to the next. Where the kernels' own plan is within 3 % of
the fastest there is no rule. Reports of a red gate, or of part of the points, are refused.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from linvit_runtime.kernels.cuda.choose import TABLE, Direction, Rule, write_rules

CLOSE = 1.03
"""How many times as long as the fastest the plan's own split may take."""

HALF = ("bfloat16", "float16")
GENERAL = (Rule("tensor", dtypes=HALF, capability_from=(8, 0)), Rule("simt"))
"""What calls take that no measured rule is about."""


class UnfitReport(ValueError):
    """A report that no table may be made of."""


Point = tuple[Direction, int, int]
"""Pass, B H and N."""


def rules_of(report: dict[str, Any]) -> list[Rule]:
    """The rules that a report supports, the general ones last.

    Raises:
        UnfitReport: Its gate is red, it is not of a GPU, or points are missing.
    """
    if report["gate"] != "green":
        raise UnfitReport(f"the gate is red: {report['gate']}")
    if "gpu" not in report:
        raise UnfitReport("it is not of a GPU")
    stage = report["stages"].get("splits", {})
    if "cases" not in stage or "cut" in stage:
        raise UnfitReport("`splits` was not finished: give it more time with --stages splits")
    major, minor = report["gpu"]["capability"]
    points: dict[Point, int] = {}
    for entry in stage["cases"]:
        case = entry["case"]
        direction: Direction = "backward" if case["backward"] else "forward"
        place: Point = (direction, case["batch"] * case["heads"], case["tokens"])
        points[place] = _split({int(split): us for split, us in entry["us"].items()})
    here = {"capability_from": (major, minor), "capability_below": (major + 1, 0)}
    measured = {"dtypes": HALF, "head_dims": (64,), **here}
    rules = [Rule("tensor", **measured, **rule) for rule in _bands(points)]
    return [*rules, *GENERAL]


Band = tuple[int, int | None]
"""From a number on, and below another."""


def _split(times: dict[int, float]) -> int:
    """The fastest split; 0, the plan's own, where that is close or nothing was measured."""
    best = min(times.values(), default=math.inf)
    if times.get(0, math.inf) <= CLOSE * best or not times:
        return 0
    return min(times, key=lambda split: times[split])


def _bands(points: dict[Point, int]) -> Iterator[dict[str, Any]]:
    """Fields of the rules; neighbours in tokens with the same split are one."""
    directions: tuple[Direction, ...] = ("forward", "backward")
    for direction in directions:
        heads = sorted({h for d, h, _ in points if d == direction})
        tokens = sorted({n for d, _, n in points if d == direction})
        for h, of_heads in zip(heads, _around(heads), strict=True):
            found: list[tuple[int, Band]] = []
            for n, band in zip(tokens, _around(tokens), strict=True):
                split = points[direction, h, n]
                if found and found[-1][0] == split:
                    band = found.pop()[1][0], band[1]
                found.append((split, band))
            for split, band in found:
                if split:
                    yield {
                        "split": split,
                        "directions": (direction,),
                        **dict(zip(("heads_from", "heads_below"), of_heads, strict=True)),
                        **dict(zip(("tokens_from", "tokens_below"), band, strict=True)),
                    }


def _around(numbers: Sequence[int]) -> list[Band]:
    """For each measured number the numbers that it stands for."""
    edges = [round(math.sqrt(a * b)) for a, b in itertools.pairwise(numbers)]
    return list(zip([0, *edges], [*edges, None], strict=True)) if numbers else []


def main() -> int:
    """Print the rules, and write them where asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("report", type=Path)
    parser.add_argument("--write", action="store_true", help=f"replace {TABLE.name}")
    options = parser.parse_args()
    report = json.loads(options.report.read_text(encoding="utf-8"))
    try:
        rules = rules_of(report)
    except UnfitReport as problem:
        parser.error(f"{options.report.name}: {problem}")
    for rule in rules:
        print(rule)
    if options.write:
        versions = report["versions"]
        tools = f"torch {versions['torch']}, numba-cuda {versions['numba-cuda']}"
        write_rules(rules, f"{report['gpu']['name']}, {report['date'][:10]}, {tools}")
        print(f"wrote {TABLE}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
