"""Pieces of Python source text that know their precedence: parentheses are right by construction.

Only validated names, `repr` of validated values and fixed text may enter a `Code`: nothing that a
`.vit` author wrote reaches Python in any other way.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

ATOM, UNARY, PRODUCT, SUM = 9, 7, 5, 4

Key = int | slice | Literal["..."]
"""What may stand in the brackets of an index."""


@dataclass(frozen=True, slots=True)
class Code:
    """A Python expression and how tightly it binds."""

    text: str
    precedence: int = ATOM

    def __str__(self) -> str:
        return self.text

    def at(self, precedence: int) -> str:
        """The text, in parentheses if it binds less tightly than `precedence`."""
        return self.text if self.precedence >= precedence else f"({self.text})"

    def item(self, *keys: Key) -> Code:
        """`self[:, 0]`: integers, slices and an ellipsis."""
        return Code(f"{self.at(ATOM)}[{', '.join(map(_key, keys))}]")

    def method(self, name: str, *arguments: object, **keywords: object) -> Code:
        """`self.name(arguments)`."""
        return Code(f"{self.at(ATOM)}.{name}({_join(arguments, keywords)})")


def call(function: str, *arguments: object, **keywords: object) -> Code:
    """`function(arguments)`: `Code` arguments enter as they are, all others as literals."""
    return Code(f"{function}({_join(arguments, keywords)})")


def binary(operator: str, left: Code, right: Code) -> Code:
    """`left operator right` for one of + - * /."""
    precedence = SUM if operator in "+-" else PRODUCT
    return Code(f"{left.at(precedence)} {operator} {right.at(precedence + 1)}", precedence)


def literal(value: object) -> Code:
    """A number, boolean, string or tuple of them."""
    text = _argument(value)
    return Code(text, UNARY if text.startswith("-") else ATOM)


def number(value: float) -> Code:
    """A number as one writes it: `13`, not `13.0`."""
    return literal(int(value) if value.is_integer() and abs(value) < 2**53 else value)


def tuple_of(items: tuple[Code, ...] | list[Code]) -> Code:
    """`(a, b)`, and `(a,)` for one."""
    return Code(f"({', '.join(map(str, items))}{',' if len(items) == 1 else ''})")


def _join(arguments: tuple[object, ...], keywords: dict[str, object]) -> str:
    parts = [_argument(value) for value in arguments]
    parts += [f"{name}={_argument(value)}" for name, value in keywords.items()]
    return ", ".join(parts)


def _argument(value: object) -> str:
    if isinstance(value, Code):
        return value.text
    return _quoted(value) if isinstance(value, str) else repr(value)


def _quoted(text: str) -> str:
    """`repr` in double quotes, as Python code is formatted today."""
    inside = repr(text)[1:-1]
    return f'"{inside}"' if '"' not in text else repr(text)


def _key(key: Key) -> str:
    if not isinstance(key, slice):
        return str(key)
    return ":".join("" if bound is None else str(bound) for bound in (key.start, key.stop))
