"""The learning rate as a function of the step."""

from __future__ import annotations

import math
from dataclasses import dataclass

from linvit_dsl.check.recipe import Recipe
from linvit_runtime.train.problems import SetupProblem


@dataclass(frozen=True, slots=True)
class Schedule:
    """A recipe's durations in optimizer steps, and its learning rate over them.

    Attributes:
        total: length of the run in steps.
        steps_per_epoch: full batches in the training split.
        warmup: length of the linear rise, in steps.
        eval_every: steps between evaluations.
        save_every: steps between checkpoints.
        peak: learning rate at the end of the warm-up.
        floor: learning rate that the cosine approaches.
        cosine: whether it decays at all after the warm-up.
    """

    total: int
    steps_per_epoch: int
    warmup: int
    eval_every: int
    save_every: int
    peak: float
    floor: float
    cosine: bool

    @classmethod
    def of(cls, recipe: Recipe, images: int) -> Schedule:
        """Count the durations of `recipe` on a training split of `images` images.

        Raises:
            SetupProblem: A batch is larger than the split, or the warm-up does not end.
        """
        batch = recipe.data.batch
        if batch > images:
            raise SetupProblem(
                f"`batch` = {batch:,} is larger than the training split of {recipe.data.name}, "
                f"{images:,} images",
                f"set `batch` to at most {images:,}",
            )
        per_epoch = images // batch
        total = recipe.schedule.epochs * per_epoch
        warmup = recipe.schedule.warmup.steps(per_epoch)
        if warmup >= total:
            raise SetupProblem(
                f"the warm-up, {warmup:,} steps, does not end within the run, {total:,} steps",
                f"{recipe.schedule.epochs} epochs of {images:,} images in batches of {batch} are "
                f"{total:,} steps",
            )
        return cls(
            total=total,
            steps_per_epoch=per_epoch,
            warmup=warmup,
            eval_every=recipe.eval_every.steps(per_epoch),
            save_every=recipe.save_every.steps(per_epoch),
            peak=recipe.optimizer.lr,
            floor=recipe.schedule.min_lr,
            cosine=recipe.schedule.decay == "cosine",
        )

    def learning_rate(self, step: int) -> float:
        """The rate of step `step` (from 0): linear to `peak`, then half a cosine to `floor`.

        With T = total and W = warmup: peak * (t + 1) / W for t < W, else
        floor + (peak - floor) * (1 + cos(pi * (t - W) / (T - W))) / 2.
        """
        if step < self.warmup:
            return self.peak * (step + 1) / self.warmup
        if not self.cosine:
            return self.peak
        progress = (step - self.warmup) / (self.total - self.warmup)
        return self.floor + (self.peak - self.floor) * (1 + math.cos(math.pi * progress)) / 2

    def evaluates_at(self, step: int) -> bool:
        """Whether an evaluation is due after `step` steps."""
        return step > 0 and (step % self.eval_every == 0 or step == self.total)

    def saves_at(self, step: int) -> bool:
        """Whether a checkpoint is due after `step` steps."""
        return step > 0 and (step % self.save_every == 0 or step == self.total)
