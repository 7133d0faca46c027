"""The measurements of a run: one JSON object per line, never rewritten while the run lasts.

Every record holds `kind` and `step`. A resumed run drops what was measured after the step it
resumes from, so that a step appears once, as if the run had never been cut.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Self

from linvit_runtime.durable import replace_file
from linvit_runtime.train.problems import storing

Record = dict[str, Any]


class MetricsLog:
    """Appends records to `metrics.jsonl` and remembers the evaluations.

    Args:
        path: the file; created if absent.
        step: the step the run resumes from; records of later steps are dropped.

    Attributes:
        evaluations: the records of kind `eval`, oldest first.
    """

    def __init__(self, path: Path, step: int) -> None:
        kept = [record for record in read_metrics(path) if record["step"] <= step]
        self.evaluations = [record for record in kept if record["kind"] == "eval"]
        self._path = path
        with storing(path):
            if path.exists():
                replace_file(path, b"".join(_line(record) for record in kept))
            self._stream = path.open("ab", buffering=0)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stream.close()

    def append(self, kind: str, step: int, values: Mapping[str, Any]) -> None:
        """Append one record, in one write.

        Raises:
            StorageProblem: The disk is full or failed.
        """
        record = {"kind": kind, "step": step, **values}
        with storing(self._path):
            self._stream.write(_line(record))
        if kind == "eval":
            self.evaluations.append(record)

    def sync(self) -> None:
        """Force everything appended so far to the disk."""
        with storing(self._path):
            os.fsync(self._stream.fileno())

    def best(self) -> Record | None:
        """The first evaluation with the highest top-1 accuracy."""
        return best_evaluation(self.evaluations)


def read_metrics(path: Path) -> list[Record]:
    """The records of a metrics file, oldest first; a last line that a crash tore is left out."""
    if not path.exists():
        return []
    records: list[Record] = []
    for line in path.read_bytes().split(b"\n"):
        try:
            record = json.loads(line)
        except ValueError:
            continue
        if isinstance(record, dict) and "kind" in record and isinstance(record.get("step"), int):
            records.append(record)
    return records


def best_evaluation(records: Iterable[Record]) -> Record | None:
    """The first evaluation among `records` with the highest top-1 accuracy."""
    evaluations = (record for record in records if record["kind"] == "eval")
    return max(evaluations, key=lambda record: record["top1"], default=None)


def _line(record: Record) -> bytes:
    return json.dumps(record, allow_nan=False).encode() + b"\n"
