"""Pictures of the shipped specs: reviewed as text, and laid out as they should look."""

import shutil
from functools import cache
from pathlib import Path

import pytest

from linvit_dsl.check import elaborate, find_spec, open_program
from linvit_dsl.graph.cost import cost
from linvit_dsl.graph.ir import Graph
from linvit_runtime.draw import Frame, Picture, picture, render, to_dot, to_text
from tests.conftest import Golden

SPECS = [
    ("baseline", "BaselineViT"),
    ("linear", "LinearViT"),
    ("ripplevit", "RippleViT"),
    ("hydravit", "HydraViT"),
    ("vit_tiny_cifar10", "TinyViT"),
]
QAVIT = ("qavit", "QAViT")
ESTIMATES = [
    ("linformer", "LinformerViT"),
    ("performer", "PerformerViT"),
    ("nystromformer", "NystromformerViT"),
    ("hybrid", "HybridViT"),
]
BEYOND = [
    ("efficientvit", "EfficientViT"),
    ("pvt", "PVT"),
    ("agent", "AgentViT"),
    ("xcit", "XCiT"),
    ("grouped_query", "GroupedQueryViT"),
]
"""Pictures with pyramids, batch norm, pooling, powers, and results of several shapes."""
needs_dot = pytest.mark.skipif(shutil.which("dot") is None, reason="needs Graphviz's `dot`")


@cache
def graph_of(spec: str, model: str) -> Graph:
    return elaborate(open_program(find_spec(spec)[0]), model).graph


def skips(drawn: Picture, kind: str) -> set[tuple[str, str]]:
    title = {box.id: box.title or "tap" for box in drawn.boxes()}
    return {(title[a.source], title[a.target]) for a in drawn.arrows if a.kind == kind}


@pytest.mark.parametrize(("spec", "model"), [*SPECS, QAVIT, *ESTIMATES, *BEYOND])
def test_goldens(spec: str, model: str, golden: Golden) -> None:
    drawn = picture(graph_of(spec, model))
    golden.check(f"draw/{model}.dot", to_dot(drawn))
    golden.check(f"draw/{model}.txt", to_text(drawn))


@pytest.mark.parametrize(("spec", "model"), [*SPECS, *ESTIMATES])
@pytest.mark.parametrize("detail", [0, 1, 2, 3, None])
def test_every_level_of_detail(spec: str, model: str, detail: int | None) -> None:
    drawn = picture(graph_of(spec, model), detail=detail)
    order = {box.id: place for place, box in enumerate(drawn.boxes())}
    assert all(order[arrow.source] < order[arrow.target] for arrow in drawn.arrows)
    layers = [item for item in drawn.walk() if item.count == (4 if model == "TinyViT" else 12)]
    assert [layer.title for layer in layers] == ["EncoderLayer"]


def test_the_folded_model_shows_its_whole_cost() -> None:
    graph = graph_of("ripplevit", "RippleViT")
    drawn = picture(graph, detail=0)
    tokens = 384 + 65 * 384  # the class token and the positions are named inside other boxes
    assert sum(box.params * box.count for box in drawn.boxes()) == cost(graph).params - tokens
    assert sum(box.macs * box.count for box in drawn.boxes()) == cost(graph).macs


def test_ripples_are_nested_and_the_class_token_passes_by() -> None:
    drawn = picture(graph_of("ripplevit", "RippleViT"))
    assert skips(drawn, "residual") == {("tap", "+")}
    assert skips(drawn, "skip") == {
        ("tap", "Concat"),
        ("tap", "RippleExpand"),
        ("RipplePool", "RippleExpand"),
        ("LinearAttention", "Concat"),
    }


def test_hydra_branches_are_drawn_once() -> None:
    drawn = picture(graph_of("hydravit", "HydraViT"))
    counts = {(box.title, box.count) for box in drawn.boxes() if box.count > 1}
    assert counts == {("LowRank", 3), ("+", 3), ("SplitRelu", 3), ("LinearRead", 3)}


def test_a_tensor_that_a_loop_hands_on_is_a_bus() -> None:
    """The bank is learned at first and then written: it has a box and a line of its own."""
    drawn = picture(graph_of(*QAVIT))
    memory = [box for box in drawn.boxes() if box.kind == "memory"]
    assert [box.title for box in memory] == ["global_tokens"]
    (bus,) = [arrow for arrow in drawn.arrows if arrow.source == memory[0].id]
    (loop,) = [item for item in drawn.walk() if isinstance(item, Frame) and item.title == "repeat"]
    assert loop.count == 11
    assert bus.target in [item.id for item in loop.items]
    title = {box.id: box.title for box in drawn.boxes()}
    readers = [arrow for arrow in drawn.arrows if arrow.source == bus.target]
    assert sorted(title[a.target] for a in readers) == ["+", "LayerNorm", "Linear", "Linear"]
    assert {arrow.kind for arrow in [bus, *readers]} == {"memory"}


def test_a_tensor_that_no_loop_hands_on_is_named_where_it_is_read() -> None:
    """The control of the test above: `pos` has no box, nor have the weights of a branch."""
    titles = {box.title for box in picture(graph_of(*QAVIT)).boxes()}
    assert {"+ pos", "× 4 softmax(mix)", "× sigmoid(gate)"} <= titles


def test_families_of_closed_blocks() -> None:
    families = {
        box.title: box.family
        for spec, model in SPECS
        for box in picture(graph_of(spec, model), detail=1).boxes()
        if box.kind == "block"
    }
    assert families == {
        "Attention": "softmax_attention",
        "LinearAttention": "linear_attention",
        "RippleAttention": "linear_attention",
        "HydraAttention": "linear_attention",
        "Mlp": "linear",
    }


@needs_dot
@pytest.mark.parametrize(("spec", "model"), SPECS[:3])
def test_the_spine_is_straight(spec: str, model: str) -> None:
    import graphviz

    drawn = picture(graph_of(spec, model))
    plain = graphviz.pipe("dot", "plain", to_dot(drawn).encode(), quiet=True).decode()
    across = {
        words[1].strip('"'): float(words[2])
        for words in map(str.split, plain.splitlines())
        if words[0] == "node"
    }
    spine = {end for arrow in drawn.arrows if arrow.spine for end in (arrow.source, arrow.target)}
    assert len(spine) > 10
    places = [across[box] for box in spine]
    assert max(places) - min(places) < 0.03


@needs_dot
def test_a_frame_keeps_its_title_clear_of_the_spine(tmp_path: Path) -> None:
    """In the SVG, no vertical line of the spine runs through the text of a title."""
    import re

    svg = render(graph_of("hydravit", "HydraViT"), tmp_path / "hydra.svg").read_text("utf-8")
    drawn = picture(graph_of("hydravit", "HydraViT"))
    titles = {item.title for item in drawn.walk() if isinstance(item, Frame)}
    starts = {
        text: float(x)
        for x, text in re.findall(r'<text text-anchor="start" x="([-\d.]+)"[^>]*>(\w+)</text>', svg)
        if text in titles
    }
    taps = [
        float(x) for x in re.findall(r'<g id="box-tap[^>]*>\s*<title>.*?cx="([-\d.]+)"', svg, re.S)
    ]
    assert set(starts) == titles
    for title, start in starts.items():
        assert all(not start < x < start + 5 * len(title) for x in taps)
