"""Where linear attention does not pay, against the counts of its products and the formulas."""

import json

import pytest

import linvit_dsl
from linvit_dsl.cli import main
from linvit_dsl.graph.advice import LinearRead, advice, linear_reads


def test_reads_are_found_with_their_sizes() -> None:
    """RippleViT attends among 8 pooled tokens and the class token; split relu doubles the width."""
    graph = linvit_dsl.load("ripplevit").RippleViT.graph()
    assert linear_reads(graph) == {LinearRead(6, 9, 9, 128, 64): 12}
    hydra = linvit_dsl.load("hydravit").HydraViT.graph()
    assert linear_reads(hydra) == {LinearRead(6, 65, 65, 128, 64, readers=4): 12}
    assert linear_reads(linvit_dsl.load("baseline").BaselineViT.graph()) == {}


def test_costs_are_those_of_the_cost_table() -> None:
    model = linvit_dsl.load("linear").LinearViT
    ((read, count),) = linear_reads(model.graph()).items()
    assert (read, count) == (LinearRead(6, 65, 65, 128, 64), 12)
    products = 2 * 65 * 384 * 128
    assert read.by_state == products
    with_projections = model.cost().at("layers.0-11.attn").macs
    assert with_projections == count * (read.by_state + 4 * 65 * 384**2)


@pytest.mark.parametrize("readers", [1, 4])
@pytest.mark.parametrize(("features", "channels"), [(128, 64), (64, 64), (32, 48), (7, 1000)])
def test_the_break_even_is_where_the_costs_cross(
    features: int, channels: int, readers: int
) -> None:
    def read(tokens: int) -> LinearRead:
        return LinearRead(3, tokens, tokens, features, channels, readers)

    border = read(1).pays_from
    assert read(border).by_state < read(border).by_scores
    assert read(border - 1).by_state >= read(border - 1).by_scores


def test_advice_is_given_where_scores_are_cheaper_and_only_there() -> None:
    model = linvit_dsl.load("linear").LinearViT
    (sentence,) = advice(model.graph())
    assert sentence.startswith("linear attention of 65 queries and 65 keys, 12 times: ")
    assert sentence.endswith("the state pays from 86 tokens on")
    assert list(advice(model.graph(image=64))) == []


def test_the_command_prints_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["cost", "ripplevit", "--advice"]) == 0
    assert "9 queries and 9 keys" in capsys.readouterr().out
    assert main(["cost", "baseline", "--advice"]) == 0
    assert capsys.readouterr().out == "no linear attention here would be cheaper by scores\n"
    assert main(["cost", "linear", "--advice", "--format", "json"]) == 0
    (sentence,) = json.loads(capsys.readouterr().out)
    assert sentence.startswith("linear attention of 65 queries")
