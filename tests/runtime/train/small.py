"""A run of a dozen steps that still has everything a long one has.

Dropout, batch statistics, warm-up, cosine, mixup, random crops, averaged weights: whatever a resume
could lose is there to be lost.
"""

import io
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from linvit_dsl.check.recipe import Recipe, check_recipe
from linvit_runtime.data import DataSet, load
from linvit_runtime.train import Run

EPOCHS, STEPS_PER_EPOCH = 4, 3
STEPS = EPOCHS * STEPS_PER_EPOCH
RECIPE: dict[str, Any] = {
    "data": {"name": "digits", "batch": 32, "augment": [{"name": "random_crop", "pad": 1}]},
    "optimizer": {"lr": 0.01, "clip": 1.0},
    "schedule": {"epochs": EPOCHS, "warmup": "2it", "min_lr": 1e-4},
    "label_smoothing": 0.1,
    "mixup": 0.4,
    "ema": 0.9,
    "seed": 3,
    "eval_every": "2ep",
    "save_every": "1it",
}


class SmallNet(nn.Module):
    """64 -> 16 -> 10, with batch norm (buffers) and dropout."""

    def __init__(self, dropout: float = 0.2) -> None:
        super().__init__()
        self.hidden = nn.Linear(64, 16)
        self.norm = nn.BatchNorm1d(16)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(16, 10)

    def forward(self, images: Tensor) -> Tensor:
        """[B, 1, 8, 8] to [B, 10]."""
        return self.head(self.dropout(self.norm(self.hidden(images.flatten(1))).relu()))


def small_data() -> DataSet:
    """The first 100 digits to train on, 60 others to test on."""
    data = load("digits")
    return replace(
        data,
        train_images=data.train_images[:100],
        train_labels=data.train_labels[:100],
        test_images=data.test_images[:60],
        test_labels=data.test_labels[:60],
    )


def recipe(**changes: Any) -> Recipe:
    """`RECIPE` with top-level fields replaced; None leaves a field out."""
    values = {k: v for k, v in {**RECIPE, **changes}.items() if v is not None}
    checked = check_recipe(values)
    assert isinstance(checked, Recipe), checked
    return checked


def small_run(directory: Path, model: Callable[[], nn.Module] = SmallNet, **settings: Any) -> Run:
    """A run in `directory`; `settings` go to `Run`."""
    given: dict[str, Any] = {
        "name": "SmallNet",
        "build_model": model,
        "recipe": recipe(),
        "data": small_data(),
        "files": {"spec.vit": "model SmallNet", "model.py": "class SmallNet: ..."},
        "device": "cpu",
        "output": io.StringIO(),
    }
    return Run(directory=directory, **{**given, **settings})


def printed(run: Run) -> str:
    """What `run` has shown of its progress."""
    assert isinstance(run.output, io.StringIO)
    return run.output.getvalue()
