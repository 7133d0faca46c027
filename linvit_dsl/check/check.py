"""All findings about one program: its texts, its names, every model, every recipe."""

from __future__ import annotations

from collections.abc import Iterator

from linvit_dsl.check.elaborate import Elaborator
from linvit_dsl.check.models import elaborate_model
from linvit_dsl.check.program import Program
from linvit_dsl.check.training import check_recipes
from linvit_dsl.errors import Diagnostic, diagnose
from linvit_dsl.graph import limits
from linvit_dsl.syntax import ast


def check_program(program: Program) -> tuple[Diagnostic, ...]:
    """Elaborate every model with its defaults and validate every recipe.

    Returns:
        Errors and warnings together, in the order of the text, the root file first; at most
        `limits.ERRORS`.
    """
    elaborator = Elaborator(program)
    elaborator.report(*program.diagnostics)
    elaborator.constants(program.root)
    for name in program.models:
        elaborate_model(elaborator, name, {})
    elaborator.report(*check_recipes(program, elaborator), *_not_evaluated(program))
    order = {source.name: index for index, source in enumerate(program.sources)}

    def position(found: Diagnostic) -> tuple[int, int]:
        span = found.primary.span
        return order.get(span.source.name, len(order)), span.start

    return tuple(sorted(elaborator.diagnostics, key=position)[: limits.ERRORS])


def _not_evaluated(program: Program) -> Iterator[Diagnostic]:
    """W0302 for what the grammar has and this version does not act on: it must not look checked."""
    for item in program.root.file.items:
        if isinstance(item, ast.Check | ast.Sweep):
            yield diagnose("W0302", item.span, what=item.kind)
        elif isinstance(item, ast.Block):
            for statement in item.body:
                if isinstance(statement, ast.Expect):
                    yield diagnose("W0302", statement.span, what=statement.kind)
