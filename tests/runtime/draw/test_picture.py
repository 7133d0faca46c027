"""What a picture shows of a graph, and what it leaves out."""

import networkx as nx
import pytest

from linvit_dsl.graph.cost import cost
from linvit_runtime.draw import Box, Frame, Picture, picture
from linvit_runtime.draw.picture import Item
from tests.dsl.graph.build import BATCH, Block, encoder, mlp, model


def titles(drawn: Picture) -> list[str]:
    return [box.title for box in drawn.boxes() if box.kind not in ("tap", "input", "output")]


def frames(drawn: Picture) -> list[Frame]:
    return [item for item in drawn.walk() if isinstance(item, Frame)]


def kinds(drawn: Picture, kind: str) -> list[tuple[str, str]]:
    return [(arrow.source, arrow.target) for arrow in drawn.arrows if arrow.kind == kind]


def test_a_loop_is_drawn_once_with_its_count() -> None:
    drawn = picture(model(12))
    layer, inner = frames(drawn)
    assert (layer.title, layer.count) == ("Layer", 12)
    assert (inner.title, inner.count) == ("Mlp", 1)
    assert titles(drawn) == ["Linear", "Linear", "Linear", "+", "Linear"]


@pytest.mark.parametrize("detail", [0, 1, 2, None])
def test_arrows_join_boxes_in_order_of_execution(detail: int | None) -> None:
    drawn = picture(model(3), detail=detail)
    order = {box.id: place for place, box in enumerate(drawn.boxes())}
    assert all(order[arrow.source] < order[arrow.target] for arrow in drawn.arrows)
    web = nx.DiGraph([(arrow.source, arrow.target) for arrow in drawn.arrows])
    assert set(web) == set(order)
    assert nx.is_weakly_connected(web)


def test_a_residual_starts_inside_the_frame_of_the_layer() -> None:
    drawn = picture(model(12))
    ((tap, total),) = kinds(drawn, "residual")
    layer = frames(drawn)[0]
    assert layer.items[0] == next(box for box in drawn.boxes() if box.id == tap)
    assert tap.startswith("tap:")
    assert layer.items[-1].id == total
    # Into the frame there is one way only, and it ends at the tap.
    inside = {box.id for item in layer.items for box in boxes_of(item)}
    entering = [a for a in drawn.arrows if a.target in inside and a.source not in inside]
    assert [a.target for a in entering] == [tap]


def boxes_of(item: Item) -> list[Box]:
    return list(Picture("", (item,), ()).boxes())


def test_the_second_residual_of_a_layer_leaves_behind_the_first_sum() -> None:
    block = Block("Layer", (BATCH, 5, 8))
    x = block.inputs[0]
    for label in ("a", "b"):
        x = block.op("add", x, block.call(mlp(5, 8, 32), x, label=label)[0])
    drawn = picture(block.finish(x))
    first, second = kinds(drawn, "residual")
    assert first[0] == "input:x0"
    assert second[0] == "tap::add"
    assert [box.id for box in drawn.boxes()].index("tap::add") == 4


def test_control_a_sum_of_two_branches_is_no_residual() -> None:
    block = Block("M", (BATCH, 5, 8))
    x = block.inputs[0]
    branches = [block.call(mlp(5, 8, width), x, label=f"b{width}")[0] for width in (16, 32)]
    drawn = picture(block.finish(block.op("add", *branches)))
    assert kinds(drawn, "residual") == []
    assert titles(drawn).count("+") == 1


def test_a_sum_of_two_alike_branches_is_still_a_sum() -> None:
    block = Block("M", (BATCH, 5, 8))
    x = block.inputs[0]
    branches = [block.call(mlp(5, 8, 16), x, label=name)[0] for name in "ab"]
    drawn = picture(block.finish(block.op("add", *branches)), detail=0)
    assert [(box.title, box.count) for box in drawn.boxes()][1:3] == [("Mlp", 2), ("+", 1)]


def test_a_tensor_that_passes_by_is_a_skip() -> None:
    block = Block("M", (BATCH, 5, 8))
    y = block.op("linear", block.inputs[0], out=8, label="a")
    z = block.op("linear", y, out=8, label="b")
    drawn = picture(block.finish(block.op("concat", y, z, axis=1)))
    assert kinds(drawn, "skip") == [("a", "concat")]


def test_reshapes_and_dropout_are_not_drawn() -> None:
    block = Block("M", (BATCH, 16, 8))
    y = block.op("rearrange", block.inputs[0], pattern="b (h w) d -> b d h w", axes=(("h", 4),))
    y = block.op("dropout", y, p=0.1, label="drop")
    y = block.op("rearrange", y, pattern="b d h w -> b (h w) d")
    drawn = picture(block.finish(block.op("linear", y, out=3, label="head")))
    assert titles(drawn) == ["Linear"]
    assert [(a.source, a.target) for a in drawn.arrows] == [
        ("input:x0", "head"),
        ("head", "output:0"),
    ]


def test_a_block_of_reshapes_only_is_not_drawn() -> None:
    inner = Block("Flip", (BATCH, 4, 8))
    flip = inner.finish(inner.op("rearrange", inner.inputs[0], pattern="b n d -> b d n"))
    block = Block("M", (BATCH, 4, 8))
    (y,) = block.call(flip, block.inputs[0])
    graph = block.finish(block.op("linear", y, out=4, label="f"))
    assert titles(picture(graph, detail=0)) == titles(picture(graph)) == ["Linear"]


def test_an_activation_is_named_in_the_box_before_it() -> None:
    drawn = picture(mlp(5, 8, 32))
    assert [box.details for box in drawn.boxes() if box.kind == "op"] == [
        ("8 → 32 · GELU",),
        ("32 → 8",),
    ]


def test_an_activation_with_two_readers_keeps_its_box() -> None:
    block = Block("M", (BATCH, 5, 8))
    y = block.op("linear", block.inputs[0], out=8, label="a")
    drawn = picture(block.finish(block.op("mul", y, block.op("gelu", y))))
    assert titles(drawn) == ["Linear", "GELU", "×"]


def test_a_learned_tensor_goes_into_the_box_that_reads_it() -> None:
    block = Block("M", (BATCH, 5, 8))
    token, pos = block.param("cls_token", 1, 1, 8), block.param("pos", 1, 6, 8)
    token = block.op("expand", token, pattern="1 1 d -> b 1 d", axes=(("b", BATCH),))
    x = block.op("concat", token, block.inputs[0], axis=1)
    drawn = picture(block.finish(block.op("add", x, pos)))
    assert titles(drawn) == ["Concat", "+ pos"]
    assert [box.details for box in drawn.boxes() if box.kind == "op"] == [
        ("cls_token",),
        ("learned",),
    ]


def test_a_learned_tensor_that_a_block_reads_is_a_memory() -> None:
    inner = Block("Read", (BATCH, 5, 8), (5, 8))
    read = inner.finish(inner.op("mul", *inner.inputs))
    block = Block("M", (BATCH, 5, 8))
    bank = block.param("bank", 5, 8)
    (y,) = block.call(read, block.inputs[0], bank)
    drawn = picture(block.finish(y), detail=0)
    assert kinds(drawn, "memory") == [("bank", "Read")]
    (memory,) = [box for box in drawn.boxes() if box.kind == "memory"]
    assert memory.details == ("5×8", "learned")


def test_a_closed_block_shows_what_it_costs() -> None:
    graph = encoder(5, 8, 32)
    drawn = picture(graph, detail=0)
    (block,) = [box for box in drawn.boxes() if box.kind == "block"]
    whole = cost(graph)
    assert (block.title, block.params, block.macs) == ("Mlp", whole.params, whole.macs)
    assert block.details == ("552 params · 2.56k MACs",)
    assert block.family == "linear"


def test_a_frame_around_one_box_is_that_box() -> None:
    inner = Block("PatchEmbed", (BATCH, 3, 8, 8))
    patches = inner.op("conv2d", inner.inputs[0], out=16, kernel=4, stride=4, label="proj")
    embed = inner.finish(inner.op("rearrange", patches, pattern="b d h w -> b (h w) d"))
    block = Block("M", (BATCH, 3, 8, 8))
    (y,) = block.call(embed, block.inputs[0], label="embed")
    drawn = picture(block.finish(block.op("linear", y, out=3, label="head")))
    assert frames(drawn) == []
    assert titles(drawn) == ["PatchEmbed", "Linear"]
    assert next(drawn.boxes()).title == "x0"
    assert list(drawn.boxes())[1].details == ("Conv 4×4 · 3 → 16 · stride 4",)


def test_a_shape_is_written_where_the_number_of_elements_changed() -> None:
    drawn = picture(mlp(5, 8, 32))
    assert [arrow.shape for arrow in drawn.arrows] == ["", "B×5×32", ""]


def test_costs_on_every_box() -> None:
    (first, *_) = [box for box in picture(mlp(5, 8, 32), costs=True).boxes() if box.kind == "op"]
    assert first.details[-1] == "288 params · 1.28k MACs"


def hydra(branches: int):
    """`branches` low-rank queries of one input, each activated, stacked."""
    low = Block("LowRank", (BATCH, 5, 8))
    down = low.op("linear", low.inputs[0], out=2, label="down")
    low_rank = low.finish(low.op("linear", down, out=8, label="up"))
    block = Block("Hydra", (BATCH, 5, 8))
    (x,) = block.inputs
    q = block.op("linear", x, out=8, label="q")
    reads = [block.op("gelu", q)]
    with block.builder.unrolled():
        for _ in range(branches):
            (adapted,) = block.call(low_rank, x, label="adapters")
            reads.append(block.op("gelu", block.op("add", q, adapted)))
    return block.finish(block.op("stack", *reads, axis=0))


def test_parallel_branches_that_do_the_same_are_drawn_once() -> None:
    drawn = picture(hydra(7), detail=0)
    assert [(box.title, box.count) for box in drawn.boxes() if box.kind in ("op", "block")] == [
        ("Linear", 1),
        ("GELU", 1),
        ("LowRank", 7),
        ("GELU", 7),
        ("Stack", 1),
    ]


def test_open_branches_are_drawn_once_with_the_count_on_their_frame() -> None:
    drawn = picture(hydra(3), detail=None)
    (frame,) = frames(drawn)
    assert (frame.title, frame.count) == ("LowRank", 3)
    assert all(box.count == 1 for item in frame.items for box in boxes_of(item))


def test_control_branches_that_differ_are_all_drawn() -> None:
    block = Block("M", (BATCH, 5, 8))
    (x,) = block.inputs
    reads = [block.op("linear", x, out=width, label=name) for width, name in ((8, "a"), (4, "b"))]
    back = block.op("linear", reads[1], out=8, label="c")
    drawn = picture(block.finish(block.op("stack", reads[0], back, axis=0)))
    assert titles(drawn) == ["Linear", "Linear", "Linear", "Stack"]


def test_arguments_that_play_different_parts_are_not_folded() -> None:
    """q, k and v come from alike projections; what attends tells them apart."""
    block = Block("M", (BATCH, 5, 8))
    (x,) = block.inputs
    q, k, v = (block.op("linear", x, out=8, label=label) for label in "qkv")
    drawn = picture(block.finish(block.op("attend", q, k, v)))
    assert titles(drawn) == ["Linear", "Linear", "Linear", "Softmax attention"]
    assert [box.details for box in drawn.boxes()][1:4] == [
        ("q · 8 → 8",),
        ("k · 8 → 8",),
        ("v · 8 → 8",),
    ]


def test_the_spine_is_the_one_longest_chain() -> None:
    drawn = picture(model(3))
    spine = [arrow for arrow in drawn.arrows if arrow.spine]
    assert [a.source for a in spine[1:]] == [a.target for a in spine[:-1]]
    assert spine[0].source == "input:x0"
    assert spine[-1].target == "output:0"


def test_two_equally_long_branches_are_no_spine() -> None:
    block = Block("M", (BATCH, 5, 8))
    (x,) = block.inputs
    left, right = (block.op("linear", x, out=8, label=label) for label in "ab")
    drawn = picture(block.finish(block.op("sub", left, right)))
    assert {(a.source, a.target) for a in drawn.arrows if a.spine} == {("sub", "output:0")}
