"""Scoped defaults: what they reach, what wins over them, and what they leave alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from linvit_dsl.check import check_program, elaborate, open_program
from linvit_dsl.check.defaults import settable
from linvit_dsl.graph.ir import Apply, Call, Graph
from linvit_dsl.ops import ALL_OPS


@pytest.fixture(autouse=True)
def _in_an_empty_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)


def applications(graph: Graph) -> list[tuple[str, str]]:
    """Every operator with weights in order, loops unrolled, with the word of its initialiser."""
    found: list[tuple[str, str]] = []
    for node in graph.walk():
        if isinstance(node, Call):
            found += applications(node.graph)
        elif isinstance(node, Apply) and node.op.name in ("linear", "layernorm"):
            given: Any = node.attributes
            value = given.init.name if node.op.name == "linear" else given.eps
            found.append((node.op.name, str(value)))
    return found


def starts(body: str, blocks: str = "") -> list[str]:
    """How the linear maps of a model start, in order."""
    Path("m.vit").write_text(
        f"{blocks}\nmodel M(x: [B, 4, 8]) -> [B, 4, 8] {{\n{body}\n}}\n", encoding="utf-8"
    )
    graph = elaborate(open_program("m.vit")).graph
    return [value for name, value in applications(graph) if name == "linear"]


INNER = "block Inner(x: [B, n, d]) -> [B, n, d] { return x |> linear[d]@fc }\n"
XAVIER = "defaults { linear.init = xavier }\n"


def test_they_hold_from_the_statement_on() -> None:
    body = f"x = x |> linear[8]@a\n{XAVIER}return x |> linear[8]@b"
    assert starts(body) == ["trunc_normal", "xavier"]


def test_they_reach_into_blocks_that_are_applied() -> None:
    outer = "block Outer(x: [B, n, d]) -> [B, n, d] { return x |> Inner@inner }\n"
    assert starts(f"{XAVIER}return x |> Outer@o", INNER + outer) == ["xavier"]


def test_one_block_before_and_after_is_two_specialisations() -> None:
    body = f"x = x |> Inner@a\n{XAVIER}x = x |> Inner@b\nreturn x |> Inner@c"
    assert starts(body, INNER) == ["trunc_normal", "xavier", "xavier"]


def test_they_end_with_the_body_that_sets_them() -> None:
    setting = f"block Setting(x: [B, n, d]) -> [B, n, d] {{ {XAVIER} return x |> linear[d]@fc }}\n"
    body = "x = x |> Setting@a\nreturn x |> linear[8]@b"
    assert starts(body, setting) == ["xavier", "trunc_normal"]


def test_the_inner_ones_win() -> None:
    zeros = (
        "block Zeros(x: [B, n, d]) -> [B, n, d] {\n"
        "  defaults { linear.init = zeros }\n  return x |> Inner@fc\n}\n"
    )
    body = f"{XAVIER}x = x |> Zeros@a\nreturn x |> Inner@b"
    assert starts(body, INNER + zeros) == ["zeros", "xavier"]


def test_later_ones_replace_earlier_ones() -> None:
    body = (
        f"{XAVIER}x = x |> linear[8]@a\ndefaults {{ linear.init = zeros }}\nreturn x |> linear[8]@b"
    )
    assert starts(body) == ["xavier", "zeros"]


def test_an_argument_that_is_given_wins() -> None:
    assert starts(f"{XAVIER}return x |> linear[8, init = normal[0.1]]@a") == ["normal"]


def test_those_of_a_loop_end_with_its_iteration() -> None:
    loop = f"repeat 2 {{ x = x |> linear[8]@a\n{XAVIER}x = x |> linear[8]@b }}\n"
    body = f"{loop}return x |> linear[8]@c"
    assert starts(body) == ["trunc_normal", "xavier"] * 2 + ["trunc_normal"]


def test_an_if_opens_no_scope() -> None:
    body = f"if 1 == 1 {{ {XAVIER} }}\nreturn x |> linear[8]@a"
    assert starts(body) == ["xavier"]


def test_a_layer_takes_those_of_its_use() -> None:
    assert starts(f"layer f = linear[8]\n{XAVIER}return f(x)") == ["xavier"]


def test_operators_that_came_through_a_parameter_take_them_too() -> None:
    uses = "block Uses[f: block](x: [B, n, d]) -> [B, n, d] { return x |> f@f }\n"
    assert starts(f"{XAVIER}return x |> Uses[linear[8]]@u", uses) == ["xavier"]


def test_values_may_use_names_of_the_body() -> None:
    body = "std = 1 / 4\ndefaults { linear.init = normal[std / 2] }\nreturn x |> linear[8]@a"
    Path("m.vit").write_text(f"model M(x: [B, 4, 8]) -> [B, 4, 8] {{\n{body}\n}}\n")
    (node,) = elaborate(open_program("m.vit")).graph.nodes
    assert isinstance(node, Apply)
    given: Any = node.attributes
    assert given.init.arguments == (0.125,)


def test_a_block_that_they_do_not_touch_stays_one() -> None:
    """Without weights inside, there is nothing to tell two applications apart."""
    plain = "block Plain(x: [B, n, d]) -> [B, n, d] { return relu(x) }\n"
    text = f"{plain}model M(x: [B, 4, 8]) -> [B, 4, 8] {{ x = Plain(x)\n{XAVIER}return Plain(x) }}"
    Path("m.vit").write_text(text)
    graph = elaborate(open_program("m.vit")).graph
    assert len({id(node.graph) for node in graph.nodes if isinstance(node, Call)}) == 1


def test_an_error_of_the_operator_names_the_default() -> None:
    body = "defaults { attend.scale = 2 }\nreturn attend(x, x, slice[1, 0, 2](x))"
    text = f"model M(x: [B, 4, 8]) -> [B, 4, 8] {{ {body} }}"
    Path("m.vit").write_text(text)
    (found,) = check_program(open_program("m.vit"))
    assert found.notes[-1] == "default `attend.scale = 2`   m.vit:1:49"


def test_what_may_be_left_out_may_be_set() -> None:
    """By construction of every operator: what it declares without a default cannot be set."""
    for op in ALL_OPS:
        for name, field in op.Attributes.model_fields.items():
            if field.is_required():
                assert name not in settable(op)
    assert [op.name for op in ALL_OPS if {"left", "right"} & set(settable(op))] == []
    assert settable(next(op for op in ALL_OPS if op.name == "linear")) == ("bias", "init")
