"""What a user can do something about: raised by data and training, printed without a traceback."""

from __future__ import annotations

from typing import ClassVar


class RunProblem(Exception):
    """Base of the conditions that end a run with a message.

    Attributes:
        exit_code: what the command exits with.
        message: what happened, where, with both values where two disagree.
        hint: what to do about it; may be empty.
    """

    exit_code: ClassVar[int] = 2

    def __init__(self, message: str, hint: str = "") -> None:
        self.message = message
        self.hint = hint
        super().__init__(f"{message}\n{hint}" if hint else message)


class DataProblem(RunProblem):
    """A data set is absent, damaged, or not what it claims to be."""
