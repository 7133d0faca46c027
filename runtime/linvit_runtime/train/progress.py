"""What the user sees while training: a bar on a terminal, one plain line per epoch elsewhere."""

from __future__ import annotations

import time
from types import TracebackType
from typing import Self, TextIO

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

from linvit_runtime.train.evaluation import Evaluation
from linvit_runtime.train.schedule import Schedule
from linvit_runtime.train.step import StepOutcome


class Progress:
    """Reports the course of a run to a stream. A context manager.

    Args:
        stream: where to write; a bar is shown if it is a terminal.
        schedule: the length of the run.
        batch: images per step.
        silent: whether to write nothing: in all processes but one.
    """

    def __init__(self, stream: TextIO, schedule: Schedule, batch: int, *, silent: bool) -> None:
        self._schedule = schedule
        self._batch = batch
        self._console = Console(file=stream, quiet=silent, highlight=False, soft_wrap=True)
        self._bar: Bar | None = None
        if self._console.is_terminal and not silent:
            columns = (BarColumn(), MofNCompleteColumn(), TextColumn("{task.description}"))
            self._bar = Bar(*columns, TimeRemainingColumn(), console=self._console, transient=True)
            self._task = self._bar.add_task("", total=schedule.total)
        self._losses: list[float] = []
        self._since = time.perf_counter()

    def __enter__(self) -> Self:
        if self._bar:
            self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._bar:
            self._bar.stop()

    def step(self, step: int, outcome: StepOutcome) -> None:
        """Count a step."""
        self._losses.append(outcome.loss)
        if self._bar:
            self._bar.update(self._task, completed=step, description=f"loss {outcome.loss:.4f}")

    def line(self, step: int, evaluation: Evaluation | None) -> None:
        """Sum up the steps since the last line."""
        epochs = self._schedule.total // self._schedule.steps_per_epoch
        epoch = f"{round(step / self._schedule.steps_per_epoch, 1):g}"
        parts = [f"epoch {epoch:>{len(str(epochs))}}/{epochs}"]
        seconds, steps = time.perf_counter() - self._since, len(self._losses)
        if steps:
            parts.append(f"loss {sum(self._losses) / steps:.4f}")
        if evaluation:
            parts.append(f"test top-1 {100 * evaluation.top1:.2f} %")
            parts.append(f"test loss {evaluation.loss:.4f}")
        if steps:
            parts.append(f"{steps * self._batch / seconds:,.0f} images/s")
        self.say("  ".join(parts))
        self._losses.clear()
        self._since = time.perf_counter()

    def say(self, text: str) -> None:
        """Write a line of text."""
        self._console.print(text, markup=False)
