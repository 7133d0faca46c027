"""All findings about one program: its texts, its names, every model, every recipe."""

from __future__ import annotations

from linvit_dsl.check.elaborate import Elaborator
from linvit_dsl.check.models import elaborate_model
from linvit_dsl.check.program import Program
from linvit_dsl.check.training import check_recipes
from linvit_dsl.errors import Diagnostic
from linvit_dsl.graph import limits


def check_program(program: Program) -> tuple[Diagnostic, ...]:
    """Elaborate every model with its defaults and validate every recipe.

    Returns:
        Errors and warnings together, in the order of the text, the root file first; at most
        `limits.ERRORS`.
    """
    elaborator = Elaborator(program)
    elaborator.report(*program.diagnostics)
    for name in program.models:
        elaborate_model(elaborator, name, {})
    elaborator.report(*check_recipes(program))
    order = {source.name: index for index, source in enumerate(program.sources)}

    def position(found: Diagnostic) -> tuple[int, int]:
        span = found.primary.span
        return order.get(span.source.name, len(order)), span.start

    return tuple(sorted(elaborator.diagnostics, key=position)[: limits.ERRORS])
