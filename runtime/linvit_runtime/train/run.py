"""What to train and where to record it: the seam between the compiler and the training loop."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TextIO

from torch import nn

from linvit_dsl.check.recipe import Recipe
from linvit_runtime.data import DataSet
from linvit_runtime.train.evaluation import Evaluation


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One training run.

    Attributes:
        name: the model's name, for the record.
        build_model: makes the model, [B, C, H, W] float32 to [B, K] scores. Its weights are drawn
            from torch's global generator, which is seeded from the recipe's seed before the call.
        recipe: every setting, the seed included.
        data: the images.
        directory: the run folder; made if absent.
        files: texts to record in the run folder, by file name: `spec.vit`, `model.py`.
        model_sha256: hash of the checked graph of the model, which tells it from other variants of
            its spec; None: the hash of `files`.
        image_shape: (C, H, W) that the model takes, to be compared with the data; None: unchecked.
        classes: K, likewise.
        device: `auto`, `cpu` or `cuda`.
        resume: `auto` goes on from the newest checkpoint if there is one, `must` insists on one,
            `never` refuses a folder that has one.
        stop_after: end, saved and resumable, after this many optimizer steps.
        output: where progress goes; None: standard output.
    """

    name: str
    build_model: Callable[[], nn.Module]
    recipe: Recipe
    data: DataSet
    directory: Path
    files: Mapping[str, str] = field(default_factory=dict[str, str])
    model_sha256: str | None = None
    image_shape: tuple[int, int, int] | None = None
    classes: int | None = None
    device: str = "auto"
    resume: Literal["auto", "must", "never"] = "auto"
    stop_after: int | None = None
    output: TextIO | None = None

    @property
    def config(self) -> dict[str, Any]:
        """Everything that decides the result, as JSON values. Equal configs give equal weights."""
        return {
            "model": self.name,
            "model_sha256": self.model_sha256 or _hash(dict(self.files)),
            "recipe": self.recipe.model_dump(mode="json"),
            "data": {"id": self.data.id, "sha256": self.data.sha256},
        }

    @property
    def id(self) -> str:
        """SHA-256 of `config`, in hexadecimal."""
        return _hash(self.config)


@dataclass(frozen=True, slots=True)
class Result:
    """How a run ended.

    Attributes:
        directory: the run folder.
        step: optimizer steps taken in all.
        finished: whether that is the whole recipe.
        resumed_from: the step that this process began at; None: it began from nothing.
        last: the newest evaluation; None if the run was cut before the first.
        best: the one with the highest top-1 accuracy.
        best_step: the step of `best`; its checkpoint is kept.
        seconds: time that this process took.
    """

    directory: Path
    step: int
    finished: bool
    resumed_from: int | None
    last: Evaluation | None
    best: Evaluation | None
    best_step: int | None
    seconds: float


def run_directory(root: Path, spec: str, run_id: str, data: str) -> Path:
    """The folder of a run under `root`, named by its content: the same run, the same folder."""
    return root / f"{spec}-{data}-{run_id[:8]}"


def _hash(value: Mapping[str, Any]) -> str:
    """SHA-256 of a JSON object, whatever the order of its fields."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
