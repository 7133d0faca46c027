"""What an elaboration finds: each mistake once, with the path of blocks that led to it."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import replace

from linvit_dsl.check.expectations import Expectation
from linvit_dsl.check.provenance import CausedError, Frame, path
from linvit_dsl.errors import Diagnostic, Span, SpecError


class Stopped(Exception):
    """There was an error in an elaboration of which only that is asked."""


class Findings:
    """Collects diagnostics.

    `frames` are the blocks that are open, the outermost first; `tainted` says whether there was an
    error since it was last reset, whether or not it is shown; `quiet` whether warnings are
    forgotten, so that nobody need look for them. `expectations` are what the files say about costs,
    as far as it was compared.
    """

    def __init__(self) -> None:
        self.frames: list[Frame] = []
        self.tainted = False
        self.expectations: list[Expectation] = []
        self._found: dict[tuple[str, str, str, int], Diagnostic] = {}
        self._causes: list[frozenset[Span]] = []
        self.quiet = False
        self._hasty = False

    @property
    def diagnostics(self) -> tuple[Diagnostic, ...]:
        """What was found, each once, in the order found."""
        return tuple(self._found.values())

    @property
    def failed(self) -> bool:
        """Whether any of it is an error."""
        return any(found.severity == "error" for found in self._found.values())

    def reject(self, error: SpecError) -> None:
        """Record an error, unless its causes are those of one recorded before.

        Raises:
            Stopped: In a trial, which is over with it.
        """
        self.tainted = True
        if self._hasty:
            raise Stopped
        if isinstance(error, CausedError):
            if any(error.causes <= known for known in self._causes):
                return
            self._causes.append(error.causes)
        self.report(*error.diagnostics)

    def report(self, *diagnostics: Diagnostic) -> None:
        """Record findings; each gets the path of blocks that led to it."""
        for found in diagnostics:
            self.tainted = self.tainted or found.severity == "error"
            where = found.primary.span
            key = (found.code, found.message, where.source.name, where.start)
            extended = replace(found, notes=(*found.notes, *path(self.frames)))
            self._found.setdefault(key, extended)

    @contextmanager
    def without_warnings(self) -> Generator[None, None, None]:
        """Inside, errors count as always; warnings are forgotten at the end."""
        before = dict(self._found)
        outside, self.quiet = self.quiet, True
        try:
            yield
        finally:
            self.quiet = outside
            self._found = {
                key: found
                for key, found in self._found.items()
                if key in before or found.severity == "error"
            }

    @contextmanager
    def trial(self) -> Generator[None, None, None]:
        """Inside, findings are kept apart, up to the first error; at the end they are forgotten."""
        before = self._found, self._causes, self.expectations, self.tainted
        self._found, self._causes, self.expectations, self.tainted = {}, [], [], False
        self.quiet = self._hasty = True
        try:
            yield
        except Stopped:
            pass
        finally:
            self.quiet = self._hasty = False
            self._found, self._causes, self.expectations, self.tainted = before
