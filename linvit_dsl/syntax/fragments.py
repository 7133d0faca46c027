"""Expressions that stand for themselves: on the command line, and in the braces of a message."""

from __future__ import annotations

import re

from lark import UnexpectedToken

from linvit_dsl.errors import Source, Span, SpecError, diagnose
from linvit_dsl.graph import limits
from linvit_dsl.syntax import ast
from linvit_dsl.syntax.expressions import Expressions, unescape
from linvit_dsl.syntax.grammar import parse_tokens
from linvit_dsl.syntax.layout import deepest, layout
from linvit_dsl.syntax.mistakes import Failure, explain
from linvit_dsl.syntax.scanner import scan
from linvit_dsl.syntax.tokens import span_of

_PART = re.compile(r"\{\{|\}\}|\{([^{}]*)\}|[{}]|[^{}]+")


def parse_expression(source: Source, start: int = 0, end: int | None = None) -> ast.Expression:
    """Parse the characters `[start, end)` of a text as one expression.

    Spans are offsets into the whole text.

    Raises:
        SpecError: They are none.
    """
    scanned = scan(source, start, end)
    if scanned.diagnostics:
        raise SpecError(*scanned.diagnostics[: limits.ERRORS])
    deep = deepest(scanned.tokens, limits.NESTING)
    if deep is not None:
        raise SpecError(diagnose("E0709", span_of(source, deep), limit=limits.NESTING))
    tokens = layout(scanned.tokens)
    if not tokens:
        span = Span(source, start, len(source.text) if end is None else end)
        raise SpecError(diagnose("E0101", span, expected="an expression", found="nothing"))
    try:
        return Expressions(source).expression(parse_tokens(tokens, "expr"))
    except UnexpectedToken as error:
        raise SpecError(explain(Failure.of(source, tokens, "expr", error)).diagnostic) from None


def holes(text: ast.Text) -> tuple[str | ast.Expression, ...]:
    """A message as literal parts and expressions, in order; `{{` and `}}` are braces themselves.

    Raises:
        SpecError: E0122, a brace has no partner; or what stands between two is no expression.
    """
    parts: list[str | ast.Expression] = []
    source, start = text.span.source, text.span.start + 1
    for found in _PART.finditer(source.text, start, text.span.end - 1):
        part = found.group()
        if found[1] is not None:
            parts.append(parse_expression(source, found.start(1), found.end(1)))
        elif part in {"{", "}"}:
            helps = (f"a brace that is meant as such is doubled: `{part}{part}`",)
            span = Span(source, found.start(), found.end())
            raise SpecError(diagnose("E0122", span, brace=part, helps=helps))
        else:
            parts.append(part[0] if part in {"{{", "}}"} else unescape(part))
    return tuple(parts)
