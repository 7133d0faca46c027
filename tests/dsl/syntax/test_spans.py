"""Spans are exact: the characters of a node, read alone, are that node again."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from linvit_dsl.errors import Source
from linvit_dsl.syntax import ast, parse, parse_expression
from tests.dsl.syntax.texts import CORPUS, SHIPPED, in_block, parsed, plain


def nodes(node: Any) -> Iterator[ast.Syntax]:
    """A node and everything below it."""
    if isinstance(node, tuple):
        for part in node:
            yield from nodes(part)
    elif isinstance(node, BaseModel):
        if isinstance(node, ast.Syntax):
            yield node
        for name in type(node).model_fields:
            yield from nodes(getattr(node, name))


def again(node: ast.Syntax) -> Any:
    """The node that the characters of `node` give alone; None where they cannot stand alone."""
    source = Source("b.vit", node.span.text)
    if isinstance(node, ast.Expression):
        return parse_expression(source)
    if isinstance(node, ast.Statement):
        (block,) = parsed(in_block(node.span.text)).file.items
        return block.body[0] if isinstance(block, ast.Block) else None
    if isinstance(node, ast.Item):
        return parse(source).file.items[0]
    return None


@pytest.mark.parametrize("path", [*CORPUS, *SHIPPED], ids=lambda path: path.name)
def test_every_node_is_what_its_span_says(path: Path) -> None:
    file = parse(Source(path.name, path.read_text(encoding="utf-8"))).file
    compared = 0
    for node in nodes(file.items):
        copy = again(node)
        if copy is not None:
            assert plain(copy) == plain(node), node.span.text
            compared += 1
        if isinstance(node, ast.Identifier):
            assert node.span.text == node.name
    assert compared >= len(file.items)


def test_the_comparison_notices_a_shifted_span() -> None:
    (constant,) = parsed("const a = 10 + 20").file.items
    assert isinstance(constant, ast.Constant)
    span = constant.value.span
    wrong = constant.value.model_copy(
        update={"span": type(span)(span.source, span.start + 1, span.end)}
    )
    assert plain(again(wrong)) != plain(wrong)


def test_parentheses_belong_to_what_is_around() -> None:
    (constant,) = parsed("const a = ( b + c ) * d").file.items
    assert isinstance(constant, ast.Constant)
    product = constant.value
    assert isinstance(product, ast.Binary)
    assert product.span.text == "( b + c ) * d"
    assert product.left.span.text == "b + c"


def test_spans_count_characters_whatever_the_line_break() -> None:
    text = "# φ\r\nconst φ = 1\r\nconst b = φ + 2\r\n"
    first, second = parsed(text).file.items
    assert first.span.text == "const φ = 1"
    assert second.span.text == "const b = φ + 2"
    assert (second.span.line, second.span.column) == (3, 1)
