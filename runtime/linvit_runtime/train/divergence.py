"""Find out where a loss or gradient stopped being finite, and write it down."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from linvit_dsl.check.recipe import Recipe
from linvit_runtime.durable import replace_file
from linvit_runtime.train.batches import Batch
from linvit_runtime.train.keys import Purpose, reseed
from linvit_runtime.train.problems import Diverged
from linvit_runtime.train.step import StepOutcome, forward_loss


def report_divergence(
    directory: Path, step: int, model: nn.Module, batch: Batch, recipe: Recipe, outcome: StepOutcome
) -> Diverged:
    """Write `crash-<step>/report.json` under `directory`; give the problem to raise.

    The forward pass is run once more, with the same dropout, to find the first layer whose output
    is not finite.

    Args:
        directory: the run folder.
        step: the step that was not taken, from 0.
        model: with the weights before that step and the gradients of it.
        batch: its input.
        recipe: of the run.
        outcome: what the step measured.
    """
    gradients = [n for n, p in model.named_parameters() if p.grad is not None and _broken(p.grad)]
    weights = [n for n, t in model.state_dict().items() if _broken(t)]
    place = "the input" if _broken(batch.images) else None
    place = place or (f"weight {weights[0]}" if weights else None)
    layer = _first_broken_layer(model, batch, recipe, step)
    place = place or (f"layer {layer}" if layer else None)
    place = place or (f"the gradient of {gradients[0]}" if gradients else "the loss")
    report: dict[str, Any] = {
        "step": step,
        "loss": repr(outcome.loss),
        "grad_norm": repr(outcome.grad_norm),
        "first_seen_in": place,
        "layer": layer,
        "gradients": gradients,
        "weights": weights,
        "image_indices": batch.indices.tolist(),
    }
    folder = directory / f"crash-{step}"
    with suppress(OSError):  # that training diverged is the news, even if the disk is full too
        folder.mkdir(exist_ok=True)
        replace_file(folder / "report.json", json.dumps(report, indent=2).encode() + b"\n")
    return Diverged(
        f"loss {outcome.loss} and gradient norm {outcome.grad_norm} at step {step}: first seen in "
        f"{place}; no step was taken, {folder} says more",
        "lower `lr`, lengthen `warmup`, or set `clip`; the checkpoints are from before",
    )


def _first_broken_layer(model: nn.Module, batch: Batch, recipe: Recipe, step: int) -> str | None:
    """The first module, in order of execution, whose output is not finite; None if there is none.

    A module ends before the one that contains it, so the innermost one is found.
    """
    found: list[str] = []

    def look(name: str, _module: nn.Module, _inputs: object, output: object) -> None:
        if not found and any(_broken(tensor) for tensor in _tensors(output)):
            found.append(name or "the model's output")

    handles = [m.register_forward_hook(partial(look, name)) for name, m in model.named_modules()]
    try:
        reseed(recipe.seed, Purpose.DROPOUT, step, 0)
        with torch.no_grad():
            forward_loss(model, batch.images, batch.targets, recipe)
    finally:
        for handle in handles:
            handle.remove()
    return found[0] if found else None


def _tensors(output: object) -> Iterator[Tensor]:
    if isinstance(output, Tensor):
        yield output
    elif isinstance(output, tuple | list):
        for part in output:
            yield from _tensors(part)


def _broken(tensor: Tensor) -> bool:
    return tensor.is_floating_point() and not bool(torch.isfinite(tensor).all())
