"""All findings about one program: texts, names, models, recipes, and what is stated of them."""

from __future__ import annotations

from dataclasses import dataclass

from linvit_dsl.check import lints
from linvit_dsl.check.definitions import refuted_definitions
from linvit_dsl.check.elaborate import Elaborator
from linvit_dsl.check.expectations import Expectation
from linvit_dsl.check.models import choose_model, elaborate_model
from linvit_dsl.check.program import Program
from linvit_dsl.check.statements import check_statements
from linvit_dsl.check.sweeps import Sweep, check_sweeps
from linvit_dsl.check.training import check_recipes
from linvit_dsl.errors import Diagnostic
from linvit_dsl.errors.render import Omitted
from linvit_dsl.graph import limits


@dataclass(frozen=True, slots=True)
class Examined:
    """All that was found about a program.

    Args:
        diagnostics: Errors and warnings together, in the order of the text, the root file first; at
            most `limits.ERRORS`.
        omitted: How many more were found.
        expectations: What the files say about costs, as far as the models are sound.
        sweeps: Those whose points are all sound.
    """

    diagnostics: tuple[Diagnostic, ...]
    omitted: Omitted
    expectations: tuple[Expectation, ...]
    sweeps: tuple[Sweep, ...]


def check_program(program: Program, model: str | None = None) -> tuple[Diagnostic, ...]:
    """The diagnostics of `examine`."""
    return examine(program, model).diagnostics


def examine(program: Program, model: str | None = None) -> Examined:
    """Elaborate the models with their defaults, validate recipes, verify what the file states.

    With `model` only that one, and what is stated about it.

    Raises:
        SpecError: E0211, there is no such model.
    """
    names = program.models if model is None else (choose_model(program, model),)
    elaborator = Elaborator(program)
    elaborator.report(*program.diagnostics)
    elaborator.constants(program.root)
    for name in names:
        elaborate_model(elaborator, name, {})
    if model is None:
        elaborator.report(*lints.of_text(program.root))
        elaborator.report(*check_recipes(program, elaborator))
    check_statements(elaborator, model)
    sweeps = check_sweeps(elaborator, model)
    if model is None:
        elaborator.report(*refuted_definitions(elaborator))
    shown, omitted = _in_order(program, elaborator.diagnostics)
    return Examined(shown, omitted, tuple(elaborator.expectations), sweeps)


def _in_order(
    program: Program, diagnostics: tuple[Diagnostic, ...]
) -> tuple[tuple[Diagnostic, ...], Omitted]:
    """Those that are shown, and how many are not."""
    order = {source.name: index for index, source in enumerate(program.sources)}

    def position(found: Diagnostic) -> tuple[int, int]:
        span = found.primary.span
        return order.get(span.source.name, len(order)), span.start

    # No number of warnings may push an error off the list.
    ranked = sorted(diagnostics, key=lambda d: (d.severity != "error", position(d)))
    rest = [found.severity == "error" for found in ranked[limits.ERRORS :]]
    omitted = Omitted(sum(rest), len(rest) - sum(rest), program.cut_short)
    return tuple(sorted(ranked[: limits.ERRORS], key=position)), omitted
