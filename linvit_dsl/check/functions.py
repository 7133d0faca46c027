"""The functions of static expressions: `ceil(h / 2)`, `len(rates)`, `reverse(ripples)`."""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction

from linvit_dsl.check.arithmetic import whole
from linvit_dsl.check.values import (
    Number,
    Quantity,
    Result,
    literal,
    show_number,
    wrong_kind,
)
from linvit_dsl.errors import Span, SpecError, diagnose
from linvit_dsl.graph.ir import Origin
from linvit_dsl.graph.size import Poly

Arguments = tuple[Result, ...]


def evaluate(name: str, arguments: Arguments, span: Span) -> Result:
    """Apply the static function `name`.

    Raises:
        SpecError: Wrong number or kind of arguments, or no exact result.
    """
    fewest, most, function = FUNCTIONS[name]
    if not fewest <= len(arguments) <= most:
        expected = str(fewest) if fewest == most else f"{fewest} or more"
        raise SpecError(diagnose("E0317", span, name=name, expected=expected, given=len(arguments)))
    return function(name, arguments, span)


def _numbers(name: str, arguments: Arguments, span: Span) -> list[Number]:
    numbers = [value for value in arguments if isinstance(value, Number)]
    wrong = [value for value in arguments if not isinstance(value, Number)]
    if wrong:
        raise _mismatch(name, wrong[0], "a number", span)
    for number in numbers:
        if isinstance(number.value, Poly):
            raise _mismatch(name, number, "a number that does not depend on the batch", span)
    return numbers


def _mismatch(name: str, value: Result, expected: str, span: Span) -> SpecError:
    told = str(value) if isinstance(value, Number) else ""
    return wrong_kind(span, f"what `{name}` takes", expected, value, told=told)


def _derived(value: Quantity, span: Span, *sources: Number) -> Number:
    operands = tuple(source.origin for source in sources)
    return Number(value, Origin("", show_number(value), "", span, operands))


def _round(name: str, arguments: Arguments, span: Span) -> Number:
    (number,) = _numbers(name, arguments, span)
    exact = Fraction(number.value) if not isinstance(number.value, Poly) else Fraction(0)
    value = math.ceil(exact) if name == "ceil" else math.floor(exact)
    return _derived(value, span, number)


def _sqrt(name: str, arguments: Arguments, span: Span) -> Number:
    (number,) = _numbers(name, arguments, span)
    value = whole(number, span)
    root = math.isqrt(max(value, 0))
    if root * root != value:
        near = f"{root**2} and {(root + 1) ** 2} are the nearest squares"
        raise SpecError(diagnose("E0305", span, value=value, helps=(near,)))
    return _derived(root, span, number)


def _log(name: str, arguments: Arguments, span: Span) -> Number:
    (number,) = _numbers(name, arguments, span)
    if not _plain(number) > 0:
        raise SpecError(diagnose("E0375", span, value=show_number(number.value)))
    return _derived(math.log(_plain(number)), span, number)


def _extreme(name: str, arguments: Arguments, span: Span) -> Number:
    numbers = _numbers(name, arguments, span)
    pick = min if name == "min" else max
    return pick(numbers, key=_plain)


def _plain(number: Number) -> Fraction | float:
    value = number.value
    return (
        value if isinstance(value, float) else Fraction(value if not isinstance(value, Poly) else 0)
    )


def _lists(name: str, arguments: Arguments, span: Span) -> list[tuple[Result, ...]]:
    lists = [value for value in arguments if isinstance(value, tuple)]
    wrong = [value for value in arguments if not isinstance(value, tuple)]
    if wrong:
        raise _mismatch(name, wrong[0], "a list", span)
    return lists


def _len(name: str, arguments: Arguments, span: Span) -> Number:
    (items,) = _lists(name, arguments, span)
    return literal(len(items), span)


def _reverse(name: str, arguments: Arguments, span: Span) -> tuple[Result, ...]:
    (items,) = _lists(name, arguments, span)
    return tuple(reversed(items))


def _zip(name: str, arguments: Arguments, span: Span) -> tuple[Result, ...]:
    lists = _lists(name, arguments, span)
    if len({len(items) for items in lists}) > 1:
        lengths = " and ".join(str(len(items)) for items in lists)
        raise SpecError(diagnose("E0308", span, lengths=lengths))
    return tuple(zip(*lists, strict=True))


def _enumerate(name: str, arguments: Arguments, span: Span) -> tuple[Result, ...]:
    (items,) = _lists(name, arguments, span)
    return tuple((literal(index, span), item) for index, item in enumerate(items))


FUNCTIONS: dict[str, tuple[int, int, Callable[[str, Arguments, Span], Result]]] = {
    "ceil": (1, 1, _round),
    "floor": (1, 1, _round),
    "sqrt": (1, 1, _sqrt),
    "log": (1, 1, _log),
    "min": (1, 16, _extreme),
    "max": (1, 16, _extreme),
    "len": (1, 1, _len),
    "reverse": (1, 1, _reverse),
    "zip": (1, 16, _zip),
    "enumerate": (1, 1, _enumerate),
}
"""Name -> fewest arguments, most arguments, what it does."""

REDUCTIONS = ("mean", "sum", "max")
"""Words that `reduce` takes; `max` is a function as well."""
