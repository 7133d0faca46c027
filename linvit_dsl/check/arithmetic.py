"""Static arithmetic: exact rationals, the symbolic batch, floats only where a root forces them."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import TypeVar

from linvit_dsl.check.values import Division, Number, Quantity, Result, kind_of, show_number
from linvit_dsl.errors import Diagnostic, Span, SpecError, diagnose
from linvit_dsl.graph.ir import Origin
from linvit_dsl.graph.size import Poly, simplify
from linvit_dsl.syntax import ast

LARGEST = 10**12
"""No static number may exceed it: catches runaway powers before they cost time."""
LARGEST_EXPONENT = 64
LONGEST_FRACTION = 10**256
"""No denominator may exceed it, for the same reason; `1e-64` is the smallest number of a text."""
LARGEST_DEGREE = 16
"""Highest power of the batch: a tensor with as many axes of it could not be stored."""


def calculate(expression: ast.Binary, left: Number, right: Number) -> Number:
    """`left operator right` for one of + - * / // % ^.

    Raises:
        SpecError: E0309, not defined for these numbers, or out of range.
    """
    value = _value(expression, left.value, right.value)
    if (why := _excess(value)) is not None:
        raise SpecError(_refused(expression, left.value, right.value, why))
    operands = (left.origin, right.origin)
    origin = Origin("", show_number(value), "", expression.span, operands)
    number = Number(value, origin)
    if number.whole:
        return number
    division = left.division or right.division
    if expression.operator == "/" and left.whole and right.whole:
        division = Division(expression, left, right)
    return Number(value, origin, division)


def _excess(value: Quantity) -> str | None:
    """Why a result is refused that would make the next operations slow; None if it is not."""
    if isinstance(value, Poly):
        if _degree(value) > LARGEST_DEGREE:
            return f"the batch has powers up to {LARGEST_DEGREE}"
        parts: tuple[Fraction | float, ...] = tuple(c for _, c in value.terms)
    else:
        parts = (value,)
    if any(abs(part) > LARGEST for part in parts):
        return "the result is beyond 10^12"
    if any(isinstance(p, Fraction) and p.denominator > LONGEST_FRACTION for p in parts):
        return "the result has too long a fraction"
    return None


def _degree(value: Poly) -> int:
    return max((sum(power for _, power in m) for m, _ in value.terms), default=0)


def negative(expression: ast.Unary, operand: Number) -> Number:
    """`-operand`."""
    value = -operand.value
    origin = Origin("", show_number(value), "", expression.span, (operand.origin,))
    return Number(value, origin, operand.division)


def undefined(expression: ast.Binary, left: Result, right: Result) -> Diagnostic:
    """E0309: the operator has no meaning for these values."""
    return diagnose(
        "E0309",
        expression.span,
        operator=expression.operator,
        left=kind_of(left),
        right=kind_of(right),
    )


def _value(expression: ast.Binary, a: Quantity, b: Quantity) -> Quantity:
    match expression.operator:
        case "+" | "-" | "*":
            result = _ring(expression.operator, a, b)
        case "/":
            result = _quotient(expression, a, b)
        case "^":
            result = _power(expression, a, b)
        case _:
            result = _floor(expression, a, b)
    return result if isinstance(result, float) else simplify(result)


def _ring(operator: str, a: Quantity, b: Quantity) -> Quantity:
    """Exact as long as both sides are; a polynomial makes a float beside it a fraction."""
    if isinstance(a, int) and isinstance(b, int):
        return _combine(operator, a, b)
    if isinstance(a, Poly) or isinstance(b, Poly):
        return _combine(operator, Poly.of(_exact(a)), Poly.of(_exact(b)))
    if isinstance(a, float) or isinstance(b, float):
        return _combine(operator, float(a), float(b))
    return _combine(operator, Fraction(a), Fraction(b))


Same = TypeVar("Same", int, float, Fraction, Poly)


def _combine(operator: str, a: Same, b: Same) -> Same:
    match operator:
        case "+":
            return a + b
        case "-":
            return a - b
        case _:
            return a * b


def _exact(value: Quantity) -> Fraction | Poly:
    return value if isinstance(value, Poly) else Fraction(value)


def _quotient(expression: ast.Binary, a: Quantity, b: Quantity) -> Quantity:
    if b == 0:
        raise SpecError(_refused(expression, a, b, "division by zero"))
    if not isinstance(a, Poly) and not isinstance(b, Poly) and float in (type(a), type(b)):
        return float(a) / float(b)
    if not isinstance(a, Poly) and not isinstance(b, Poly):
        return Fraction(a) / Fraction(b)
    quotient = Poly.of(_exact(a)).exact_div(_exact(b))
    if quotient is None:
        raise SpecError(_refused(expression, a, b, "the batch does not cancel"))
    return quotient


def _power(expression: ast.Binary, a: Quantity, b: Quantity) -> Quantity:
    if isinstance(b, Poly) or abs(b) > LARGEST_EXPONENT:
        raise SpecError(
            _refused(expression, a, b, f"an exponent is a number up to {LARGEST_EXPONENT}")
        )
    if isinstance(a, Poly):
        if isinstance(b, float) or b < 0 or Fraction(b).denominator != 1:
            raise SpecError(_refused(expression, a, b, "the batch has whole powers only"))
        if _degree(a) * int(b) > LARGEST_DEGREE:
            raise SpecError(
                _refused(expression, a, b, f"the batch has powers up to {LARGEST_DEGREE}")
            )
        return a ** int(b)
    if a == 0 and b < 0:
        raise SpecError(_refused(expression, a, b, "division by zero"))
    root = isinstance(b, float) or Fraction(b).denominator != 1
    if root and a < 0:
        raise SpecError(_refused(expression, a, b, "the root of a negative number"))
    try:
        if root or isinstance(a, float):
            return float(a) ** float(b)
        return Fraction(a) ** int(b)
    except OverflowError:
        raise SpecError(_refused(expression, a, b, "the result is beyond 10^12")) from None


def _floor(expression: ast.Binary, a: Quantity, b: Quantity) -> Quantity:
    """`//` and `%`."""
    if b == 0:
        raise SpecError(_refused(expression, a, b, "division by zero"))
    if isinstance(a, Poly) or isinstance(b, Poly):
        quotient = Poly.of(_exact(a)).exact_div(_exact(b))
        if quotient is None or not quotient.integral:
            raise SpecError(_refused(expression, a, b, "the batch is not known"))
        return quotient if expression.operator == "//" else 0
    return math.floor(a / b) if expression.operator == "//" else a % b


def _refused(expression: ast.Binary, a: Quantity, b: Quantity, why: str) -> Diagnostic:
    label = f"{show_number(a)} {expression.operator} {show_number(b)}: {why}"
    return diagnose(
        "E0309",
        expression.span,
        label,
        operator=expression.operator,
        left=show_number(a),
        right=show_number(b),
    )


def compare(expression: ast.Binary, left: Number, right: Number) -> bool:
    """`left operator right` for one of == != <= >= < >.

    Raises:
        SpecError: E0309, an order that depends on the batch.
    """
    a, b = left.value, right.value
    if expression.operator in ("==", "!="):
        return (a == b) == (expression.operator == "==")
    if isinstance(a, Poly) or isinstance(b, Poly):
        raise SpecError(_refused(expression, a, b, "depends on the batch"))
    match expression.operator:
        case "<=":
            return a <= b
        case ">=":
            return a >= b
        case "<":
            return a < b
        case _:
            return a > b


def whole(number: Number, span: Span) -> int:
    """The number as an `int`, for counts and indices.

    Raises:
        SpecError: E0301, it is not whole, or it is the batch.
    """
    if number.whole and not isinstance(number.value, Poly):
        return int(number.value)
    text = " ".join(span.text.split())
    message = f"`{text}` = {number} is not a whole number"
    if isinstance(number.value, Poly):
        message = f"`{text}` depends on the batch: it is not a fixed number"
    raise SpecError(diagnose("E0301", span, message=message))
