"""Checks blocks where they are declared, also those that nothing applies.

Takes: a block. Gives: whether its body fits its declaration for every size, with the first error if
it fits for none. Non-goals: what depends on static values, which is left to those who give them.

A block is elaborated as it would be for a caller, with sizes that have nothing in common (`probe`).
Sizes are polynomials of small degree: two that agree at three such points agree everywhere, but for
an accident. So the rules of all operators are used as they are, and nothing has to reason about
symbols.

An error is told only if no size and no static parameter could avoid it: it stays where it is when
each of them is changed, and what differs does so by a constant, by a factor, or as two axes of one
argument. All else is `unknown`, and is seen where the block is applied.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal

from linvit_dsl.check.elaborate import Elaborator
from linvit_dsl.check.probe import POINTS, Plan, Probe, Run, bare_axes, chosen
from linvit_dsl.check.program import Module, Program
from linvit_dsl.check.provenance import Misfit, named
from linvit_dsl.check.values import Number, Static
from linvit_dsl.errors import Diagnostic, SpecError
from linvit_dsl.syntax import ast

Verdict = Literal["holds", "refuted", "unknown"]

CHOSEN = ("dim", "int", "real", "prob", "bool", "init", "list[dim]")
"""Kinds whose values can be made up."""
HARMLESS = ("prob", "init")
"""Kinds on which no shape depends."""
MISFITS = ("E0322", "E0323", "E0324", "E0325", "E0326", "E0327", "E0342")
"""Errors about two sizes that differ."""
STRUCTURAL = ("E0317", "E0320", "E0332", "E0333", "E0341", "E0402", "E0403")
"""Errors about numbers of axes, arguments and results, whatever the sizes."""

BEYOND = ("E0708", "E0713")
"""Errors about depth and steps, which other sizes meet as well."""


@dataclass(frozen=True, slots=True)
class Definition:
    """What is known of a block by itself.

    Args:
        block: Its name.
        verdict: `holds` for every size, `refuted` for every use, or `unknown`.
        reason: With which static parameters it holds, or why nothing is known.
        error: What is wrong, if it is refuted.
    """

    block: str
    verdict: Verdict
    reason: str
    error: Diagnostic | None = None


def check_definitions(program: Program, module: Module) -> Iterator[Definition]:
    """A verdict for every block and model that `module` declares with a body, in its order."""
    for item in module.file.items:
        if isinstance(item, ast.Block):
            yield check_definition(program, module, item)


def refuted_definitions(elaborator: Elaborator) -> Iterator[Diagnostic]:
    """The errors of the root file's blocks that no model of the file leads to."""
    program = elaborator.program
    for item in program.root.file.items:
        if isinstance(item, ast.Block) and not item.broken and not elaborator.applied(item):
            error = check_definition(program, program.root, item).error
            if error is not None:
                yield error


def check_definition(program: Program, module: Module, declaration: ast.Block) -> Definition:
    """The verdict for one block."""
    name = declaration.name.name
    if declaration.broken:
        return Definition(name, "unknown", "a part of it could not be read")
    for static in declaration.statics:
        kind = " ".join(static.type.span.text.split())
        if static.default is None and kind not in CHOSEN:
            reason = f"`{static.name.name}`, a {kind}, is known to callers only"
            return Definition(name, "unknown", reason)
    probe = Probe(program, module, declaration)
    start = probe.settled(0, {})
    if start.error is not None and start.error.diagnostics:
        (found, *_) = start.error.diagnostics
        if found.code in BEYOND:
            return Definition(name, "unknown", _told(found))
    free = [start, *(probe.settled(point, {}) for point in POINTS[1:])]
    plans: tuple[Plan, ...] = ("grid", "round") if probe.pairs else ("round",)
    for plan in ("free", *plans):
        runs = free if plan == "free" else probe.runs(plan)
        if all(run.error is None for run in runs):
            return Definition(name, "holds", probe.assumed)
    error = _certain(probe, free)
    if error is not None:
        return Definition(name, "refuted", error.message, error)
    first = next(run.error for run in free if run.error is not None)
    if not first.diagnostics:
        return Definition(name, "unknown", "it uses what was reported elsewhere")
    return Definition(name, "unknown", _told(first.diagnostics[0]))


def _told(found: Diagnostic) -> str:
    return f"{found.code} at {found.primary.span}: {found.message}"


def _certain(probe: Probe, runs: list[Run]) -> Diagnostic | None:
    """The error of all runs, if no value of a static parameter could avoid it."""
    if probe.pairs or set(probe.others.values()) - set(HARMLESS) or _place(runs[0].error) is None:
        return None
    tried = list(runs)
    for static in probe.declaration.statics:
        given = _changed(static, runs[0].sizes)
        if given is None:
            return None
        tried.append(probe.settled(0, given))
    why = _never_fits(probe, tried)
    if len({_place(run.error) for run in tried}) > 1 or why is None:
        return None
    assert runs[0].error is not None, "it has a place"
    (found, *_) = runs[0].error.diagnostics
    if found.primary.span.source is not probe.module.source:
        return None
    shown = "".join(f", {name} = {size}" for name, size in runs[0].sizes.items())
    note = f"checked where it is declared, at sizes of its own{shown}"
    return replace(found, notes=(*found.notes, note), helps=(*found.helps, why))


def _never_fits(probe: Probe, runs: list[Run]) -> str | None:
    """Why no sizes help: two differ by a constant or a factor, or are axes of one argument.

    Two axes of one argument with different names may happen to be equal. Whoever needs them so
    writes one name twice.
    """
    always = "no size and no static parameter makes it fit"
    pairs: list[tuple[int, int]] = []
    for run in runs:
        if not isinstance(run.error, Misfit) or run.error.diagnostics[0].code in STRUCTURAL:
            return always  # No sizes are compared.
        match run.error.sizes:
            case (int(left), int(right)):
                pairs.append((left, right))
            case _:
                return None
    (p, q), *_ = pairs
    if len({left - right for left, right in pairs}) == 1:
        return always
    if all(left * q == right * p for left, right in pairs):
        return always
    for parameter in probe.declaration.parameters:
        names = {axis.name for axis in bare_axes(parameter.shape)} & set(probe.axes)
        by_size = [{run.sizes[name]: name for name in names} for run in runs]
        meant = {
            (known.get(left), known.get(right))
            for known, (left, right) in zip(by_size, pairs, strict=True)
        }
        if len(meant) == 1 and None not in next(iter(meant)):
            first, second = next(iter(meant))
            return f"if `{first}` and `{second}` are always equal, give both axes one name"
    return None


def _changed(static: ast.StaticParameter, sizes: dict[str, int]) -> dict[str, Static] | None:
    """Another value for a static parameter; None where none can be made up."""
    name, default = static.name.name, static.default
    kind = static.type.name
    if kind in HARMLESS:
        return {}
    if kind == "dim":
        return {name: chosen(name, sizes.get(name, 1) * 5 + 2, static.span)}
    if isinstance(default, ast.Boolean):
        return {name: not default.value}
    if isinstance(default, ast.Number) and kind in ("int", "real"):
        return {name: Number(int(default.value) + 1, named(name, "", "changed", static.span))}
    return None


def _place(error: SpecError | None) -> tuple[str, str, int] | None:
    """What is wrong and where; None for mistakes that other values may avoid."""
    if error is None or not error.diagnostics:
        return None
    (found, *_) = error.diagnostics
    if found.code not in STRUCTURAL and not (isinstance(error, Misfit) and found.code in MISFITS):
        return None
    where = found.primary.span
    return found.code, where.source.name, where.start
