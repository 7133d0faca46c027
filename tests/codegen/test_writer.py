"""How statements of the text are quoted in comments."""

import pytest

from linvit_codegen.writer import source_line
from linvit_dsl.errors import Source, Span


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ('x = f[\n  "a b -> b a", d,\n](\n  y,  # of the mixer\n)', 'x = f["a b -> b a", d](y)'),
        ("y = (a +\n  b)", "y = (a + b)"),
        ("z = [\n  f(a)\n  for a in b\n]", "z = [f(a) for a in b]"),
        ('t = "[ kept ,]"', 't = "[ kept ,]"'),
        ("repeat n as i {\n  x = f(x)\n}", "repeat n as i"),
    ],
)
def test_a_statement_of_several_lines_is_quoted_as_one(text: str, line: str) -> None:
    assert source_line(Span(Source("a.vit", text), 0, len(text))).rstrip() == line
