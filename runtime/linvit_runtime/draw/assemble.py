"""From a sketch to a picture: boxes in frames, and arrows that know what they are.

An edge that another path makes superfluous (it is missing in the transitive reduction) is a skip
connection, a residual where it ends in a sum. It leaves from a tap inside the frame in which it
ends, so that the residuals of a repeated layer start inside the frame of the layer.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from linvit_dsl.graph.cost import cost
from linvit_dsl.graph.expand import StepGroup
from linvit_dsl.graph.ir import Apply, Call, Graph, Store, TensorType
from linvit_dsl.graph.size import at_batch
from linvit_runtime.draw.labels import (
    SIGNS,
    cost_text,
    details_of,
    family_of,
    shape_text,
    title_of,
)
from linvit_runtime.draw.picture import Arrow, ArrowKind, Box, Frame, Item, Picture
from linvit_runtime.draw.simplify import Sketch, arriving, sketch

if TYPE_CHECKING:
    from networkx import DiGraph

DETAIL = 2
"""Levels of blocks that a picture opens by default: a layer, and what it is made of."""


def picture(graph: Graph, *, detail: int | None = DETAIL, costs: bool = False) -> Picture:
    """The drawing of a model or block.

    Args:
        graph: What to draw.
        detail: How many levels of blocks to open; 0 for the parts of the model only, None for all.
        costs: Whether every box shows its parameters and multiply-adds, not only closed blocks.
    """
    assembly = _Assembly(sketch(graph, detail), costs)
    return assembly.run()


@dataclass(slots=True)
class _Assembly:
    drawn: Sketch
    costs: bool
    boxes: dict[str, Box] = field(default_factory=dict)
    contents: dict[str, list[str]] = field(default_factory=dict)
    arrows: dict[tuple[str, str], Arrow] = field(default_factory=dict)
    group: dict[str, str] = field(default_factory=dict)
    spent: dict[Graph, tuple[int, int]] = field(default_factory=dict)

    def run(self) -> Picture:
        for path in self.drawn.flow:
            self._place(path)
        for path in self.drawn.flow:
            self._arrows_to(path)
        self._mark_skips()
        for source, target in [key for key, a in self.arrows.items() if a.kind in _SKIPS]:
            self._tap(source, target)
        self._clear_branches()
        order = {box.id: index for index, box in enumerate(self._flat(""))}
        arrows = sorted(self.arrows.values(), key=lambda a: (order[a.target], order[a.source]))
        return Picture(self.drawn.expansion.graph.name, self._items(""), tuple(arrows))

    def _place(self, path: str) -> None:
        """Make the box of a step and put it, and the frames around it, in their place."""
        self.boxes[path] = self._box(path)
        self.group[path] = self.drawn.group[path]
        child = path
        for frame in self.drawn.around(self.group[path]):
            siblings = self.contents.setdefault(frame, [])
            if child in siblings:
                return
            siblings.append(child)
            child = frame

    def _box(self, path: str) -> Box:
        step = self.drawn.step(path)
        shape = ", ".join(shape_text(type_) for type_ in step.results)
        node = step.node
        if node is None:
            kind = "input" if not self.drawn.flow.in_degree(path) else "output"
            return Box(path, kind, step.name, (shape,), shape=shape)
        line = f"{node.span.source.name}:{node.span.line}"
        box = Box(path, "op", "", shape=shape, count=self.drawn.count[path], line=line)
        if isinstance(node, Store):
            title = node.slot.name
            details = (shape, "learned" if node.trained else "fixed")
            params = node.weight.elements if node.trained else 0
            return replace(
                box, kind="memory", title=title, details=details, family="memory", params=params
            )
        if isinstance(node, Call):
            params, macs = self._spent(node.graph)
            details = (cost_text(params, macs),) if params or macs else ()
            family, title = family_of(node.graph), node.graph.name
            return replace(
                box,
                kind="block",
                title=title,
                details=details,
                family=family,
                params=params,
                macs=macs,
            )
        return self._operator(box, path, node)

    def _operator(self, box: Box, path: str, node: Apply) -> Box:
        params = sum(weight.elements for weight in node.weights)
        macs = node.op.macs(node.attributes, node.argument_types, node.result_types)
        box = replace(box, family=node.op.family, params=params, macs=at_batch(macs, 1))
        notes, sign = self.drawn.notes.get(path, []), SIGNS.get(node.op.name)
        if sign and len(arriving(self.drawn, path)) == 2:
            return replace(box, kind="sum", title=sign)
        if sign:
            operand = notes or [str(n) for n in dict(node.attributes).values() if n is not None]
            box = replace(box, title=f"{sign} {operand[0]}", details=("learned",) if notes else ())
        else:
            words = " · ".join([*details_of(node), *notes])
            box = replace(box, title=title_of(node), details=(words,) if words else ())
        if path in self.drawn.title:
            words = " · ".join([box.title, *box.details])
            box = replace(box, title=self.drawn.title[path], details=(words,))
        if self.costs and (text := cost_text(box.params, box.macs)):
            box = replace(box, details=(*box.details, text))
        return box

    def _spent(self, graph: Graph) -> tuple[int, int]:
        if graph not in self.spent:
            whole = cost(graph)
            self.spent[graph] = whole.params, whole.macs
        return self.spent[graph]

    def _arrows_to(self, path: str) -> None:
        tensors: dict[str, list[TensorType]] = {}
        for source, type_ in arriving(self.drawn, path):
            tensors.setdefault(source, []).append(type_)
        for source, several in tensors.items():
            kind: ArrowKind = "memory" if self.boxes[source].kind == "memory" else "data"
            # A reshape is no news: what counts is whether numbers came or went.
            received = [type_.elements for _, type_ in arriving(self.drawn, source)]
            same = [type_.elements for type_ in several] == received[:1]
            ends = self.boxes[source].kind == "input" or self.boxes[path].kind == "output"
            shape = "" if same or ends else _listed([shape_text(type_) for type_ in several])
            self.arrows[source, path] = Arrow(source, path, kind, shape)

    def _mark_skips(self) -> None:
        import networkx as nx

        plain: DiGraph[str] = nx.DiGraph()
        plain.add_nodes_from(self.boxes)
        plain.add_edges_from(key for key, arrow in self.arrows.items() if arrow.kind == "data")
        needed = nx.transitive_reduction(plain)
        for source, target in plain.edges:
            if not needed.has_edge(source, target):
                kind: ArrowKind = "residual" if self.boxes[target].kind == "sum" else "skip"
                self.arrows[source, target] = replace(self.arrows[source, target], kind=kind)

    def _tap(self, source: str, target: str) -> None:
        """Let a skip leave from a dot in the frame in which it ends, if that is not its own."""
        frame = self.group[target]
        inside = frame in self.drawn.around(self.group[source])
        if self.group[source] == frame and self.boxes[source].kind != "sum":
            return
        tap = f"tap:{source}:{frame}"
        if tap in self.boxes or source.startswith("tap:"):
            return
        # The item of the frame that holds the source: the tap stands right behind it.
        holder = self._child(frame, source) if inside else None
        siblings = self.contents[frame]
        siblings.insert(siblings.index(holder) + 1 if holder else 0, tap)
        self.boxes[tap] = Box(tap, "tap", "", shape=self.boxes[source].shape)
        self.group[tap] = frame
        shapes: list[str] = []
        for key in [key for key in self.arrows if key[0] == source]:
            moved = self.arrows[key]
            in_frame = frame in self.drawn.around(self.group[key[1]])
            if in_frame and (holder is None or self._child(frame, key[1]) != holder):
                del self.arrows[key]
                shapes.append(moved.shape)
                self.arrows[tap, key[1]] = replace(moved, source=tap)
        # A shape that all of them carry is written once, before they part.
        shared = shapes[0] if len(set(shapes)) == 1 else ""
        if shared:
            for key in [key for key in self.arrows if key[0] == tap]:
                self.arrows[key] = replace(self.arrows[key], shape="")
        self.arrows[source, tap] = Arrow(source, tap, "data", shared)

    def _clear_branches(self) -> None:
        """No shapes where streams part or meet: there is no room for them beside the lines."""
        plain = [arrow for arrow in self.arrows.values() if arrow.kind == "data"]
        parting, meeting = Counter(a.source for a in plain), Counter(a.target for a in plain)
        for arrow in plain:
            if parting[arrow.source] > 1 or meeting[arrow.target] > 1:
                self.arrows[arrow.source, arrow.target] = replace(arrow, shape="")

    def _child(self, frame: str, path: str) -> str:
        """The item of `frame` that is, or holds, the box `path`."""
        child = path
        for group in self.drawn.around(self.group[path]):
            if group == frame:
                return child
            child = group
        raise KeyError(path)

    def _items(self, frame: str) -> tuple[Item, ...]:
        groups = self.drawn.expansion.groups
        return tuple(
            self.boxes[child] if child in self.boxes else self._frame(groups[child])
            for child in self.contents.get(frame, [])
        )

    def _frame(self, group: StepGroup) -> Frame:
        title = group.graph.name if group.graph else "repeat"
        params, macs = self._spent(group.graph) if group.graph else (0, 0)
        line = f"{group.span.source.name}:{group.span.line}"
        return Frame(group.path, title, self._items(group.path), group.count, params, macs, line)

    def _flat(self, frame: str) -> list[Box]:
        whole = Picture("", self._items(frame), ())
        return list(whole.boxes())


_SKIPS = ("residual", "skip")


def _listed(shapes: list[str]) -> str:
    """`B×8×64`, `3 × B×8×64` when alike, else separated by commas."""
    if len(set(shapes)) == 1:
        return shapes[0] if len(shapes) == 1 else f"{len(shapes)} × {shapes[0]}"
    return ", ".join(shapes)
