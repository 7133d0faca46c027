"""What is carried from step to step: all that a checkpoint holds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import AdamW

from linvit_runtime.train.average import WeightAverage
from linvit_runtime.train.checkpoint import Checkpoint
from linvit_runtime.train.keys import Purpose, reseed
from linvit_runtime.train.optimizer import build_optimizer, optimizer_tensors, restore_optimizer
from linvit_runtime.train.problems import CheckpointProblem
from linvit_runtime.train.run import Run
from linvit_runtime.train.weights import load_tensors


@dataclass(slots=True)
class TrainState:
    """A run after `step` optimizer steps.

    Attributes:
        model: the weights that are trained.
        optimizer: AdamW over them.
        average: their moving average; None if the recipe has none.
        step: steps taken, over all epochs. Data order, augmentation and dropout follow from it.
    """

    model: nn.Module
    optimizer: AdamW
    average: WeightAverage | None
    step: int = 0

    @property
    def evaluated_model(self) -> nn.Module:
        """The model that counts: the averaged one if there is one."""
        return self.average.model if self.average else self.model

    def tensors(self) -> dict[str, dict[str, Tensor]]:
        """Everything to save, by part and name."""
        parts = {
            "model": dict(self.model.state_dict()),
            "optim": optimizer_tensors(self.optimizer, self.model),
        }
        if self.average:
            parts["ema"] = dict(self.average.model.state_dict())
        return parts

    def restore(self, checkpoint: Checkpoint, run: Run) -> None:
        """Become what was saved.

        Raises:
            CheckpointProblem: It was saved by another run or another architecture.
        """
        if checkpoint.state.get("run") != run.id:
            raise CheckpointProblem(
                f"{checkpoint.path} was saved by another run than the one in {run.directory}",
                "remove it from there",
            )
        wanted = {"model", "optim"} | ({"ema"} if self.average else set())
        if missing := wanted - set(checkpoint.tensors):
            raise CheckpointProblem(f"{checkpoint.path} lacks {', '.join(sorted(missing))}")
        path = checkpoint.path
        load_tensors(self.model, checkpoint.tensors["model"], path / "model.safetensors")
        restore_optimizer(self.optimizer, self.model, checkpoint.tensors["optim"])
        if self.average:
            load_tensors(self.average.model, checkpoint.tensors["ema"], path / "ema.safetensors")
        self.step = checkpoint.step


def initial_state(run: Run, device: torch.device) -> TrainState:
    """Build the model with the weights that the seed decides, and an optimizer for it."""
    reseed(run.recipe.seed, Purpose.WEIGHTS)
    model = run.build_model().to(device).train()
    average = WeightAverage(model, run.recipe.ema) if run.recipe.ema is not None else None
    return TrainState(model, build_optimizer(model, run.recipe.optimizer), average)


def describe_state(run: Run, step: int, steps_per_epoch: int, world: int) -> dict[str, Any]:
    """The content of `state.json`: where the run stands, for programs and for people."""
    epoch, position = divmod(step, steps_per_epoch)
    return {
        "run": run.id,
        "step": step,
        "epoch": epoch,
        "position": position,
        "world": world,
        "torch": torch.__version__,
        **run.config,
    }
