"""Exact arithmetic on sizes: integers, and polynomials in symbols such as the batch `B`.

After elaboration only the batch is symbolic, so a size is almost always a plain `int`; a `Poly`
appears when the batch is folded into another axis (`B * 4` windows). Every symbol stands for a
whole number >= 1, which is what lets `exact_div` and `positive` answer without a solver.
"""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from functools import lru_cache

Monomial = tuple[tuple[str, int], ...]
"""Symbols with their exponents, sorted: B^2*n is (("B", 2), ("n", 1)); () is the constant term."""


class Poly:
    """An immutable polynomial with rational coefficients in normal form: equality is structural."""

    __slots__ = ("_hash", "terms")

    terms: tuple[tuple[Monomial, Fraction], ...]

    def __init__(self, terms: Mapping[Monomial, Fraction | int]) -> None:
        # Most have one term, whose coefficient is a fraction already: this is made often.
        made = [(m, c if isinstance(c, Fraction) else Fraction(c)) for m, c in terms.items() if c]
        self.terms = tuple(sorted(made) if len(made) > 1 else made)
        self._hash = hash(self.terms)

    @staticmethod
    def symbol(name: str) -> Poly:
        """The polynomial that is just `name`."""
        return Poly({((name, 1),): 1})

    @staticmethod
    def of(value: Size | Fraction) -> Poly:
        """`value` as a polynomial."""
        return value if isinstance(value, Poly) else Poly({(): Fraction(value)})

    def __hash__(self) -> int:
        return self._hash

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Poly):
            return self.terms == other.terms
        return isinstance(other, int | Fraction) and self.constant == other

    @property
    def constant(self) -> Fraction | None:
        """The value if no symbol occurs, else None."""
        if not self.terms:
            return Fraction(0)
        if len(self.terms) == 1 and self.terms[0][0] == ():
            return self.terms[0][1]
        return None

    def __add__(self, other: Size | Fraction) -> Poly:
        total = dict(self.terms)
        for monomial, coefficient in Poly.of(other).terms:
            total[monomial] = total.get(monomial, Fraction(0)) + coefficient
        return Poly(total)

    __radd__ = __add__

    def __neg__(self) -> Poly:
        return Poly({m: -c for m, c in self.terms})

    def __sub__(self, other: Size | Fraction) -> Poly:
        return self + -Poly.of(other)

    def __rsub__(self, other: Size | Fraction) -> Poly:
        return Poly.of(other) - self

    def __mul__(self, other: Size | Fraction) -> Poly:
        product: dict[Monomial, Fraction] = {}
        for left, a in self.terms:
            for right, b in Poly.of(other).terms:
                monomial = _combine(left, right, 1)
                product[monomial] = product.get(monomial, Fraction(0)) + a * b
        return Poly(product)

    __rmul__ = __mul__

    def __pow__(self, exponent: int) -> Poly:
        result = Poly.of(1)
        for _ in range(exponent):
            result = result * self
        return result

    def exact_div(self, divisor: Size | Fraction) -> Poly | None:
        """The quotient if it is a polynomial, else None. Divides by one monomial, or by itself."""
        divisor = Poly.of(divisor)
        if self == divisor and divisor.terms:
            return Poly.of(1)
        if len(divisor.terms) != 1:
            return None
        monomial, coefficient = divisor.terms[0]
        quotient: dict[Monomial, Fraction] = {}
        for own, c in self.terms:
            rest = _combine(own, monomial, -1)
            if any(exponent < 0 for _, exponent in rest):
                return None
            quotient[rest] = c / coefficient
        return Poly(quotient)

    @property
    def integral(self) -> bool:
        """Whether every coefficient is whole, hence the value for all whole symbols."""
        return all(c.denominator == 1 for _, c in self.terms)

    @property
    def positive(self) -> bool:
        """Whether the value is surely >= 0 + something for all symbols >= 1."""
        negative = [(m, c) for m, c in self.terms if c < 0]
        if any(m for m, _ in negative):
            return False
        return sum((c for _, c in self.terms), Fraction(0)) > 0

    def at(self, values: Mapping[str, int]) -> Fraction:
        """The value when every symbol has one.

        Raises:
            KeyError: A symbol has no value.
        """
        total = Fraction(0)
        for monomial, coefficient in self.terms:
            term = coefficient
            for symbol, exponent in monomial:
                term *= values[symbol] ** exponent
            total += term
        return total

    def __str__(self) -> str:
        if not self.terms:
            return "0"
        parts: list[str] = []
        for monomial, coefficient in reversed(self.terms):
            symbols = "*".join(s if e == 1 else f"{s}^{e}" for s, e in monomial)
            if not symbols:
                parts.append(str(coefficient))
            else:
                parts.append(symbols if coefficient == 1 else f"{coefficient}*{symbols}")
        return " + ".join(parts).replace("+ -", "- ")

    __repr__ = __str__


def _combine(left: Monomial, right: Monomial, sign: int) -> Monomial:
    exponents = dict(left)
    for symbol, exponent in right:
        exponents[symbol] = exponents.get(symbol, 0) + sign * exponent
    return tuple(sorted((s, e) for s, e in exponents.items() if e))


Size = int | Poly
"""How many: a whole number, or a polynomial in the batch."""


def simplify(value: Poly | Fraction | int) -> Poly | Fraction | int:
    """`value` as an `int` if it is one, else as a `Fraction` if it is constant, else as it is."""
    if isinstance(value, Poly):
        constant = value.constant
        if constant is None:
            return value
        value = constant
    if isinstance(value, Fraction) and value.denominator == 1:
        return int(value)
    return value


def product(sizes: tuple[Size, ...] | list[Size]) -> Size:
    """The product of all `sizes`; 1 if there are none."""
    whole = 1
    symbolic: Poly | None = None
    for size in sizes:
        if isinstance(size, int):
            whole *= size
        else:
            symbolic = size if symbolic is None else symbolic * size
    if symbolic is None:
        return whole
    return symbolic if whole == 1 else symbolic * whole


def quotient(size: Size, divisor: Size) -> Size | None:
    """`size / divisor` if that is whole for every batch, else None."""
    if isinstance(size, int) and isinstance(divisor, int):
        return size // divisor if divisor and size % divisor == 0 else None
    found = Poly.of(size).exact_div(divisor)
    if found is None or not found.integral:
        return None
    whole = simplify(found)
    assert isinstance(whole, int | Poly), "an integral constant is an int"
    return whole


def at_batch(size: Size, batch: int) -> int:
    """The number that `size` is when the batch `B` is `batch`."""
    return size if isinstance(size, int) else _at_batch(size, batch)


@lru_cache(maxsize=1024)
def _at_batch(size: Poly, batch: int) -> int:
    # There are only a few polynomials in a model: the batch, and what windows make of it.
    return int(size.at({"B": batch}))
