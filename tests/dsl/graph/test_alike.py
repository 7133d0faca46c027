"""Runs in a row of keys, and loops whose iterations do the same."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from linvit_dsl.graph.alike import Likeness, periods
from linvit_dsl.graph.ir import Graph, Repeat, Value
from tests.dsl.graph.build import BATCH, Block, model


@pytest.mark.parametrize(
    ("row", "runs"),
    [
        ("", []),
        ("a", [(0, 1, 1)]),
        ("abc", [(0, 1, 1), (1, 1, 1), (2, 1, 1)]),
        ("aaaa", [(0, 1, 4)]),
        ("ababab", [(0, 2, 3)]),
        ("aabaab", [(0, 3, 2)]),
        ("xaaab", [(0, 1, 1), (1, 1, 3), (4, 1, 1)]),
        ("ababa", [(0, 2, 2), (4, 1, 1)]),
    ],
)
def test_runs(row: str, runs: list[tuple[int, int, int]]) -> None:
    assert periods(row) == runs


@given(st.text("ab", max_size=24))
def test_runs_spell_the_row(row: str) -> None:
    spelled = "".join(row[s : s + p] * n for s, p, n in periods(row))
    assert spelled == row


def loop_of(graph: Graph) -> Repeat:
    return next(node for node in graph.nodes if isinstance(node, Repeat))


def test_layers_of_one_kind_are_alike() -> None:
    assert len(set(Likeness().iterations(loop_of(model(4))))) == 1


@pytest.mark.parametrize(
    ("other", "numbers"),
    [
        ({"out": 8}, 1),
        ({"out": 8, "bias": False}, 2),
    ],
)
def test_a_layer_with_other_weights_is_not_alike(other: dict[str, Any], numbers: int) -> None:
    block = Block("M", (BATCH, 8))
    statics = [{"out": 8}, other, {"out": 8}]
    y = block.repeat(3, block.inputs[0], lambda b, x, i: b.op("linear", x, label="f", **statics[i]))
    assert len(set(Likeness().iterations(loop_of(block.finish(y))))) == numbers


def test_wiring_counts() -> None:
    """Adding what came in and adding what came from outside are different things."""

    def looped(outside_from: int):
        block = Block("M", (BATCH, 8), (BATCH, 8))
        x, other = block.inputs

        def body(b: Block, value: Value, index: int):
            h = b.op("gelu", value)
            return b.op("add", h, other if index >= outside_from else value)

        return Likeness().iterations(loop_of(block.finish(block.repeat(4, x, body))))

    assert [len(set(looped(first))) for first in (0, 2, 4)] == [1, 2, 1]


def test_drop_rates_do_not_count() -> None:
    block = Block("M", (BATCH, 5, 8))

    def body(b: Block, x: Value, i: int):
        return b.op("dropout", x, p=0.1 * i, label="drop")

    graph = block.finish(block.repeat(3, block.inputs[0], body))
    assert len(set(Likeness().iterations(loop_of(graph)))) == 1
