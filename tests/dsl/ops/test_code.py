"""Pieces of code: parentheses exactly where Python needs them."""

from __future__ import annotations

import ast

import pytest

from linvit_dsl.ops.code import Code, binary, call, literal, number, tuple_of

A, B, C = Code("a"), Code("b"), Code("c")


@pytest.mark.parametrize(
    ("code", "text"),
    [
        (binary("+", A, binary("*", B, C)), "a + b * c"),
        (binary("*", A, binary("+", B, C)), "a * (b + c)"),
        (binary("-", A, binary("-", B, C)), "a - (b - c)"),
        (binary("-", binary("-", A, B), C), "a - b - c"),
        (binary("/", A, binary("@", B, C)), "a / (b @ c)"),
        (binary("/", binary("@", A, B), binary("+", C, literal(1e-6))), "a @ b / (c + 1e-06)"),
        (binary("+", A, B).method("sum", -1, keepdim=True), "(a + b).sum(-1, keepdim=True)"),
        (literal(-0.5).method("exp"), "(-0.5).exp()"),
        (binary("+", A, B).item(slice(None), 0), "(a + b)[:, 0]"),
        (A.item("...", slice(1, None)), "a[..., 1:]"),
        (A.item(slice(None), slice(2, 5), -1), "a[:, 2:5, -1]"),
        (call("F.gelu", A, approximate="tanh"), 'F.gelu(a, approximate="tanh")'),
        (call("f", 'say "no"', "it's"), 'f(\'say "no"\', "it\'s")'),
        (tuple_of([A]), "(a,)"),
        (tuple_of((A, B)), "(a, b)"),
        (number(13.0), "13"),
        (number(0.25), "0.25"),
        (number(1e300), "1e+300"),
    ],
)
def test_code_is_written_as_python_reads_it(code: Code, text: str) -> None:
    assert str(code) == text
    ast.parse(text, mode="eval")


@pytest.mark.parametrize("text", ["", "plain", 'a"b', "a'b", "a'\"b", "a\\b", "a\nb", "é\u202e"])
def test_a_text_comes_back_as_it_was(text: str) -> None:
    assert ast.literal_eval(str(literal(text))) == text
