"""Numbers and their units: `3`, `1e-6`, `2.47M`, `6GiB`, `5%`."""

from __future__ import annotations

import re
from fractions import Fraction

from linvit_dsl.graph import limits

UNITS: dict[str, int | Fraction] = {
    "%": Fraction(1, 100),
    "K": 10**3,
    "M": 10**6,
    "G": 10**9,
    "T": 10**12,
    "Ki": 2**10,
    "Mi": 2**20,
    "Gi": 2**30,
    "KiB": 2**10,
    "MiB": 2**20,
    "GiB": 2**30,
    "ep": 1,
    "it": 1,
    "px": 1,
}
"""What a unit multiplies a number by. Bytes, epochs, iterations and pixels are counts."""

_NUMBER = re.compile(r"([0-9][0-9_]*)(?:\.([0-9]+))?(?:[eE][+-]?([0-9]+))?")


def value_of(text: str) -> tuple[Fraction, str]:
    """The exact value of a NUMBER or QUANTITY, unit included, and the unit."""
    number = _NUMBER.match(text)
    if number is None:
        raise ValueError(text)
    value, unit = Fraction(number.group().replace("_", "")), text[number.end() :]
    return (value * UNITS[unit], unit) if unit else (value, "")


def too_long(text: str) -> bool:
    """Whether a number has more digits than the language reads."""
    number = _NUMBER.match(text)
    if number is None:
        return False
    whole, fraction, exponent = (part or "" for part in number.groups())
    return (
        len(whole.replace("_", "")) > limits.INTEGER_DIGITS
        or len(fraction) > limits.FRACTION_DIGITS
        or len(exponent) > limits.INTEGER_DIGITS
        or int(exponent or 0) > limits.EXPONENT
    )
