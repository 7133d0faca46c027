"""How much one elaboration may do, so that a short text cannot occupy the machine.

The unit is a step: one statement executed, or one item of a list made or gone through. Counting
them, instead of seconds, makes a text legal on every machine or on none.
"""

from __future__ import annotations

from linvit_dsl.check.values import Poisoned, Result
from linvit_dsl.errors import Span, SpecError, diagnose
from linvit_dsl.graph import limits


class Budget:
    """The steps that are left."""

    def __init__(self) -> None:
        self.left = limits.STEPS

    @property
    def exhausted(self) -> bool:
        """Whether nothing more is evaluated."""
        return self.left < 0

    def spend(self, steps: int, span: Span) -> None:
        """Take `steps` for what stands at `span`.

        Raises:
            SpecError: E0713, there are not so many left; said once.
            Poisoned: It was said before.
        """
        if self.exhausted:
            raise Poisoned
        self.left -= steps
        if self.exhausted:
            raise SpecError(diagnose("E0713", span, limit=f"{limits.STEPS:,}"))

    def list(self, value: Result, span: Span, depth: int = 0) -> None:
        """Take a step for every item of a list, and of the lists in it.

        A list that holds another one twice is small, but whatever goes through it is not.

        Raises:
            SpecError: E0713 as above, E0708 too many lists in lists.
        """
        if not isinstance(value, tuple):
            return
        if depth >= limits.NESTING:
            raise SpecError(diagnose("E0708", span, what="lists", limit=limits.NESTING))
        self.spend(len(value), span)
        for item in value:
            self.list(item, span, depth + 1)
