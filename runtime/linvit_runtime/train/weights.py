"""Put saved weights into a model."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Literal

from torch import Tensor, nn

from linvit_runtime.train.checkpoint import CheckpointStore
from linvit_runtime.train.metrics import best_evaluation, read_metrics
from linvit_runtime.train.problems import CheckpointProblem
from linvit_runtime.train.run_folder import CHECKPOINTS, METRICS, read_config


def load_weights(
    directory: Path,
    model: nn.Module,
    which: Literal["best", "last"] = "best",
    warn: Callable[[str], None] = warnings.warn,
) -> int:
    """Load the weights of a run into `model`: the averaged ones where the recipe averages.

    Args:
        directory: the run folder.
        model: of the run's architecture.
        which: the checkpoint of the best evaluation, or the newest one.
        warn: takes a sentence about a damaged checkpoint that is passed over.

    Returns:
        The step of the checkpoint.

    Raises:
        SetupProblem: `directory` is no run folder.
        CheckpointProblem: It has no whole checkpoint, or that is of another architecture.
    """
    read_config(directory)
    store = CheckpointStore(directory / CHECKPOINTS, warn)
    best = best_evaluation(read_metrics(directory / METRICS)) if which == "best" else None
    if best is not None and best["step"] in store.steps():
        checkpoint = store.load(best["step"])
    else:
        checkpoint = store.load_latest()
    if checkpoint is None:
        raise CheckpointProblem(f"{directory} has no checkpoint yet")
    part = "ema" if "ema" in checkpoint.tensors else "model"
    load_tensors(model, checkpoint.tensors[part], checkpoint.path / f"{part}.safetensors")
    return checkpoint.step


def load_tensors(model: nn.Module, tensors: Mapping[str, Tensor], path: Path) -> None:
    """Load exactly the tensors of `model`, read from `path`.

    Raises:
        CheckpointProblem: A name is absent, unknown or has another shape.
    """
    own = model.state_dict()
    wrong = [
        name for name in sorted({*own, *tensors}) if not _fits(own.get(name), tensors.get(name))
    ]
    if wrong:
        name, others = wrong[0], f", and {len(wrong) - 1} more" if len(wrong) > 1 else ""
        there, here = (_shape(group.get(name)) for group in (tensors, own))
        # The same names with other shapes: the text is the same, its numbers are not.
        same = own.keys() == tensors.keys()
        raise CheckpointProblem(
            f"{path} does not fit the model: `{name}` has {there} there and {here} here{others}",
            "it was saved with other static parameters, perhaps for images of another size"
            if same
            else "it was saved by another architecture, or for images of another size",
        )
    model.load_state_dict(dict(tensors))


def _fits(here: Tensor | None, there: Tensor | None) -> bool:
    return here is not None and there is not None and here.shape == there.shape


def _shape(tensor: Tensor | None) -> str:
    return "nothing" if tensor is None else f"shape {list(tensor.shape)}"
