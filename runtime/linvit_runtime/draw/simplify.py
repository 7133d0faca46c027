"""From every step of a graph to the steps worth drawing, as a networkx graph.

Reshapes and dropout vanish, learned tensors and activations move into the box that uses them, and a
block of which one step is left becomes that step.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from linvit_dsl.graph.expand import Expansion, Step, expand
from linvit_dsl.graph.ir import Apply, Call, Graph, Store, TensorType
from linvit_runtime.draw.labels import ACTIVATIONS, is_quiet, title_of

if TYPE_CHECKING:
    from networkx import MultiDiGraph


@dataclass(slots=True)
class Sketch:
    """What is left to draw.

    Args:
        expansion: All steps and groups.
        flow: The steps that are drawn; an edge has `type`, of the tensor as it arrives.
        notes: What a step has taken in: a learned tensor, an activation.
        group: The innermost frame around a step.
        title: Names of blocks that became one step.
        count: How many executions a step or a group stands for.
        starts: Steps whose result a loop begins with; later iterations get another tensor.
    """

    expansion: Expansion
    flow: MultiDiGraph[str]
    notes: dict[str, list[str]] = field(default_factory=dict)
    group: dict[str, str] = field(default_factory=dict)
    title: dict[str, str] = field(default_factory=dict)
    count: dict[str, int] = field(default_factory=dict)
    starts: set[str] = field(default_factory=set)

    def step(self, path: str) -> Step:
        """The step of that path."""
        return self.expansion.steps[path]

    def note(self, path: str, text: str) -> None:
        """Write `text` into the box of a step."""
        self.notes.setdefault(path, []).append(text)

    def around(self, group: str) -> Iterator[str]:
        """A group and all groups around it, innermost first; the last is "", the whole picture."""
        while group:
            yield group
            group = self.expansion.groups[group].parent
        yield ""


def sketch(graph: Graph, detail: int | None) -> Sketch:
    """Expand `graph`, `detail` levels of blocks deep, and take away what nobody looks for."""
    import networkx as nx

    expansion = expand(graph, depth=detail, fold=True)
    flow: MultiDiGraph[str] = nx.MultiDiGraph()
    flow.add_nodes_from(expansion.steps)
    for link in expansion.links:
        flow.add_edge(link.source, link.target, type=link.type, argument=link.argument)
    drawn = Sketch(expansion, flow, starts=set(expansion.starts))
    for path, step in expansion.steps.items():
        drawn.group[path], drawn.count[path] = step.group, step.count
    drawn.count |= {path: group.count for path, group in expansion.groups.items()}
    _drop_quiet(drawn)
    _take_in_learned_tensors(drawn)
    _take_in_activations(drawn)
    _close_small_frames(drawn)
    return drawn


def arriving(drawn: Sketch, path: str) -> list[tuple[str, TensorType]]:
    """Where the arguments of a step come from, and their types, in order."""
    edges = [
        (attributes["argument"], source, attributes["type"])
        for source, _, attributes in drawn.flow.in_edges(path, data=True)
    ]
    return [(source, type_) for _, source, type_ in sorted(edges, key=lambda edge: edge[0])]


def _drop_quiet(drawn: Sketch) -> None:
    for path, step in drawn.expansion.steps.items():
        node = step.node
        if not isinstance(node, Apply | Call) or not is_quiet(node):
            continue
        # What counts is the argument that is not empty; a block that moves several is drawn.
        sources = [source for source, type_ in arriving(drawn, path) if 0 not in type_.sizes]
        if len(sources) == 1:
            _bypass(drawn, path, sources[0])
    empty = [
        (source, target, key)
        for source, target, key, type_ in drawn.flow.edges(keys=True, data="type")
        if 0 in type_.sizes
    ]
    drawn.flow.remove_edges_from(empty)


def _bypass(drawn: Sketch, path: str, source: str) -> None:
    """Take a step out: who read it reads its source."""
    for _, target, attributes in list(drawn.flow.out_edges(path, data=True)):
        drawn.flow.add_edge(source, target, **attributes)
    if path in drawn.starts:
        drawn.starts.add(source)
    drawn.flow.remove_node(path)


def _take_in_learned_tensors(drawn: Sketch) -> None:
    """Write `+ pos` instead of a box for `pos`, where one operator alone reads the tensor.

    A tensor that a loop only begins with keeps its box: most iterations read another one.
    """
    texts: dict[str, str] = {}
    for path in list(drawn.flow):
        if path in drawn.starts:
            continue
        node, sources = drawn.step(path).node, [source for source, _ in arriving(drawn, path)]
        if isinstance(node, Store):
            texts[path] = node.slot.name
        elif isinstance(node, Apply) and all(source in texts for source in sources):
            texts[path] = _applied(node, ", ".join(texts[source] for source in sources))
    # Readers first: what only a vanished step read vanishes as well.
    for path in reversed(list(texts)):
        readers = set(drawn.flow.successors(path))
        reader = next(iter(readers), None)
        if reader is None:
            drawn.flow.remove_node(path)
        elif len(readers) == 1 and isinstance(drawn.step(reader).node, Apply):
            drawn.note(reader, texts[path])
            drawn.flow.remove_node(path)


def _applied(node: Apply, inner: str) -> str:
    """An operator on learned tensors: `sigmoid(gate)`, `4 scale`."""
    factors = [n for n in dict(node.attributes).values() if n is not None]
    if node.op.name == "mul" and len(node.arguments) == len(factors) == 1:
        return f"{factors[0]:g} {inner}"
    return f"{node.op.name}({inner})"


def _take_in_activations(drawn: Sketch) -> None:
    for path in list(drawn.flow):
        node = drawn.step(path).node
        if not isinstance(node, Apply) or node.op.name not in ACTIVATIONS:
            continue
        ((source, _),) = arriving(drawn, path)
        before = drawn.step(source).node
        alone = drawn.flow.out_degree(source) == 1 and drawn.group[source] == drawn.group[path]
        if alone and isinstance(before, Apply) and before.slot is not None:
            drawn.note(source, title_of(node))
            _bypass(drawn, path, source)


def _close_small_frames(drawn: Sketch) -> None:
    """A frame around a single step would say the same thing twice."""
    groups = drawn.expansion.groups
    for path in reversed(list(groups)):
        inside = [step for step in drawn.flow if drawn.group[step] == path]
        frames = [g for g in groups.values() if g.parent == path and _is_drawn(drawn, g.path)]
        block = groups[path].graph
        if len(inside) == 1 and not frames and block is not None:
            (step,) = inside
            drawn.group[step] = groups[path].parent
            drawn.count[step] *= drawn.count[path]
            drawn.title[step] = block.name


def _is_drawn(drawn: Sketch, group: str) -> bool:
    return any(group in drawn.around(drawn.group[step]) for step in drawn.flow)
