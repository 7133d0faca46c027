"""Diagnostics as a person reads them, as one line each, and as JSON."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from linvit_dsl.errors.diagnostic import Diagnostic, Label
from linvit_dsl.errors.snippet import Canvas, printable, snippet

_RESET = "\x1b[0m"
_STYLES = {
    "error": "\x1b[1;31m",
    "warning": "\x1b[1;33m",
    "secondary": "\x1b[1;34m",
    "gutter": "\x1b[1;34m",
    "strong": "\x1b[1m",
}


@dataclass(frozen=True, slots=True)
class Omitted:
    """What was found and is not shown, since nobody reads it all.

    Args:
        errors, warnings: How many.
        uncounted: Whether the search ended with them, so that there may be more.
    """

    errors: int = 0
    warnings: int = 0
    uncounted: bool = False

    def __add__(self, other: Omitted) -> Omitted:
        return Omitted(
            self.errors + other.errors,
            self.warnings + other.warnings,
            self.uncounted or other.uncounted,
        )


NOTHING = Omitted()


def render(diagnostic: Diagnostic, *, colour: bool = False) -> str:
    """The diagnostic with an excerpt of the text, in the layout of rustc, without a final newline.

    Secondary labels are shown in place; those in other files follow under `:::`.
    """
    paint = _paint if colour else _plain
    severity = diagnostic.severity
    head = paint(f"{severity}[{diagnostic.code}]", severity)
    lines = [head + paint(f": {printable(diagnostic.message)}", "strong")]
    groups = _by_source(diagnostic)
    excerpts = [snippet(group) for group in groups]
    numbers = [len(number) for excerpt in excerpts for number, _ in excerpt if number.isdigit()]
    gutter = max(numbers, default=1)
    bar = paint(" " * gutter + " |", "gutter")
    for group, excerpt in zip(groups, excerpts, strict=True):
        arrow = "-->" if group is groups[0] else ":::"
        lines.append(paint(" " * gutter + arrow, "gutter") + f" {group[0][0].span}")
        if not group[0][0].span.source.text:
            continue  # a file that could not be read has nothing to show
        lines.append(bar)
        for number, canvas in excerpt:
            edge = number if number == "..." else f"{number:>{gutter}} |"
            lines.append(_join(paint(edge, "gutter"), canvas, severity, colour))
    remarks = [("", note) for note in diagnostic.notes] + [("help: ", h) for h in diagnostic.helps]
    if remarks:
        lines.append(bar)
    for kind, text in remarks:
        first, *rest = text.splitlines() or [""]
        sign = paint(" " * gutter + " =", "gutter")
        lines.append(f"{sign} {paint(kind, 'strong')}{printable(first)}")
        indent = " " * (gutter + 3 + len(kind))
        lines += [indent + printable(line) for line in rest]
    return "\n".join(line.rstrip() for line in lines)


def render_all(
    diagnostics: Iterable[Diagnostic], *, colour: bool = False, omitted: Omitted = NOTHING
) -> str:
    """All of them, a blank line between, and the count at the end; "" if there are none."""
    found = tuple(diagnostics)
    if not found:
        return ""
    return "\n\n".join([*(render(d, colour=colour) for d in found), summary(found, omitted)])


def concise(diagnostic: Diagnostic) -> str:
    """One line: `specs/my.vit:3:11: error[E0301]: `d` = 384 cannot be split into 7 heads`."""
    kind = f"{diagnostic.severity}[{diagnostic.code}]"
    return f"{diagnostic.primary.span}: {kind}: {printable(diagnostic.message)}"


def summary(diagnostics: Iterable[Diagnostic], omitted: Omitted = NOTHING) -> str:
    """How many of each severity: `2 errors, 1 warning`, `20 of 34 errors shown`."""
    found = tuple(diagnostics)
    parts: list[str] = []
    for severity, hidden in (("error", omitted.errors), ("warning", omitted.warnings)):
        count = sum(diagnostic.severity == severity for diagnostic in found)
        words = f"{severity}{'s' if count + hidden > 1 else ''}"
        if hidden:
            parts.append(f"{count} of {count + hidden} {words} shown")
        elif count:
            parts.append(f"{count} {words}")
    if omitted.uncounted:
        parts.append("and there may be more")
    return ", ".join(parts) or "no problems"


def to_json(diagnostic: Diagnostic) -> dict[str, str | int | list[str]]:
    """What tools read: lines and columns count from 1, the end is just past the last character."""
    span = diagnostic.primary.span
    return {
        "code": diagnostic.code,
        "severity": diagnostic.severity,
        "message": diagnostic.message,
        "file": span.source.name,
        "line": span.line,
        "column": span.column,
        "end_line": span.end_line,
        "end_column": span.end_column,
        "notes": list(diagnostic.notes),
        "helps": list(diagnostic.helps),
    }


def _by_source(diagnostic: Diagnostic) -> list[tuple[tuple[Label, str], ...]]:
    """The labels with their styles, grouped by source, that of the primary one first."""
    labels = [(diagnostic.primary, "primary")]
    labels += [(label, "secondary") for label in diagnostic.secondary]
    sources = dict.fromkeys(label.span.source for label, _ in labels)
    return [tuple(pair for pair in labels if pair[0].span.source is source) for source in sources]


def _join(edge: str, canvas: Canvas, severity: str, colour: bool) -> str:
    paint = _paint if colour else _plain
    pieces = [
        paint(text, severity if style == "primary" else style) for text, style in canvas.runs()
    ]
    return f"{edge} {''.join(pieces)}" if pieces else edge


def _plain(text: str, style: str) -> str:
    return text


def _paint(text: str, style: str) -> str:
    code = _STYLES.get(style)
    return f"{code}{text}{_RESET}" if code and text else text
