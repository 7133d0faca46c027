"""Spans, diagnostics, their catalogue and their rendering: the ground floor of the compiler."""

from linvit_dsl.errors.diagnostic import (
    Diagnostic,
    Fix,
    InternalError,
    Label,
    LinvitError,
    Severity,
    SpecError,
    diagnose,
)
from linvit_dsl.errors.span import Source, Span

__all__ = [
    "Diagnostic",
    "Fix",
    "InternalError",
    "Label",
    "LinvitError",
    "Severity",
    "Source",
    "Span",
    "SpecError",
    "diagnose",
]
