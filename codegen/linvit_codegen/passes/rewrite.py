"""How a pass changes a graph: block by block, and every iteration of a loop alike.

Graphs are immutable, so a rewrite gives new ones, and what it does not change stays the same
object: a pass that has nothing to do returns its argument. Values keep their identity wherever
the node that makes them is replaced by another; a value that goes is replaced everywhere.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import copy
from dataclasses import replace
from functools import cached_property
from itertools import pairwise

from linvit_dsl.graph.alike import Likeness
from linvit_dsl.graph.ir import Apply, Call, Carried, Graph, Node, Repeat, Store, Value

Leaf = Apply | Call | Store


class Block:
    """One graph while a pass rewrites it.

    Attributes:
        graph: As it was.
        uses: How often each value is an argument or a result of the graph.
        producers: The node that makes each value; inputs have none.
    """

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self._replaced: dict[Value, Value] = {}
        self._names: dict[Value, str] = {}

    @cached_property
    def uses(self) -> Counter[Value]:
        """How often each value is an argument or a result of the graph."""
        uses = Counter(self.graph.outputs)
        for node in self.graph.walk():
            if not isinstance(node, Store):
                uses.update(node.arguments)
        return uses

    @cached_property
    def producers(self) -> dict[Value, Leaf]:
        """The node that makes each value; inputs of the graph have none."""
        return {value: node for node in self.graph.walk() for value in results_of(node)}

    def current(self, value: Value) -> Value:
        """The value that stands for `value` by now."""
        while value in self._replaced:
            value = self._replaced[value]
        return value

    def substitute(self, old: Value, new: Value) -> None:
        """Let `new` stand for `old` everywhere; one without a name takes that of `old`."""
        new = self.current(new)
        self._replaced[old] = new
        self.uses[new] += self.uses.pop(old, 0)
        if old.name and not new.name and new not in self._names:
            self._names[new] = old.name

    def remove(self, node: Apply | Call) -> None:
        """Record that a node goes: what it read is read once less."""
        self.uses.subtract(map(self.current, node.arguments))

    def produce(self, node: Leaf) -> None:
        """Record a node that takes the place of others and makes their values."""
        self.producers.update(dict.fromkeys(results_of(node), node))

    def snapshot(self) -> Callable[[], None]:
        """Give a function that takes back all that was recorded since."""
        # Counts and producers are among the attributes if they have been asked for.
        state = {name: copy(value) for name, value in vars(self).items()}

        def restore() -> None:
            vars(self).clear()
            vars(self).update(state)

        return restore

    def finish(self, nodes: tuple[Node, ...]) -> Graph:
        """The graph with these nodes and all substitutions."""
        if nodes == self.graph.nodes and not self._replaced:
            return self.graph
        named = {old: replace(old, name=name) for old, name in self._names.items()}

        def final(value: Value) -> Value:
            value = self.current(value)
            return named.get(value, value)

        return replace(
            self.graph,
            nodes=substituted(nodes, final),
            outputs=tuple(map(final, self.graph.outputs)),
        )


Edit = Callable[[Block, tuple[Node, ...]], tuple[Node, ...]]
"""Rewrites nodes that run one after the other: those of a graph, or of one iteration of a loop."""


def everywhere(top: Graph, block: Callable[[Graph], Graph]) -> Graph:
    """Rewrite all graphs below `top`, those that are called before those that call them."""
    done: dict[Graph, Graph] = {}

    def visit(graph: Graph) -> Graph:
        if graph not in done:
            called = {
                node.graph: visit(node.graph) for node in graph.walk() if isinstance(node, Call)
            }
            done[graph] = block(_calling(graph, called))
        return done[graph]

    return visit(top)


def edited(graph: Graph, edit: Edit) -> Graph:
    """Rewrite the nodes of one graph, inner loops first."""
    block = Block(graph)
    return block.finish(_region(block, graph.nodes, edit))


def _region(block: Block, nodes: tuple[Node, ...], edit: Edit) -> tuple[Node, ...]:
    opened = tuple(_loop(block, node, edit) if isinstance(node, Repeat) else node for node in nodes)
    return edit(block, opened)


def _loop(block: Block, repeat: Repeat, edit: Edit) -> Repeat:
    """Rewrite every iteration, unless iterations that were alike would not be so any more."""
    restore = block.snapshot()
    iterations = tuple(_region(block, nodes, edit) for nodes in repeat.iterations)
    if iterations == repeat.iterations:
        return repeat
    new = replace(repeat, iterations=iterations)
    if _parts(repeat) <= _parts(substituted((new,), block.current)[0]):
        return new
    restore()
    return repeat


def _parts(repeat: Node) -> set[tuple[int, int]]:
    """The neighbouring iterations that are alike: these can be one Python loop."""
    assert isinstance(repeat, Repeat), "a loop stays one"
    numbers = Likeness().iterations(repeat)
    pairs = enumerate(pairwise(numbers))
    return {(index, index + 1) for index, (a, b) in pairs if a == b}


def results_of(node: Leaf) -> tuple[Value, ...]:
    """What a node makes."""
    return (node.result,) if isinstance(node, Store) else node.results


def is_pure(graph: Graph, known: dict[Graph, bool]) -> bool:
    """Whether executing a block twice on the same tensors is the same as once."""
    if graph not in known:
        known[graph] = all(
            is_pure(node.graph, known) if isinstance(node, Call) else applies_purely(node)
            for node in graph.walk()
        )
    return known[graph]


def applies_purely(node: Apply | Store) -> bool:
    """Whether a node draws no numbers and changes none that it owns (running averages)."""
    if isinstance(node, Store) or node.slot is None:
        return isinstance(node, Store) or not node.op.random
    return not node.op.random and all(weight.trained for weight in node.weights)


def substituted(nodes: Sequence[Node], value_of: Callable[[Value], Value]) -> tuple[Node, ...]:
    """The nodes on other values."""
    return tuple(_substituted(node, value_of) for node in nodes)


def _substituted(node: Node, value_of: Callable[[Value], Value]) -> Node:
    if isinstance(node, Repeat):
        iterations = tuple(substituted(nodes, value_of) for nodes in node.iterations)
        carried = tuple(Carried(c.name, tuple(map(value_of, c.values))) for c in node.carried)
        return replace(node, iterations=iterations, carried=carried)
    if isinstance(node, Store):
        result = value_of(node.result)
        return node if result is node.result else replace(node, result=result)
    arguments = tuple(map(value_of, node.arguments))
    # A result changes its name at most: what is replaced is made by no node any more.
    results = tuple(map(value_of, node.results))
    if arguments == node.arguments and results == node.results:
        return node
    return replace(node, arguments=arguments, results=results)


def _calling(graph: Graph, called: Mapping[Graph, Graph]) -> Graph:
    """The graph with other graphs in the place of those that it calls."""
    if all(old is new for old, new in called.items()):
        return graph

    def node_of(node: Node) -> Node:
        if isinstance(node, Repeat):
            iterations = tuple(tuple(map(node_of, nodes)) for nodes in node.iterations)
            return replace(node, iterations=iterations)
        if isinstance(node, Call) and called[node.graph] is not node.graph:
            return replace(node, graph=called[node.graph])
        return node

    return replace(graph, nodes=tuple(map(node_of, graph.nodes)))


def leaves(nodes: Sequence[Node]) -> Iterator[Leaf]:
    """The nodes, loops opened."""
    for node in nodes:
        if isinstance(node, Repeat):
            for iteration in node.iterations:
                yield from leaves(iteration)
        else:
            yield node
