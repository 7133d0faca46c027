"""Sizes of random specs: what the text writes, beside the number that it stands for."""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction
from math import prod


@dataclass(frozen=True, slots=True)
class Size:
    """A multiple of a product of names: `2 * d`, `n / 2`, `B`, or just `6`.

    Two sizes are equal if they are for all values of the names, so that what is generated holds
    wherever a block is applied; `value` is what this one is in the use that was in mind.
    """

    factor: Fraction
    names: tuple[str, ...] = ()
    value: int = field(default=0, compare=False)

    @classmethod
    def of(cls, number: int) -> Size:
        return cls(Fraction(number), (), number)

    @classmethod
    def named(cls, name: str, value: int) -> Size:
        return cls(Fraction(1), (name,), value)

    def __mul__(self, other: Size) -> Size:
        names = tuple(sorted(self.names + other.names))
        return Size(self.factor * other.factor, names, self.value * other.value)

    def over(self, number: int) -> Size:
        assert self.value % number == 0
        return Size(self.factor / number, self.names, self.value // number)

    def __add__(self, other: Size) -> Size | None:
        """None if no single term says it."""
        if self.names != other.names:
            return None
        return Size(self.factor + other.factor, self.names, self.value + other.value)

    @property
    def is_batch(self) -> bool:
        return "B" in self.names

    def __str__(self) -> str:
        if not self.names:
            return str(self.factor)
        words = list(self.names)
        if self.factor.numerator != 1:
            words.insert(0, str(self.factor.numerator))
        text = " * ".join(words)
        return text if self.factor.denominator == 1 else f"{text} / {self.factor.denominator}"


Shape = tuple[Size, ...]


def elements(shape: Shape) -> int:
    return prod(size.value for size in shape)


def show(shape: Shape) -> str:
    return f"[{', '.join(map(str, shape))}]"
