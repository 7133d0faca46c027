"""The catalogue of diagnostics: code, title, message template and long explanation."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Entry:
    """One kind of diagnostic, as `catalogue.toml` describes it."""

    code: str
    title: str
    message: str
    explanation: str
    wrong: str
    right: str


@cache
def catalogue() -> dict[str, Entry]:
    """All entries by code, in the order of the file."""
    import tomllib  # only now: a sound spec needs no messages

    text = Path(__file__).with_name("catalogue.toml").read_text(encoding="utf-8")
    return {code: Entry(code, **fields) for code, fields in tomllib.loads(text).items()}


def entry(code: str) -> Entry:
    """The entry of `code`.

    Raises:
        KeyError: No such code.
    """
    return catalogue()[code]
