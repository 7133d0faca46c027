"""The ways in which training ends early, each with the exit code that it stands for."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from signal import Signals
from typing import ClassVar

from linvit_runtime.errors import RunProblem


class SetupProblem(RunProblem):
    """Model, recipe, data and run folder do not fit together (exit 2)."""


class Diverged(RunProblem):
    """The loss or a gradient became NaN or infinite; no step was taken with it (exit 3)."""

    exit_code: ClassVar[int] = 3


class StorageProblem(RunProblem):
    """The run cannot be saved: no space, no permission, a broken disk (exit 74)."""

    exit_code: ClassVar[int] = 74


class CheckpointProblem(StorageProblem):
    """A checkpoint is damaged, or belongs to another model or run (exit 74)."""


class Stopped(Exception):
    """A signal ended the run after its state was saved.

    Attributes:
        exit_code: 130 after Ctrl-C, 75 after SIGTERM or SIGUSR1: "start me again later".
        signal: what arrived.
        step: the step that was saved.
    """

    def __init__(self, signal: Signals, step: int) -> None:
        self.exit_code = 130 if signal is Signals.SIGINT else 75
        self.signal = signal
        self.step = step
        super().__init__(f"stopped by {signal.name} after step {step}; the run can be resumed")


@contextmanager
def storing(path: Path) -> Generator[None, None, None]:
    """Turn a failure to write `path` into a StorageProblem that names it."""
    try:
        yield
    except OSError as error:
        raise StorageProblem(
            f"cannot write {error.filename or path}: {error.strerror or error}"
        ) from error
