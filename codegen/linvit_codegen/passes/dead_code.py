"""Takes away what nobody reads.

What has a slot stays, read or not: it is part of the state dict, whose keys are the same at every
level, and the generated code builds it without computing it. (A lint tells its author: W0301.)
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from linvit_codegen.passes.rewrite import everywhere, results_of
from linvit_dsl.graph.ir import Carried, Graph, Node, Repeat, Store, Value


def without_dead_code(top: Graph) -> Graph:
    """The graph without nodes whose results nobody reads."""
    return everywhere(top, _block)


def _block(graph: Graph) -> Graph:
    live = live_values(graph)
    dead = any(node.slot is None and live.isdisjoint(results_of(node)) for node in graph.walk())
    return replace(graph, nodes=tuple(_kept(graph.nodes, live))) if dead else graph


def live_values(graph: Graph, other: Mapping[Node, Sequence[Value]] | None = None) -> set[Value]:
    """All values that a result of the graph or a node with a slot depends on.

    `other` says what some nodes read, where that is not what their arguments are.
    """
    other = other or {}
    live = set(graph.outputs)
    nodes = tuple(reversed(tuple(graph.walk())))
    chains = [c.values for repeat in _loops(graph.nodes) for c in repeat.carried]
    found = -1
    # Loops are in single-assignment form too, so one sweep from the end sees every reader. What a
    # loop carries lives as a whole; that may bring to life what the sweep has passed.
    while found < len(live):
        found = len(live)
        for values in chains:
            if not live.isdisjoint(values[1:]):
                live.update(values)
        for node in nodes:
            read = node.slot is not None or not live.isdisjoint(results_of(node))
            if read and not isinstance(node, Store):
                live.update(other.get(node, node.arguments))
    return live


def _loops(nodes: Iterable[Node]) -> Iterator[Repeat]:
    for node in nodes:
        if isinstance(node, Repeat):
            yield node
            for iteration in node.iterations:
                yield from _loops(iteration)


def _kept(nodes: Sequence[Node], live: set[Value]) -> Iterator[Node]:
    for node in nodes:
        if isinstance(node, Repeat):
            yield from _loop(node, live)
        elif node.slot is not None or not live.isdisjoint(results_of(node)):
            yield node


def _loop(repeat: Repeat, live: set[Value]) -> Iterator[Repeat]:
    iterations = tuple(tuple(_kept(nodes, live)) for nodes in repeat.iterations)
    if any(iterations):
        carried = tuple(filter(lambda c: _is_live(c, live), repeat.carried))
        yield replace(repeat, iterations=iterations, carried=carried)


def _is_live(carried: Carried, live: set[Value]) -> bool:
    return not live.isdisjoint(carried.values[1:])
