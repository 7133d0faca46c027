"""Sizes: a whole number >= 1, or an error that says which division failed, and what would fit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from fractions import Fraction

from linvit_dsl.check.provenance import CausedError, chain, quote, roots
from linvit_dsl.check.values import Division, Number, Result, Unknown
from linvit_dsl.check.walk import children
from linvit_dsl.errors import Diagnostic, Span, SpecError, diagnose
from linvit_dsl.graph import limits
from linvit_dsl.graph.ir import Origin
from linvit_dsl.graph.size import Poly
from linvit_dsl.syntax import ast

NOUNS = {"n": "tokens", "m": "tokens", "l": "tokens"}
"""Sizes whose one-letter name the field reads as a noun."""


def as_dimension(
    number: Number, span: Span, name: str, expression: ast.Expression | None = None
) -> Number:
    """The number if it can be a size.

    Raises:
        SpecError: E0301 not whole, E0302 not positive, E0703 too large.
    """
    if not number.whole:
        found = not_whole(number, span, name)
        raise CausedError(found, roots(number.origin), number.division)
    positive = number.value.positive if isinstance(number.value, Poly) else number.value >= 1
    if not positive:
        raise CausedError(not_positive(number, span, name, expression), roots(number.origin))
    if isinstance(number.value, Poly):
        return number
    if number.value > limits.DIMENSION:
        raise SpecError(
            diagnose("E0703", span, value=f"{number.value:,}", limit=f"{limits.DIMENSION:,}")
        )
    return number if type(number.value) is int else replace(number, value=int(number.value))


def not_whole(number: Number, span: Span, name: str = "") -> Diagnostic:
    """E0301 at the smallest division that did not come out whole."""
    division = number.division
    if division is None:
        subject = name or span.text
        message = f"`{subject}` = {number} is not a whole number"
        return diagnose("E0301", span, notes=chain((number.origin,)), message=message)
    left, right = division.left, division.right
    notes = chain((left.origin, right.origin))
    helps = (*_near_divisors(division), *_near_multiples(division), *_without_a_part(division))
    return diagnose(
        "E0301",
        division.expression.span,
        _mixed(left, right),
        notes=notes,
        helps=helps,
        message=_message(division),
    )


def not_positive(number: Number, span: Span, name: str, value: ast.Expression | None) -> Diagnostic:
    """E0302: zero or negative."""
    substituted = "" if value is None else f"{quote(value.span.text)} is {number}"
    return diagnose(
        "E0302",
        span,
        substituted,
        notes=chain((number.origin,)) if number.origin.name else chain(number.origin.operands),
        name=name,
        value=number,
    )


def _mixed(left: Number, right: Number) -> str:
    """`384/7 = 54 + 6/7`."""
    if isinstance(left.value, Poly) or isinstance(right.value, Poly):
        return f"({left}) / ({right})"
    exact = Fraction(left.value) / Fraction(right.value)
    whole = exact.numerator // exact.denominator
    return f"{left}/{right} = {whole} + {exact - whole}"


def _message(division: Division) -> str:
    expression, left, right = division.expression, division.left, division.right
    divided, divisor = expression.left, expression.right
    if _is_power_of_two(divisor) and isinstance(right.value, int):
        times = right.value.bit_length() - 1
        return f"{_subject(divided, left)} cannot be halved {times} times"
    if isinstance(divisor, ast.Name) and divisor.name.endswith("s") and len(divisor.name) > 1:
        return f"{_quoted(divided, left)} cannot be split into {right} {divisor.name}"
    if isinstance(divided, ast.Name) and isinstance(divisor, ast.Name) and len(divisor.name) > 1:
        noun = divisor.name + ("es" if divisor.name.endswith(("ch", "sh", "x")) else "s")
        if len(divided.name) > 1:
            article = "an" if divided.name[0] in "aeiou" else "a"
            return f"{article} {divided.name} of {left} does not divide into {noun} of {right}"
    return f"{_quoted(divided, left)} is not divisible by {_quoted(divisor, right)}"


def _is_power_of_two(divisor: ast.Expression) -> bool:
    """Whether a divisor is written `2^k`, which reads as halving k times."""
    match divisor:
        case ast.Binary(operator="^", left=ast.Number(value=base)):
            return base == 2
        case _:
            return False


def _subject(expression: ast.Expression, number: Number) -> str:
    if isinstance(expression, ast.Name) and expression.name in NOUNS:
        return f"{number} {NOUNS[expression.name]}"
    return _quoted(expression, number)


def _quoted(expression: ast.Expression, number: Number) -> str:
    text = expression.span.text
    return f"{number}" if text == str(number) else f"{quote(text)} = {number}"


def _near_divisors(division: Division) -> tuple[str, ...]:
    """The legal values of the divisor nearest to the given one."""
    left, right = division.left.value, division.right.value
    divisor = division.expression.right
    if not isinstance(left, int) or not isinstance(right, int) or not isinstance(divisor, ast.Name):
        return ()
    legal = [k for k in range(1, min(left, 4096) + 1) if left % k == 0]
    below = [k for k in legal if k < right][-2:]
    above = [k for k in legal if k > right][:2]
    near = ", ".join(str(k) for k in (*below, *above) if k > 1 or right <= 2)
    noun = divisor.name if divisor.name.endswith("s") else f"`{divisor.name}`"
    dividend = division.expression.left.span.text
    return (f"{noun} dividing {quote(dividend)} = {left} near {right}: {near}",) if near else ()


def _near_multiples(division: Division) -> tuple[str, ...]:
    """Where a name is divided by a written number: the legal values nearest to the given one."""
    left, right = division.left.value, division.right.value
    expression = division.expression
    if not isinstance(left, int) or not isinstance(right, int):
        return ()
    if not isinstance(expression.left, ast.Name) or not isinstance(expression.right, ast.Number):
        return ()
    below = left // right * right
    near = " or ".join(str(k) for k in (below, below + right) if k > 0)
    return (f"{quote(expression.left.span.text)} = {near} would be divisible by {right}",)


def _without_a_part(division: Division) -> tuple[str, ...]:
    """If the dividend is a sum of axes (a class token in front), whether it divides without one."""
    left, right = division.left.value, division.right.value
    if not isinstance(left, int) or not isinstance(right, int):
        return ()
    for origin in _ancestors(division.left.origin):
        parts = [o for o in origin.operands if o.value.isdigit()]
        if ": " not in origin.how or len(parts) < 2:
            continue
        for part in parts:
            rest = left - int(part.value)
            if rest > 0 and rest % right == 0 and int(part.value) < rest:
                where = f"{part.span.source.name}:{part.span.line}"
                return (
                    f"without the {part.value} of {quote(part.span.text)} ({where}) it would be "
                    f"{rest}; prefix tokens such as the class token can be switched off, or kept "
                    f"apart with `split`",
                )
    return ()


def _ancestors(origin: Origin) -> list[Origin]:
    found: list[Origin] = []
    level = [origin]
    for _ in range(8):
        found += level
        level = [operand for o in level for operand in o.operands]
    return found


def with_values(expression: ast.Expression, names: Mapping[str, Result | Unknown]) -> str:
    """The text of an expression with every number's name replaced by its value: `384 / 4`."""
    places: list[tuple[Span, str]] = []
    pending: list[object] = [expression]
    while pending:
        node = pending.pop()
        if isinstance(node, ast.Name):
            value = names.get(node.name)
            if isinstance(value, Number):
                places.append((node.span, str(value)))
        elif isinstance(node, ast.Syntax):
            pending += children(node)
    text, offset = expression.span.text, expression.span.start
    for span, value in sorted(places, key=lambda place: -place[0].start):
        text = text[: span.start - offset] + value + text[span.end - offset :]
    return " ".join(text.split())
