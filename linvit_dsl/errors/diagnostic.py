"""What the compiler has to say about a text, as data; `render` turns it into words on a screen."""

from __future__ import annotations

from dataclasses import dataclass
from string import Formatter
from typing import Any, Literal

from linvit_dsl.errors.catalogue import entry
from linvit_dsl.errors.span import Span

Severity = Literal["error", "warning"]


@dataclass(frozen=True, slots=True)
class Label:
    """A stretch of text with a word about it."""

    span: Span
    text: str = ""


@dataclass(frozen=True, slots=True)
class Fix:
    """An edit that would remove the problem: replace the characters of `span` by `replacement`.

    All fixes of a diagnostic belong together. `certain` ones `linvit check --fix` applies; the
    others are offers for a person to choose.
    """

    span: Span
    replacement: str
    title: str
    certain: bool = True


@dataclass(frozen=True, slots=True)
class Diagnostic:
    """One finding.

    `code` is stable and listed in `catalogue.toml`; its first letter gives the severity.
    `notes` say how the compiler came to it (the chain of origins), `helps` what to do.
    """

    code: str
    message: str
    primary: Label
    secondary: tuple[Label, ...] = ()
    notes: tuple[str, ...] = ()
    helps: tuple[str, ...] = ()
    fixes: tuple[Fix, ...] = ()

    @property
    def severity(self) -> Severity:
        """`error` for E codes, `warning` for W codes."""
        return "error" if self.code.startswith("E") else "warning"


class _Template(Formatter):
    """`{given:tensor|tensors}` is `1 tensor` or `3 tensors`; all else is as in `str.format`."""

    def format_field(self, value: Any, format_spec: str) -> str:
        one, bar, many = format_spec.partition("|")
        if not bar:
            return super().format_field(value, format_spec)
        return f"{value} {one if str(value) == '1' else many}"


_TEMPLATE = _Template()


def diagnose(
    code: str,
    span: Span,
    label: str = "",
    *,
    secondary: tuple[Label, ...] = (),
    notes: tuple[str, ...] = (),
    helps: tuple[str, ...] = (),
    fixes: tuple[Fix, ...] = (),
    **slots: object,
) -> Diagnostic:
    """Build a diagnostic whose message is the catalogue's template filled with `slots`.

    Raises:
        KeyError: The code is not in the catalogue, or the template names a slot not given.
    """
    message = _TEMPLATE.vformat(entry(code).message, (), slots)
    return Diagnostic(code, message, Label(span, label), secondary, notes, helps, fixes)


class LinvitError(Exception):
    """Base of everything that linvit raises for a user's mistake. Holds the diagnostics."""

    def __init__(self, *diagnostics: Diagnostic) -> None:
        self.diagnostics = diagnostics
        super().__init__("\n".join(f"{d.primary.span}: {d.code}: {d.message}" for d in diagnostics))


class SpecError(LinvitError):
    """A `.vit` text was rejected (exit code 1)."""


class InternalError(Exception):
    """linvit broke one of its own rules: a bug to report (exit code 70)."""
