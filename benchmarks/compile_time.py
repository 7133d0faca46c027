"""How long compiling takes in a warm process, and how that grows with the size of a model.

    .venv/bin/python benchmarks/compile_time.py [SPEC ...] [--repeats N] [--save MACHINE]

For every model of every spec (by default the shipped ones): the median CPU milliseconds from text
to verified Python, and of its parts: reading (scan, parse, resolve), elaborating, and generating
(passes, emitting, verifying). CPU time, because the machine may be shared; nothing is cached from
one compile to the next. Then the growth curve: generated specs of 100 to 10,000 nodes, in two
forms, a chain of different statements in one block and a stack of loops over blocks. The gate:
every module compiles at every level, and the model of a curve has as many nodes as it should.
"""

from __future__ import annotations

import argparse
import datetime as dt
import json
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from linvit_codegen import Options, generate
from linvit_codegen.passes import LEVELS
from linvit_dsl import __version__
from linvit_dsl.check import elaborate, find_spec, open_program, shipped_specs
from linvit_dsl.graph.ir import Call, Graph

RESULTS = Path(__file__).parent / "results"
SIZES = (100, 300, 1000, 3000, 10_000)
PARTS = ("read", "elaborate", "generate")


@dataclass(frozen=True, slots=True)
class Row:
    """One model and the milliseconds of its parts."""

    model: str
    nodes: int
    milliseconds: dict[str, float]

    @property
    def total(self) -> float:
        """From text to code."""
        return sum(self.milliseconds.values())


def compile_once(path: Path, model: str | None) -> tuple[Graph, list[float]]:
    """Compile from scratch; the CPU milliseconds of each part."""
    marks = [time.process_time()]
    program = open_program(path)
    marks.append(time.process_time())
    found = elaborate(program, model, {})
    marks.append(time.process_time())
    generate(found.graph, sources=program.sources)
    marks.append(time.process_time())
    pairs = pairwise(marks)
    return found.graph, [(after - before) * 1000 for before, after in pairs]


def measure(path: Path, model: str | None, name: str, repeats: int) -> Row:
    """The medians after one compile that does not count."""
    graph, _ = compile_once(path, model)
    for level in LEVELS:
        generate(graph, options=Options(level=level, validated=True))
    times = [compile_once(path, model)[1] for _ in range(repeats)]
    medians = [statistics.median(column) for column in zip(*times, strict=True)]
    return Row(name, nodes_of(graph, {}), dict(zip(PARTS, medians, strict=True)))


def nodes_of(graph: Graph, known: dict[Graph, int]) -> int:
    """How many operators and tensors one execution goes through, blocks and loops opened."""
    if graph not in known:
        known[graph] = sum(
            nodes_of(node.graph, known) if isinstance(node, Call) else 1 for node in graph.walk()
        )
    return known[graph]


def chain(nodes: int) -> str:
    """A block of `nodes` statements, all different."""
    names = ("relu", "gelu", "exp", "tanh")
    lines = [f"  x{i + 1} = {names[i % 4]}(x{i})" for i in range(nodes)]
    return "\n".join(["model Chain(x0: [B, 8]) -> [B, 8] {", *lines, f"  return x{nodes}", "}", ""])


def stack(nodes: int) -> str:
    """Loops over blocks with weights, `nodes` operators in all."""
    rounds = max(1, nodes // 10)
    return f"""
block Layer[rate: prob](x: [B, n, d]) -> [B, n, d] {{
  y = x |> layernorm@norm |> linear[d]@q |> gelu |> linear[d]@k |> dropout[rate]
  x = x + y * y
  return relu(x) + tanh(y)
}}
model Stack(x: [B, 8, 16]) -> [B, 8, 16] {{
  repeat {rounds} as i {{ x = x |> Layer[0.5 * i / {rounds + 1}]@layers }}
  return x
}}
"""


def curve(name: str, text: Callable[[int], str], repeats: int) -> list[Row]:
    """A generated spec at every size.

    Raises:
        SystemExit: A model is not as large as it should be.
    """
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as folder:
        for size in SIZES:
            path = Path(folder) / f"{name}.vit"
            path.write_text(text(size), encoding="utf-8")
            row = measure(path, None, f"{name} {size}", repeats)
            if abs(row.nodes - size) > size * 0.1:
                raise SystemExit(f"{name} {size} has {row.nodes} nodes")
            show(row)
            rows.append(row)
    return rows


def show(row: Row) -> None:
    """Print one line of the table."""
    parts = " ".join(f"{row.milliseconds[part]:10.1f}" for part in PARTS)
    per_node = 1000 * row.total / row.nodes
    print(f"{row.model:<34} {row.nodes:>6} {parts} {row.total:10.1f} {per_node:9.0f}", flush=True)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("specs", nargs="*", default=list(shipped_specs()))
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--save", metavar="MACHINE", help="name of this machine in the results")
    options = parser.parse_args()
    heads = " ".join(f"{part:>10}" for part in (*PARTS, "total ms"))
    print(f"{'model':<34} {'nodes':>6} {heads} {'us/node':>9}")
    rows: list[Row] = []
    for spec in options.specs:
        path, _ = find_spec(spec)
        for model in open_program(path).models:
            rows.append(measure(path, model, f"{spec}:{model}", options.repeats))
            show(rows[-1])
    for name, text in (("chain", chain), ("stack", stack)):
        rows += curve(name, text, max(3, options.repeats // 3))
    if options.save:
        save(options.save, rows)


def save(machine: str, rows: list[Row]) -> None:
    """Keep the medians, with what they were measured on."""
    today = dt.datetime.now(tz=dt.UTC).date().isoformat()
    facts = {
        "date": today,
        "machine": machine,
        "cpus": os.cpu_count(),
        "load": os.getloadavg(),
        "python": platform.python_version(),
        "linvit": __version__,
        "cpu_milliseconds": [
            {"model": row.model, "nodes": row.nodes}
            | {part: round(value, 1) for part, value in row.milliseconds.items()}
            for row in rows
        ],
    }
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{today}-compile_time-{machine}.json"
    path.write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")
    print(f"kept in {path}")


if __name__ == "__main__":
    main()
