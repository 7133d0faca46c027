"""Costs of graphs built by hand, against the formulas. n: tokens; d, m: widths; L: layers."""

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from linvit_dsl.graph.cost import cost
from linvit_dsl.graph.cost_table import render_cost
from linvit_dsl.graph.ir import BlockName, Value
from linvit_dsl.ops import OPS
from linvit_dsl.ops.op import Saved
from tests.conftest import Golden
from tests.dsl.graph.build import BATCH, Block, at, encoder, mlp, model

N, D, M, L, C = 5, 8, 32, 12, 3


@pytest.mark.parametrize("batch", [1, 7])
def test_mlp(batch: int) -> None:
    found = cost(mlp(N, D, M), batch)
    assert found.params == 2 * D * M + M + D
    assert found.macs == batch * N * 2 * D * M
    assert found.flops == 2 * found.macs
    # fc1 keeps its input, gelu what fc1 made, fc2 what gelu made: nothing twice.
    assert found.activation_bytes == 4 * batch * N * (D + M + M)


def test_a_model_with_a_loop() -> None:
    found = cost(model(L, N, D, M, C))
    layer = 2 * D * M + M + D
    assert found.params == (4 * D + D) + L * layer + (D * C + C)
    assert found.macs == N * (4 * D + L * 2 * D * M + D * C)
    assert found.activation_bytes == 4 * N * (4 + L * (D + 2 * M) + D)


def test_alike_layers_are_one_row_with_totals() -> None:
    found = cost(model(L, N, D, M, C))
    assert [row.path for row in found.tree] == ["embed", "layers.0-11", "head"]
    layers = found.at("layers.0-11")
    assert (layers.name, layers.count) == ("Layer", L)
    assert layers.outputs == ((1, N, D),)
    fc1 = found.at("layers.0-11.mlp.fc1")
    assert fc1.params == L * (D * M + M)
    assert fc1.macs == L * N * D * M
    assert fc1.line == "toy.vit:11"


def test_every_row_is_the_sum_of_the_rows_below() -> None:
    for row in cost(model(L)).walk():
        if row.children:
            assert row.params == sum(child.params for child in row.children)
            assert row.macs == sum(child.macs for child in row.children)
            assert row.activation_bytes == sum(child.activation_bytes for child in row.children)


def test_layers_that_differ_are_rows_of_their_own() -> None:
    block = Block("M", (BATCH, N, D))
    narrow, wide = mlp(N, D, 16), mlp(N, D, 64)

    def body(b: Block, x: Value, i: int):
        return b.call(narrow if i < 2 else wide, x, label="layers")[0]

    found = cost(block.finish(block.repeat(5, block.inputs[0], body)))
    assert [(row.path, row.count) for row in found.tree] == [("layers.0-1", 2), ("layers.2-4", 3)]


def test_a_shared_part_has_its_parameters_once_and_its_macs_each_time() -> None:
    block = Block("M", (BATCH, N, D))
    builder, part = block.builder, mlp(N, D, M)
    slot = builder.slot("write", at(3), labelled=True)
    x = block.inputs[0]
    for _ in range(3):
        (x,) = builder.call(part, (x,), slot=slot, span=at(4))
    found = cost(block.finish(x))
    once = cost(part)
    assert found.params == once.params
    assert found.macs == 3 * once.macs
    (row,) = found.tree
    assert (row.path, row.count, row.params) == ("write", 3, once.params)


def test_equal_names_in_different_blocks_are_different_weights() -> None:
    block = Block("M", (BATCH, N, D))
    x = block.inputs[0]
    for label in ("a", "b"):
        (x,) = block.call(mlp(N, D, M), x, label=label)
    assert cost(block.finish(x)).params == 2 * cost(mlp(N, D, M)).params


def test_a_buffer_is_no_parameter_and_no_declared_tensor_an_activation() -> None:
    block = Block("M", (BATCH, N, D))
    gain = block.param("gain", D)
    fixed = block.param("fixed", D, trained=False)
    y = block.op("mul", block.op("mul", block.inputs[0], gain), fixed)
    found = cost(block.finish(y))
    assert found.params == D
    # Each product keeps both factors; the declared ones exist anyway.
    assert found.activation_bytes == 4 * (N * D + N * D)


def test_a_tensor_that_two_parts_keep_is_counted_once() -> None:
    block = Block("M", (BATCH, N, D))
    x = block.inputs[0]
    q, k = (block.op("linear", x, out=D, label=label) for label in "qk")
    found = cost(block.finish(block.op("add", q, k)))
    assert found.activation_bytes == 4 * N * D
    assert [row.activation_bytes for row in found.tree] == [4 * N * D, 0, 0]


def test_a_view_is_the_tensor_that_it_looks_at() -> None:
    block = Block("M", (BATCH, N, D))
    x = block.inputs[0]
    flipped = block.op("transpose", block.op("linear", x, out=D, label="a"), a=1, b=2)
    # The product of a tensor with itself, seen twice through views.
    y = block.op(
        "mul", flipped, block.op("transpose", block.op("transpose", flipped, a=1, b=2), a=1, b=2)
    )
    assert cost(block.finish(y)).activation_bytes == 4 * (N * D + N * D)


@pytest.mark.parametrize(
    ("phi", "inside"),
    # S alone, as the kernel keeps q, k and v in any case; or what every operator of the body keeps:
    # k, v and gelu(k), q, gelu(q) and S.
    [(BlockName("relu"), 4), (BlockName("exp"), 6)],
)
def test_a_kernel_keeps_its_arguments_and_its_state(phi: BlockName, inside: int) -> None:
    """S = gelu(k) * v and out = gelu(q) * S; there is a kernel for some feature maps only."""
    block = Block("linear_attention", (BATCH, N, D), (BATCH, N, D), (BATCH, N, D))
    q, k, v = block.inputs
    state = block.op("mul", block.op("gelu", k), v)
    out = block.op("mul", block.op("gelu", q), state)
    body = block.finish(out, intrinsic=True)
    kernel = replace(body, module="std.linear_attention", statics={"phi": phi})
    outer = Block("M", (BATCH, N, D))
    q, k, v = (outer.op("linear", outer.inputs[0], out=D, label=label) for label in "qkv")
    (y,) = outer.call(kernel, q, k, v)
    found = cost(outer.finish(y))
    assert found.at("linear_attention").activation_bytes == 4 * N * D * inside
    assert found.activation_bytes == 4 * N * D * (inside + 1)


@pytest.mark.parametrize("method", ["macs", "saved", "weights"])
def test_control_a_wrong_operator_changes_the_number(
    method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = cost(encoder(N, D, M))
    wrong: dict[str, Callable[..., object]] = {
        "macs": lambda attributes, arguments, results: results[0].elements,
        "saved": lambda attributes, arguments: Saved(),
        "weights": lambda attributes, arguments: (),
    }
    monkeypatch.setattr(OPS["linear"], method, staticmethod(wrong[method]))
    after = cost(encoder(N, D, M))
    changed = {"macs": "macs", "saved": "activation_bytes", "weights": "params"}[method]
    for number in ("params", "macs", "activation_bytes"):
        same = getattr(before, number) == getattr(after, number)
        assert same == (number != changed), number


def test_batch_below_one() -> None:
    with pytest.raises(ValueError, match="not 0"):
        cost(mlp(N, D, M), 0)


def test_json_is_what_the_command_line_promises() -> None:
    found = cost(model(2))
    data = json.loads(json.dumps(found.to_json()))
    assert list(data) == ["model", "params", "macs", "flops", "activation_bytes", "tree"]
    assert data["model"] == "Toy"
    assert data["flops"] == 2 * data["macs"]
    layer = data["tree"][1]
    assert layer["path"] == "layers.0-1"
    assert layer["count"] == 2
    assert layer["outputs"] == [[1, N, D]]
    assert layer["children"][0]["children"][0]["path"] == "layers.0-1.mlp.fc1"


def test_table(golden: Golden) -> None:
    golden.check("draw/cost_toy.txt", render_cost(cost(model(L))))


def test_table_depth_and_alignment() -> None:
    lines = render_cost(cost(model(L)), depth=1).splitlines()
    assert [line.split()[1] for line in lines[-3:]] == ["embed", "layers.0-11", "head"]
    table = lines[5:]
    ends = {line.index("toy.vit") for line in table[1:]}
    assert len(ends) == 1
    assert "1 MAC = 2 FLOP" in lines[2]


def test_merging_the_heads_of_fused_attention_moves_nothing() -> None:
    """torch leaves the result of attention in memory as [B, n, h, c]; a copy elsewhere."""

    def kept(word: str) -> int:
        block = Block("M", (BATCH, 2, N, D), (BATCH, 2, N, D))
        q, k = block.inputs
        y = block.op("attend", q, k, k) if word == "attend" else block.op("sigmoid", q)
        y = block.op("rearrange", y, pattern="b h n c -> b n (h c)")
        return cost(block.finish(block.op("linear", y, out=D, label="out"))).activation_bytes

    tensor = 4 * 2 * N * D
    assert kept("attend") == 3 * tensor + 4 * 2 * N  # q, k, the result, the row sums
    assert kept("sigmoid") == 2 * tensor


def test_splitting_and_moving_axes_is_a_view() -> None:
    block = Block("M", (BATCH, N, D))
    y = block.op("linear", block.inputs[0], out=D, label="a")
    split = block.op("rearrange", y, pattern="b n (h c) -> b h n c", axes=(("h", 2),))
    moved = block.op("rearrange", split, pattern="b h n c -> b n h c")
    joined = block.op("rearrange", moved, pattern="b n h c -> b n (h c)")
    found = cost(block.finish(block.op("mul", y, moved_back(block, joined))))
    # What joining axes makes counts as new memory, though torch may find that it needs none.
    assert found.activation_bytes == 4 * N * D * 3


def moved_back(block: Block, value: Value) -> Value:
    return block.op("dropout", value, p=0.0, label="nothing")


@pytest.mark.parametrize(
    ("word", "pattern", "more", "statics"),
    [
        ("rearrange", "(b n) d -> b n d", (), {}),
        ("reduce", "(b n) d -> b d", (), {"how": "mean"}),
        ("expand", "(b n) d -> b n m d", (("m", 2),), {}),
    ],
)
def test_the_batch_may_be_the_size_of_an_axis(
    word: str, pattern: str, more: tuple[tuple[str, int], ...], statics: dict[str, Any]
) -> None:
    block = Block("M", (BATCH, N, D))
    joined = block.op("rearrange", block.inputs[0], pattern="b n d -> (b n) d")
    x = block.op("linear", joined, out=D, label="fc")
    y = block.op(word, x, pattern=pattern, axes=(("b", BATCH), *more), **statics)
    found = cost(block.finish(y), 3)
    assert found.macs == 3 * N * D * D
    assert found.tree[-1].outputs[0][0] == 3


@pytest.mark.parametrize("batch", [1, 3])
def test_a_batch_of_one_does_not_make_a_product_a_sum(batch: int) -> None:
    block = Block("M", (BATCH, D), (D, BATCH))
    found = cost(block.finish(block.op("matmul", *block.inputs)), batch)
    assert found.macs == batch * D * batch
    pattern = "b d, c d -> b c"
    block = Block("M", (N, BATCH), (D, BATCH))
    found = cost(block.finish(block.op("einsum", *block.inputs, pattern=pattern)), batch)
    assert found.macs == N * batch * D


@pytest.mark.parametrize("empty_first", [True, False])
def test_a_concat_with_one_part_is_that_part(empty_first: bool) -> None:
    block = Block("M", (BATCH, N, D), (BATCH, 0, D))
    x, empty = block.inputs
    x = block.op("gelu", x)
    parts = (empty, x) if empty_first else (x, empty)
    # Both products keep the one tensor that there is.
    y = block.op("mul", x, x)
    z = block.op("concat", *parts, axis=1)
    found = cost(block.finish(block.op("add", y, block.op("mul", z, z))))
    assert found.activation_bytes == 4 * (N * D + N * D)
