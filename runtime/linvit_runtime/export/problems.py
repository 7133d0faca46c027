"""Why a model is not exported."""

from __future__ import annotations

from typing import ClassVar

from linvit_runtime.errors import RunProblem


class ExportMismatch(RunProblem):
    """The file would not compute what the model computes; it was not written (exit 1)."""

    exit_code: ClassVar[int] = 1


class ExportRefused(RunProblem):
    """The exporter, or the format, cannot express the model (exit 1)."""

    exit_code: ClassVar[int] = 1


class MissingPackages(RunProblem):
    """A format needs packages that are not installed (exit 2)."""


class ModelFileProblem(RunProblem):
    """A file is not what it is taken for: damaged, or without a spec in it (exit 2)."""
