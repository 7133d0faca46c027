"""From text to an AST: `parse` for files, `parse_expression` for a value on its own."""

from linvit_dsl.syntax.fragments import holes, parse_expression
from linvit_dsl.syntax.frontend import ParseResult, parse
from linvit_dsl.syntax.reading import read_source

__all__ = [
    "ParseResult",
    "holes",
    "parse",
    "parse_expression",
    "read_source",
]
