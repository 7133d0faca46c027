"""The formatter: one layout for every text, without options.

Takes: a text without syntax errors. Gives: the same declarations and comments in lines of at most
100 columns. Non-goals: other orders, other names, other words in comments and texts.
"""

from __future__ import annotations

from dataclasses import replace

from linvit_dsl.errors import InternalError, Source, SpecError
from linvit_dsl.syntax.format.document import layout
from linvit_dsl.syntax.format.items import FilePrinter
from linvit_dsl.syntax.format.parts import WIDTH
from linvit_dsl.syntax.format.safety import assert_same_text
from linvit_dsl.syntax.frontend import parse

__all__ = ["WIDTH", "format_source"]


def format_source(source: Source) -> str:
    """The text of `source`, formatted.

    The result has been read again: it says the same, has the same comments, and formatting it once
    more would change nothing.

    Raises:
        SpecError: E01xx and E07xx, the text has syntax errors.
        InternalError: The formatter is wrong; the result must not be used.
    """
    written = _format(source)
    after = replace(source, text=written)
    assert_same_text(source, after)
    if _format(after) != written:
        raise InternalError(f"formatting {source.name} twice changes it once more")
    return written


def _format(source: Source) -> str:
    read = parse(source)
    errors = [found for found in read.diagnostics if found.severity == "error"]
    if errors:
        raise SpecError(*errors)
    written = layout(FilePrinter(source).document(read.file), WIDTH)
    return f"{written}\n" if written else ""
