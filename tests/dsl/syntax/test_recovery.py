"""Several mistakes in one text: one message for each, and all the rest is read."""

from typing import Any

import pytest

from linvit_dsl.graph import limits
from linvit_dsl.syntax import ast
from tests.dsl.syntax.texts import in_block, marked, parsed, places

SIX_IN_A_BLOCK = """\
block Bad[heads: dim](x: [B, n, d]) -> [B, n, d] {
  dim c = d /
  «q» = x |> linear[d @q«»
  «repaet» 3 { q = q }
  good = x |> linear[d]@good
  k = x |> linear[d]@k |> rearrange["b n (h c) -> b h n c"«» h = heads]
  y = attend(q, k, v«»
  z = y + «'text'»
  return y |> linear[d]@out
}
"""

SIX_DECLARATIONS = """\
from std.attention import Attention

block A(x: [B, n, d]) -> [B, n, d] {
  dim c = d /
  «return» x
}

block B2[heads «dim»](x: [B, n, d]) -> [B, n, d] {
  return x |> linear[d]
}

model M(img: [B, 3, 32, 32]) -> [B, 10] {
  x = img |> conv2d[64, kernel = 4«»
  return x
}

block C(x: [B, n, d]) -> [B, n, d] {
  «repaet» 3 { x = x }
  return x
}

recipe r { epochs = «'ten'» }
block D(x: [B, n])«» { return x }
"""


@pytest.mark.parametrize("text", [SIX_IN_A_BLOCK, SIX_DECLARATIONS], ids=["block", "file"])
def test_six_mistakes_are_six_messages_of_one_run(text: str) -> None:
    clean, spans = marked(text)
    found = parsed(clean).diagnostics
    assert len(found) == 6
    assert places(found) == spans


def test_a_block_keeps_its_good_statements() -> None:
    clean, _ = marked(SIX_IN_A_BLOCK)
    (block,) = parsed(clean).file.items
    assert isinstance(block, ast.Block)
    assert block.broken
    assert [statement.span.text.split()[0] for statement in block.body] == [
        *("repaet", "good", "k", "z", "return")
    ]
    assert {"c", "q", "y"} <= block.lost
    assert "good" not in block.lost


def test_a_repaired_statement_is_as_if_it_had_been_right() -> None:
    (wrong,), (right,) = (
        parsed(in_block(line)).file.items
        for line in ("repaet 3 { x = f(x 2) }", "repeat 3 { x = f(x, 2) }")
    )
    assert isinstance(wrong, ast.Block)
    assert isinstance(right, ast.Block)
    assert not wrong.broken
    loops: list[Any] = [wrong.body[0], right.body[0]]
    assert [loop.kind for loop in loops] == ["repeat", "repeat"]
    assert [len(loop.body[0].value.arguments) for loop in loops] == [2, 2]


def test_a_mistake_deep_inside_costs_one_statement() -> None:
    lines = [
        "repeat 3 {",
        "if a {",
        "x = ",
        "y = x",
        "} else {",
        "z = x",
        "}",
        "for b in c { w = }",
        "}",
    ]
    (block,) = parsed(in_block(*lines, "return x")).file.items
    assert isinstance(block, ast.Block)
    loop, last = block.body
    assert isinstance(loop, ast.Repeat)
    assert last.kind == "return"
    choice, walk = loop.body
    assert isinstance(choice, ast.If)
    assert isinstance(walk, ast.For)
    assert [len(choice.yes), len(choice.no), len(walk.body)] == [1, 1, 0]


def test_branches_of_a_chain_keep_their_places() -> None:
    text = (
        "if a { x = 1 } else if b { y = } else if c { z = 3; w = 4 } else { v = 5; u = 6; t = 7 }"
    )
    (block,) = parsed(in_block(text)).file.items
    assert isinstance(block, ast.Block)
    sizes: list[int] = []
    choice: Any = block.body[0]
    while choice.kind == "if":
        sizes.append(len(choice.yes))
        chained = len(choice.no) == 1 and choice.no[0].kind == "if"
        if not chained:
            sizes.append(len(choice.no))
            break
        choice = choice.no[0]
    assert sizes == [1, 0, 2, 3]


def test_recipes_and_sweeps_keep_their_good_lines() -> None:
    result = parsed(
        "recipe r {\n  seed = \n  data { batch = 2; name: 3; x = }\n  last = 1\n}\n"
        "train M with r { a = ; b = 2 }\n"
        "sweep s of M { d in [1, 2]; k in ; where d > ; where k > 1; seeds = 3 }\n"
    )
    recipe, train, sweep = result.file.items
    assert isinstance(recipe, ast.Recipe)
    assert isinstance(train, ast.Train)
    assert isinstance(sweep, ast.Sweep)
    assert train.record is not None
    assert [field.name.name for field in recipe.record.fields] == ["data", "last"]
    data = recipe.record.fields[0].value
    assert isinstance(data, ast.Record)
    assert [field.name.name for field in data.fields] == ["batch", "name"]
    assert [field.name.name for field in train.record.fields] == ["b"]
    assert [len(sweep.axes), len(sweep.conditions), len(sweep.fields)] == [1, 1, 1]
    assert len(result.diagnostics) == 6


def test_defaults_keep_their_good_lines() -> None:
    lines = "linear.init = ; linear.bias = false, conv2d.init = xavier; eps = 3; layernorm.eps = 1"
    result = parsed(in_block(f"y = x\ndefaults {{ {lines} }}"))
    (block,) = result.file.items
    assert isinstance(block, ast.Block)
    _, defaults = block.body
    assert isinstance(defaults, ast.Defaults)
    kept = [f"{setting.operator.name}.{setting.name.name}" for setting in defaults.settings]
    assert kept == ["layernorm.eps"]
    assert [found.code for found in result.diagnostics] == ["E0101", "E0117", "E0101"]


def test_statements_about_a_model_stand_behind_what_is_broken() -> None:
    broken = "block A(x: [B, n]) -> [B, n] {\n  y = linear[\n"
    text = broken + "{}: params <= 6M\ncheck A: [2, 3] -> [2, 3]\n"
    for statement in ("expect A", "expect A[k = 2]", "expect lib.A", "claim A"):
        _, expectation, check = parsed(text.replace("{}", statement)).file.items
        assert isinstance(expectation, ast.Expectation)
        assert isinstance(check, ast.Check)


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("block A[", "A"),
        ("model M = ViT[mixer = ", "M"),
        ("const base = ", "base"),
        ("intrinsic block K(", "K"),
        ("float32 block K(", "K"),
        ("block A(x: [B])", "A"),
    ],
)
def test_a_lost_declaration_still_declares_its_name(text: str, name: str) -> None:
    lost, after = parsed(f"{text}\nconst after = 1\n").file.items
    assert isinstance(lost, ast.Block)
    assert (lost.name.name, lost.broken, lost.body) == (name, True, ())
    assert isinstance(after, ast.Constant)


def test_a_lost_import_still_imports_its_names() -> None:
    (found,) = parsed("from std nn import A B C").file.items
    assert isinstance(found, ast.Import)
    assert [name.name for name in found.names] == ["A", "B", "C"]


@pytest.mark.parametrize(
    "lines",
    [
        ["y = f(", "  a = 1,", "  b = 2,", ")(x"],
        ["y = linear[", "  d,", "  bias = true,", "](x) +"],
    ],
)
def test_arguments_on_lines_of_their_own_are_no_statements(lines: list[str]) -> None:
    result = parsed(in_block(*lines, "z = x"))
    (block,) = result.file.items
    assert isinstance(block, ast.Block)
    assert len(result.diagnostics) == 1
    assert [statement.span.text for statement in block.body] == ["z = x"]


def test_an_unclosed_bracket_with_a_comma_ends_at_the_next_statement() -> None:
    result = parsed(in_block("y = f(a,", "z = x", "return z"))
    assert [found.code for found in result.diagnostics] == ["E0102"]
    (block,) = result.file.items
    assert isinstance(block, ast.Block)
    assert [statement.span.text for statement in block.body] == ["z = x", "return z"]


def test_what_follows_a_broken_head_is_not_reported_again() -> None:
    result = parsed("block A(x: [B])\n  y = x\n  return y\n}\nconst a = 1\n")
    assert [found.code for found in result.diagnostics] == ["E0101"]
    assert [item.kind for item in result.file.items] == ["block", "const"]


def test_messages_are_sorted_and_not_more_than_the_limit() -> None:
    lines = [f"x = $ +\nconst a{n} =" for n in range(limits.ERRORS)]
    found = parsed("\n".join(lines)).diagnostics
    assert len(found) == limits.ERRORS
    starts = [diagnostic.primary.span.start for diagnostic in found]
    assert starts == sorted(starts)


def test_a_right_text_has_no_messages() -> None:
    assert parsed("").diagnostics == ()
    assert parsed("\n# only a comment").file.items == ()
