"""Applies the fixes that diagnostics bring, and keeps those that do what they promise.

Takes: the path of a spec. Gives: its text with the fixes in it; nothing is written. Only the file
itself is fixed, never what it imports. A round applies all fixes that do not overlap, and the text
is checked again. If a finding is still there, or a syntax error or an unknown name has come up, the
round is taken back, and its fixes are tried one after the other.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from linvit_dsl.check.check import Examined, examine
from linvit_dsl.check.program import Program, open_program
from linvit_dsl.errors import Diagnostic, Fix, Source
from linvit_dsl.errors.render import Omitted

ROUNDS = 50
"""More are never needed: a text of `limits.ERRORS` findings at a time is done long before."""


@dataclass(frozen=True, slots=True)
class FixedSpec:
    """What fixing a spec came to.

    Args:
        before, after: The texts.
        done: The findings that are gone, with their places in the text of their round.
        left: What `check` finds in `after`, as far as it is shown.
        omitted: How much of it is not.
    """

    before: str
    after: str
    done: tuple[Diagnostic, ...]
    left: tuple[Diagnostic, ...]
    omitted: Omitted


def fix_spec(path: Path) -> FixedSpec:
    """Apply the fixes of everything that `check` finds in the file itself, until none is left.

    Raises:
        SpecError: E07xx, the file cannot be read.
    """
    program = open_program(path)
    before = text = program.root.source.text
    examined = examine(program)
    done: list[Diagnostic] = []
    refused: set[tuple[str, str]] = set()
    for _ in range(ROUNDS):
        chosen = _compatible(_fixable(program, examined.diagnostics, refused))
        if not chosen:
            break
        after = _checked(path, text, examined.diagnostics, chosen)
        if after is None and len(chosen) == 1:
            refused.add(_identity(chosen[0]))
            continue
        if after is None:
            chosen = chosen[:1]
            after = _checked(path, text, examined.diagnostics, chosen)
            if after is None:
                refused.add(_identity(chosen[0]))
                continue
        program, examined = after
        text = program.root.source.text
        done += chosen
    return FixedSpec(before, text, tuple(done), examined.diagnostics, examined.omitted)


def edited(text: str, fixes: Iterable[Fix]) -> str:
    """The text with fixes that do not overlap applied."""
    for fix in sorted(fixes, key=lambda fix: fix.span.start, reverse=True):
        text = text[: fix.span.start] + fix.replacement + text[fix.span.end :]
    return text


def _fixable(
    program: Program, found: Iterable[Diagnostic], refused: set[tuple[str, str]]
) -> list[Diagnostic]:
    own: Source = program.root.source
    return [
        diagnostic
        for diagnostic in found
        if diagnostic.fixes
        and all(fix.span.source is own and fix.certain for fix in diagnostic.fixes)
        and _identity(diagnostic) not in refused
    ]


def _compatible(found: Iterable[Diagnostic]) -> list[Diagnostic]:
    """Those whose edits do not touch an edit of one before."""
    chosen: list[Diagnostic] = []
    taken: list[tuple[int, int]] = []
    for diagnostic in found:
        spans = [(fix.span.start, fix.span.end) for fix in diagnostic.fixes]
        if all(a > stop or b < start for a, b in spans for start, stop in taken):
            chosen.append(diagnostic)
            taken += spans
    return chosen


def _checked(
    path: Path, text: str, found: Sequence[Diagnostic], chosen: Sequence[Diagnostic]
) -> tuple[Program, Examined] | None:
    """The program with the fixes of `chosen`, and its findings; None if they do not help."""
    new = edited(text, (fix for diagnostic in chosen for fix in diagnostic.fixes))
    program = open_program(path, new)
    examined = examine(program)
    after = examined.diagnostics
    counts, known = Counter(map(_identity, after)), Counter(map(_identity, found))
    if any(counts[_identity(d)] >= known[_identity(d)] for d in chosen):
        return None
    # What is about sizes may be seen only now, and names once a text can be parsed. Other mistakes
    # of writing the fix itself has brought.
    if _written_wrongly(after) > _written_wrongly(found):
        return None
    return program, examined


def _written_wrongly(found: Iterable[Diagnostic]) -> tuple[int, int]:
    """How many mistakes of syntax there are, and of names."""
    kinds = Counter(diagnostic.code[:3] for diagnostic in found)
    return kinds["E01"], kinds["E02"]


def _identity(diagnostic: Diagnostic) -> tuple[str, str]:
    return diagnostic.code, diagnostic.message
