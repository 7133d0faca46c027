"""A graph as steps and links: what is executed, in which group it stands, and what flows where.

This is the form that pictures and graph algorithms start from. Calls are opened to a chosen depth,
and alike iterations of a loop may be folded into the first of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

from linvit_dsl.errors import Span
from linvit_dsl.graph.alike import Likeness, periods
from linvit_dsl.graph.ir import Apply, Call, Graph, Node, Repeat, Store, TensorType, Value


@dataclass(frozen=True, slots=True)
class Step:
    """One execution of an operator, of a block that stays closed, or of a declared tensor.

    Args:
        path: Unique; slots from the model down, as in the cost tree.
        node: What is executed; None for an input or output of the whole graph.
        group: The path of the innermost group around it, "" for none.
        count: How many alike executions it stands for.
        results: Types of what it produces; for an output of the graph, of what it receives.
        name: What the text calls an input or output.
    """

    path: str
    node: Apply | Call | Store | None
    group: str
    count: int
    results: tuple[TensorType, ...]
    name: str = ""


@dataclass(frozen=True, slots=True)
class StepGroup:
    """An open block, or the body of a loop that is folded.

    Args:
        path: Unique, never that of a step.
        parent: The path of the group around it, "" for none.
        count: How many alike executions it stands for, one after the other.
        graph: The block; None for the body of a loop.
        span: Where it is applied.
    """

    path: str
    parent: str
    count: int
    graph: Graph | None
    span: Span


@dataclass(frozen=True, slots=True)
class Link:
    """A tensor on its way: result `result` of one step is argument `argument` of another."""

    source: str
    result: int
    target: str
    argument: int
    type: TensorType


@dataclass(frozen=True, slots=True)
class Expansion:
    """Steps and groups by path, in order of execution, and links in the order of their targets.

    Args:
        graph: What is laid out.
        steps, groups, links: See their classes.
        starts: Paths of steps whose result a folded loop begins with and hands on changed: what is
            linked to them in the loop gets another tensor from the second iteration on.
    """

    graph: Graph
    steps: dict[str, Step]
    groups: dict[str, StepGroup]
    links: tuple[Link, ...]
    starts: frozenset[str]


Origin = tuple[str, int]
"""Where a value comes from: the path of a step, and which of its results."""


def expand(graph: Graph, *, depth: int | None = None, fold: bool = False) -> Expansion:
    """Lay out one execution of `graph`.

    Args:
        graph: A model or block.
        depth: How many levels of blocks to open; 0 shows the graph's own nodes only, None all.
        fold: Whether alike iterations of a loop become one, with their count.
    """
    return _Expander(graph, depth, fold).run()


@dataclass(frozen=True, slots=True)
class _Place:
    """Where nodes stand: slots above, group around, levels of open blocks, and how often."""

    path: str = ""
    group: str = ""
    level: int = 0
    count: int = 1


@dataclass(slots=True)
class _Expander:
    graph: Graph
    depth: int | None
    fold: bool
    steps: dict[str, Step] = field(default_factory=dict)
    groups: dict[str, StepGroup] = field(default_factory=dict)
    links: list[Link] = field(default_factory=list)
    starts: set[str] = field(default_factory=set)
    likeness: Likeness = field(default_factory=Likeness)

    def run(self) -> Expansion:
        origins: dict[Value, Origin] = {}
        for index, value in enumerate(self.graph.inputs):
            path = self._free(f"input:{value.name or index}")
            self.steps[path] = Step(path, None, "", 1, (value.type,), value.name or "input")
            origins[value] = (path, 0)
        self._nodes(self.graph.nodes, origins, _Place())
        for index, value in enumerate(self.graph.outputs):
            path = self._free(f"output:{index}")
            self.steps[path] = Step(path, None, "", 1, (value.type,), "output")
            self._link(origins[value], path, 0, value.type)
        links, starts = tuple(self.links), frozenset(self.starts)
        return Expansion(self.graph, self.steps, self.groups, links, starts)

    def _nodes(self, nodes: Sequence[Node], origins: dict[Value, Origin], place: _Place) -> None:
        for node in nodes:
            if isinstance(node, Repeat):
                self._repeat(node, origins, place)
            elif isinstance(node, Call) and (self.depth is None or place.level < self.depth):
                self._open(node, origins, place)
            else:
                self._step(node, origins, place)

    def _step(
        self, node: Apply | Call | Store, origins: dict[Value, Origin], place: _Place
    ) -> None:
        own = self._free(_local(node, place.path))
        arguments = () if isinstance(node, Store) else node.arguments
        results = (node.result,) if isinstance(node, Store) else node.results
        types = tuple(value.type for value in results)
        self.steps[own] = Step(own, node, place.group, place.count, types)
        for index, value in enumerate(arguments):
            self._link(origins[value], own, index, value.type)
        for index, value in enumerate(results):
            origins[value] = (own, index)

    def _open(self, node: Call, origins: dict[Value, Origin], place: _Place) -> None:
        own = self._free(_local(node, place.path))
        self.groups[own] = StepGroup(own, place.group, place.count, node.graph, node.span)
        pairs = zip(node.graph.inputs, node.arguments, strict=True)
        inside = {inner: origins[outer] for inner, outer in pairs}
        self._nodes(node.graph.nodes, inside, _Place(own, own, place.level + 1))
        for outer, inner in zip(node.results, node.graph.outputs, strict=True):
            origins[outer] = inside[inner]

    def _repeat(self, repeat: Repeat, origins: dict[Value, Origin], place: _Place) -> None:
        for start, period, count in self._runs(repeat):
            body = [node for nodes in repeat.iterations[start : start + period] for node in nodes]
            for carried in repeat.carried if count > 1 else ():
                if carried.values[start] is not carried.values[start + period]:
                    self.starts.add(origins[carried.values[start]][0])
            if count == 1:
                self._nodes(body, origins, place)
            elif len(body) == 1 and not isinstance(body[0], Repeat):
                # A loop around one block needs no frame of its own: the block carries the count.
                self._nodes(body, origins, replace(place, count=count * place.count))
            else:
                own = self._free(f"{place.path}.repeat" if place.path else "repeat")
                self.groups[own] = StepGroup(own, place.group, count, None, repeat.span)
                self._nodes(body, origins, replace(place, group=own, count=1))
            # Results of the iterations that are not shown are those of the iterations that are.
            for index in range(start + period, start + period * count):
                shown = repeat.iterations[start + (index - start) % period]
                pairs = zip(_results(shown), _results(repeat.iterations[index]), strict=True)
                origins.update({hidden: origins[value] for value, hidden in pairs})

    def _runs(self, repeat: Repeat) -> list[tuple[int, int, int]]:
        if not self.fold:
            return [(index, 1, 1) for index in range(len(repeat.iterations))]
        return periods(self.likeness.iterations(repeat))

    def _link(self, origin: Origin, target: str, argument: int, type_: TensorType) -> None:
        source, result = origin
        self.links.append(Link(source, result, target, argument, type_))

    def _free(self, path: str) -> str:
        """`path`, with a number where it is taken: a shared part is executed more than once."""
        free, number = path, 2
        while free in self.steps or free in self.groups:
            free, number = f"{path}#{number}", number + 1
        return free


def _local(node: Apply | Call | Store, path: str) -> str:
    if node.slot is not None:
        name = str(node.slot)
    else:
        name = node.graph.name if isinstance(node, Call) else node.op.name
    return f"{path}.{name}" if path else name


def _results(nodes: Sequence[Node]) -> Iterator[Value]:
    for node in nodes:
        if isinstance(node, Repeat):
            for iteration in node.iterations:
                yield from _results(iteration)
        elif isinstance(node, Store):
            yield node.result
        else:
            yield from node.results
