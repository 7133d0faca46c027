"""What a formatter must not change: the meaning of a text, and its comments."""

from __future__ import annotations

from collections import Counter
from typing import Any

from pydantic import BaseModel

from linvit_dsl.errors import InternalError, Source
from linvit_dsl.syntax.frontend import parse
from linvit_dsl.syntax.scanner import scan

# Where something stands may change, and nothing else.
_PLACES = {"span", "head"}


def assert_same_text(before: Source, after: Source) -> None:
    """Refuse a text that says something else than the one before, or lost a comment of it.

    Raises:
        InternalError: The ASTs differ (the documentation of blocks included), or the comments.
    """
    read = parse(after)
    broken = [found for found in read.diagnostics if found.severity == "error"]
    if broken:
        raise InternalError(f"formatting {before.name} broke it: {broken[0].message}")
    if not same(parse(before).file, read.file):
        raise InternalError(f"formatting {before.name} changed what it means")
    lost, gained = _comments(before) - _comments(after), _comments(after) - _comments(before)
    if lost or gained:
        raise InternalError(f"formatting {before.name} changed a comment: {[*lost, *gained][0]}")


def same(one: Any, other: Any) -> bool:
    """Whether two ASTs are equal but for the places in the text."""
    if isinstance(one, BaseModel):
        fields = set(type(one).model_fields) - _PLACES
        return type(one) is type(other) and all(
            same(getattr(one, name), getattr(other, name)) for name in fields
        )
    if isinstance(one, tuple) and isinstance(other, tuple):
        return len(one) == len(other) and all(map(same, one, other))
    return bool(one == other)


def _comments(source: Source) -> Counter[str]:
    return Counter(comment.text.rstrip() for comment in scan(source).comments)
