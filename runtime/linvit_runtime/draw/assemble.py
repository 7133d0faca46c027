"""From a sketch to a picture: boxes in frames, and arrows that know what they are.

An edge that another path makes superfluous (it is missing in the transitive reduction) is a skip
connection, a residual where it ends in a sum. Where a stream enters a frame more than once, it
enters at a tap and parts inside, so that the residuals of a repeated layer start within its frame.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from linvit_dsl.graph.expand import StepGroup
from linvit_dsl.graph.ir import Graph, TensorType
from linvit_runtime.draw.boxes import BoxMaker
from linvit_runtime.draw.fold import fold_branches
from linvit_runtime.draw.labels import shapes_text
from linvit_runtime.draw.picture import RAILS, Arrow, ArrowKind, Box, Frame, Item, Picture
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
    drawn = sketch(graph, detail)
    fold_branches(drawn)
    return _Assembly(drawn, BoxMaker(drawn, costs)).run()


@dataclass(slots=True)
class _Assembly:
    """`contents` lists what stands in each frame ("" for the page), `group` the frame of a box."""

    drawn: Sketch
    maker: BoxMaker
    boxes: dict[str, Box] = field(default_factory=dict)
    contents: dict[str, list[str]] = field(default_factory=dict)
    group: dict[str, str] = field(default_factory=dict)
    arrows: dict[tuple[str, str], Arrow] = field(default_factory=dict)

    def run(self) -> Picture:
        for path in self.drawn.flow:
            self._place(path)
        for path in self.drawn.flow:
            self._arrows_to(path)
        self._tell_apart()
        self._mark_skips()
        self._add_taps()
        self._clear_shapes()
        self._mark_spine()
        items = self._items("")
        name = self.drawn.expansion.graph.name
        order = {box.id: place for place, box in enumerate(Picture(name, items, ()).boxes())}
        arrows = sorted(self.arrows.values(), key=lambda a: (order[a.target], order[a.source]))
        return Picture(name, items, tuple(arrows))

    def _place(self, path: str) -> None:
        """Make the box of a step and put it, and the frames around it, in their place."""
        self.boxes[path] = self.maker.box(path)
        self.group[path] = self.drawn.group[path]
        child = path
        for frame in self.drawn.around(self.group[path]):
            siblings = self.contents.setdefault(frame, [])
            if child in siblings:
                return
            siblings.append(child)
            child = frame

    def _tell_apart(self) -> None:
        """Projections of one frame that say the same say their labels too: `q`, `k` and `v`."""
        alike: dict[tuple[str, str, tuple[str, ...]], list[str]] = {}
        for path, box in self.boxes.items():
            if box.kind == "op" and box.macs:
                alike.setdefault((self.group[path], box.title, box.details), []).append(path)
        for (_, _, details), paths in alike.items():
            nodes = [self.drawn.step(path).node for path in paths]
            names = [node.slot.name for node in nodes if node and node.slot]
            if len(set(names)) == len(paths) > 1:
                for path, name in zip(paths, names, strict=True):
                    words = " · ".join([name, *details])
                    self.boxes[path] = replace(self.boxes[path], details=(words,))

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
            shape = "" if same or ends else shapes_text(several)
            self.arrows[source, path] = Arrow(source, path, kind, shape)

    def _mark_skips(self) -> None:
        import networkx as nx

        plain = self._web(lambda arrow: arrow.kind == "data")
        needed = nx.transitive_reduction(plain)
        for source, target in plain.edges:
            if not needed.has_edge(source, target):
                kind: ArrowKind = "residual" if self.boxes[target].kind == "sum" else "skip"
                self.arrows[source, target] = replace(self.arrows[source, target], kind=kind)

    def _add_taps(self) -> None:
        for frame in self.drawn.expansion.groups:
            inside = {path for path in self.boxes if frame in self.drawn.around(self.group[path])}
            entering = [
                arrow
                for arrow in self.arrows.values()
                if arrow.target in inside
                and arrow.source not in inside
                # A learned tensor goes to its readers, but for one that a loop hands on.
                and (arrow.kind != "memory" or arrow.source in self.drawn.starts)
            ]
            for source in dict.fromkeys(arrow.source for arrow in entering):
                stream = [arrow for arrow in entering if arrow.source == source]
                # Where all of it goes on into one inner frame, it parts there.
                if len({self._child(frame, arrow.target) for arrow in stream}) > 1:
                    place = sum(child.startswith("tap:") for child in self.contents[frame])
                    self._tap(source, frame, place, stream)
        for path in [path for path, box in self.boxes.items() if box.kind == "sum"]:
            # One residual ends at the left of a sum, so that the next cannot start there.
            leaving = [arrow for arrow in self.arrows.values() if arrow.source == path]
            if any(arrow.kind in RAILS for arrow in leaving):
                frame = self.group[path]
                self._tap(path, frame, self.contents[frame].index(path) + 1, leaving)

    def _tap(self, source: str, frame: str, place: int, moved: list[Arrow]) -> None:
        """Let some of the arrows of a box leave from a dot, at that place in `frame`."""
        tap = f"tap:{frame}:{source}"
        self.boxes[tap] = Box(tap, "tap", "", shape=self.boxes[source].shape)
        self.group[tap] = frame
        self.contents[frame].insert(place, tap)
        # A shape that all of them carry is written once, before they part.
        shapes = {arrow.shape for arrow in moved}
        shared = shapes.pop() if len(shapes) == 1 else ""
        for arrow in moved:
            del self.arrows[source, arrow.target]
            shape = "" if shared else arrow.shape
            self.arrows[tap, arrow.target] = replace(arrow, source=tap, shape=shape)
        kind: ArrowKind = "memory" if self.boxes[source].kind == "memory" else "data"
        self.arrows[source, tap] = Arrow(source, tap, kind, shared)

    def _child(self, frame: str, path: str) -> str:
        """What stands in `frame` and is or holds the box `path`."""
        child = path
        for group in self.drawn.around(self.group[path]):
            if group == frame:
                break
            child = group
        return child

    def _clear_shapes(self) -> None:
        """Keep a shape where there is room for it and nothing beside it says the same.

        Where streams part or meet there is no room. A skip connection shows what it carries where
        that is something else than what the others carry that leave the same box.
        """
        everyone = list(self.arrows.values())
        plain = [arrow for arrow in everyone if arrow.kind == "data"]
        parting, meeting = Counter(a.source for a in plain), Counter(a.target for a in plain)
        for arrow in everyone:
            usual = Counter(a.shape for a in everyone if a.source == arrow.source).most_common(1)
            crowded = parting[arrow.source] > 1 or meeting[arrow.target] > 1
            if crowded if arrow.kind == "data" else usual[0][0] == arrow.shape:
                self.arrows[arrow.source, arrow.target] = replace(arrow, shape="")

    def _mark_spine(self) -> None:
        """The longest chain of boxes, but where several are equally long."""
        import networkx as nx

        web = self._web(lambda arrow: arrow.kind == "data")
        before: dict[str, int] = {}
        after: dict[str, int] = {}
        order = list(nx.topological_sort(web))
        for path in order:
            before[path] = max((before[source] + 1 for source in web.predecessors(path)), default=0)
        for path in reversed(order):
            after[path] = max((after[target] + 1 for target in web.successors(path)), default=0)
        length = max(before.values())
        levels = Counter(before[path] for path in order if before[path] + after[path] == length)
        for (source, target), arrow in self.arrows.items():
            chained = before[source] + 1 + after[target] == length and arrow.kind == "data"
            if chained and levels[before[source]] == levels[before[target]] == 1:
                self.arrows[source, target] = replace(arrow, spine=True)

    def _web(self, wanted: Callable[[Arrow], bool]) -> DiGraph[str]:
        import networkx as nx

        web: DiGraph[str] = nx.DiGraph()
        web.add_nodes_from(self.boxes)
        web.add_edges_from(key for key, arrow in self.arrows.items() if wanted(arrow))
        return web

    def _items(self, frame: str) -> tuple[Item, ...]:
        groups = self.drawn.expansion.groups
        return tuple(
            self.boxes[child] if child in self.boxes else self._frame(groups[child])
            for child in self.contents.get(frame, [])
        )

    def _frame(self, group: StepGroup) -> Frame:
        title = group.graph.name if group.graph else "repeat"
        params, macs = self.maker.spent(group.graph) if group.graph else (0, 0)
        line = f"{group.span.source.name}:{group.span.line}"
        count = self.drawn.count[group.path]
        return Frame(group.path, title, self._items(group.path), count, params, macs, line)
