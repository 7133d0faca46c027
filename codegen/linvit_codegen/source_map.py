"""Which statement of the `.vit` text every generated line comes from.

The map is JSON: `linvit_runtime.trace` reads it, and editors may. Its layout::

    {
      "version": 1,
      "body": "<sha256 in the header of the generated file>",
      "statements": [{"file", "line", "column", "block", "text"}, ...],
      "lines": {"42": 0, ...},      # line of the generated file -> index into statements
      # Python name -> name in the text, where they differ:
      "names": {"variables": {"d_p": "d'", ...}, "slots": {...}}
    }
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import PurePath
from typing import Any

from linvit_codegen.header import body_hash
from linvit_codegen.writer import Place, source_line
from linvit_dsl.errors import Span

VERSION = 1


def source_map(
    text: str, places: Mapping[int, Place], offset: int, names: Mapping[str, Mapping[str, str]]
) -> dict[str, Any]:
    """The map of a generated text, whose header has `offset` lines."""
    index: dict[Place, int] = {}
    lines: dict[str, int] = {}
    for line in sorted(places):
        number = index.setdefault(places[line], len(index))
        lines[str(line + offset + 1)] = number
    return {
        "version": VERSION,
        "body": body_hash(text),
        "statements": [_entry(place) for place in index],
        "lines": lines,
        "names": {kind: dict(table) for kind, table in names.items()},
    }


def is_source_map(text: str) -> bool:
    """Whether `text` is a map that `source_map` made, of whatever version."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return False
    return isinstance(found, dict) and found.keys() >= {"version", "body", "statements", "lines"}


def file_of(span: Span) -> str:
    """The file of a span as users call it, without the folders of this machine."""
    path = PurePath(span.source.name)
    return path.name if path.is_absolute() else path.as_posix()


def _entry(place: Place) -> dict[str, object]:
    span = place.statement
    return {
        "file": file_of(span),
        "line": span.line,
        "column": span.column,
        "block": place.block,
        "text": source_line(span),
    }
