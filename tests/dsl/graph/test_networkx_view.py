"""The networkx view: what is in it, that it has no cycle, and its longest path."""

import io
from math import prod

import networkx as nx
import pytest

from linvit_dsl.graph.cost import cost
from linvit_dsl.graph.expand import expand
from linvit_dsl.graph.ir import Apply, Call, Graph, Repeat, Store, Value
from linvit_dsl.graph.networkx_view import critical_path, to_networkx
from tests.dsl.graph.build import BATCH, Block, at, mlp, model

L = 4


def executions(graph: Graph) -> int:
    """Operators and declared tensors that run, counted without the view."""
    total = 0
    for node in graph.walk():
        total += executions(node.graph) if isinstance(node, Call) else 1
    return total


def arguments(graph: Graph) -> int:
    total = 0
    for node in graph.walk():
        if isinstance(node, Apply):
            total += len(node.arguments)
        elif isinstance(node, Call):
            total += arguments(node.graph)
    return total


def test_every_execution_is_a_node_and_every_argument_an_edge() -> None:
    graph = model(L)
    view = to_networkx(graph)
    assert isinstance(view, nx.MultiDiGraph)
    assert nx.is_directed_acyclic_graph(view)
    assert view.number_of_nodes() == executions(graph) + 2
    assert view.number_of_edges() == arguments(graph) + 1
    assert nx.is_weakly_connected(view)


@pytest.mark.parametrize("depth", [0, 1, 2, None])
def test_the_view_costs_what_the_model_costs(depth: int | None) -> None:
    graph = model(L)
    view = to_networkx(graph, depth=depth, batch=3)
    whole = cost(graph, 3)
    assert sum(attributes["params"] for _, attributes in view.nodes(data=True)) == whole.params
    assert sum(attributes["macs"] for _, attributes in view.nodes(data=True)) == whole.macs


def test_depth_closes_blocks() -> None:
    view = to_networkx(model(L), depth=0)
    kinds = [view.nodes[f"layers.{i}"]["kind"] for i in range(L)]
    assert kinds == ["block"] * L
    assert view.number_of_nodes() == L + 4


def test_attributes() -> None:
    view = to_networkx(model(L))
    fc1 = view.nodes["layers.2.mlp.fc1"]
    assert fc1 == {
        "kind": "op",
        "name": "linear",
        "family": "linear",
        "group": "layers.2.mlp",
        "params": 8 * 32 + 32,
        "macs": 5 * 8 * 32,
        "shape": "1×5×32",
        "line": "toy.vit:11",
    }
    (edge,) = view.get_edge_data("layers.2.mlp.fc1", "layers.2.mlp.gelu").values()
    assert edge == {"shape": "1×5×32", "result": 0, "argument": 0}


def test_a_shared_part_is_executed_twice_and_counted_once() -> None:
    block = Block("M", (BATCH, 5, 8))
    slot = block.builder.slot("write", at(3), labelled=True)
    x, part = block.inputs[0], mlp(5, 8, 32)
    for _ in range(2):
        (x,) = block.builder.call(part, (x,), slot=slot, span=at(4))
    graph = block.finish(x)
    view = to_networkx(graph)
    assert {"write.fc1", "write#2.fc1"} <= set(view)
    assert view.nodes["write#2.fc1"]["params"] == 0
    assert sum(a["params"] for _, a in view.nodes(data=True)) == cost(graph).params


def test_critical_path_takes_the_dearer_branch() -> None:
    block = Block("M", (BATCH, 5, 8))
    (x,) = block.inputs
    cheap = block.op("linear", x, out=8, label="cheap")
    dear = block.op("linear", block.op("linear", x, out=64, label="up"), out=8, label="down")
    graph = block.finish(block.op("add", cheap, dear))
    path = critical_path(graph)
    assert path.steps == ("input:x0", "up", "down", "add", "output:0")
    assert path.macs == 5 * (8 * 64 + 64 * 8)
    whole = critical_path(model(L))
    assert whole.macs == cost(model(L)).macs


def test_graphml_can_hold_it() -> None:
    view = to_networkx(model(2))
    stream = io.BytesIO()
    nx.write_graphml(view, stream)
    stream.seek(0)
    again = nx.read_graphml(stream, force_multigraph=True)
    assert list(again.nodes(data=True)) == list(view.nodes(data=True))
    assert again.number_of_edges() == view.number_of_edges()


def test_folding_shows_one_of_the_alike_layers() -> None:
    graph = model(L)
    expansion = expand(graph, fold=True)
    (group,) = [g for g in expansion.groups.values() if g.count > 1]
    assert (group.path, group.count) == ("layers.0", L)
    assert len(expansion.steps) == len(expand(model(1)).steps)
    # The head reads what the last layer leaves, hence what the one shown leaves.
    (link,) = [link for link in expansion.links if link.target == "head"]
    assert link.source == "layers.0.add"


def test_folding_keeps_what_differs() -> None:
    block = Block("M", (BATCH, 5, 8))
    kinds = [mlp(5, 8, 16), mlp(5, 8, 16), mlp(5, 8, 64), mlp(5, 8, 16)]
    y = block.repeat(4, block.inputs[0], lambda b, x, i: b.call(kinds[i], x, label="layers")[0])
    expansion = expand(block.finish(y), depth=0, fold=True)
    shown = [(s.path, s.count) for s in expansion.steps.values() if isinstance(s.node, Call)]
    assert shown == [("layers.0", 2), ("layers.2", 1), ("layers.3", 1)]
    chain = [(link.source, link.target) for link in expansion.links]
    assert ("layers.0", "layers.2") in chain
    assert ("layers.2", "layers.3") in chain


def test_a_loop_of_several_steps_gets_a_frame() -> None:
    block = Block("M", (BATCH, 5, 8))
    part = mlp(5, 8, 16)

    def body(b: Block, x: Value, i: int):
        return b.op("gelu", b.call(part, x, label="f")[0])

    graph = block.finish(block.repeat(3, block.inputs[0], body))
    assert isinstance(graph.nodes[0], Repeat)
    expansion = expand(graph, depth=0, fold=True)
    assert [(g.path, g.count) for g in expansion.groups.values()] == [("repeat", 3)]
    assert [s.group for s in expansion.steps.values()] == ["", "repeat", "repeat", ""]


def test_declared_tensors_are_nodes() -> None:
    block = Block("M", (BATCH, 5, 8))
    gain = block.param("gain", 5, 8)
    graph = block.finish(block.op("mul", block.inputs[0], gain))
    assert isinstance(graph.nodes[0], Store)
    view = to_networkx(graph)
    assert view.nodes["gain"]["kind"] == "store"
    assert view.nodes["gain"]["params"] == prod((5, 8))
