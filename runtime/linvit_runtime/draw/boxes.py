"""What one box says about one step of a sketch."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from linvit_dsl.graph.cost import cost
from linvit_dsl.graph.ir import Apply, Call, Graph, Store
from linvit_dsl.graph.size import at_batch
from linvit_dsl.ops.initializers import redraw_period
from linvit_runtime.draw.labels import (
    SIGNS,
    cost_text,
    details_of,
    family_of,
    shapes_text,
    title_of,
)
from linvit_runtime.draw.picture import Box
from linvit_runtime.draw.simplify import Sketch


@dataclass(slots=True)
class BoxMaker:
    """Makes the boxes of a sketch; what a block costs is worked out once.

    Args:
        drawn: The sketch.
        costs: Whether every box shows its parameters and multiply-adds, not only closed blocks.
    """

    drawn: Sketch
    costs: bool
    _spent: dict[Graph, tuple[int, int]] = field(default_factory=dict)

    def box(self, path: str) -> Box:
        """The box of a step."""
        step = self.drawn.step(path)
        node, shape = step.node, shapes_text(step.results)
        if node is None:
            kind = "input" if not self.drawn.flow.in_degree(path) else "output"
            return Box(path, kind, step.name, (shape,), shape=shape)
        line = f"{node.span.source.name}:{node.span.line}"
        box = Box(path, "op", "", shape=shape, count=self.drawn.count[path], line=line)
        if isinstance(node, Store):
            return _memory(box, node)
        if isinstance(node, Call):
            return self._block(box, node)
        return self._operator(box, path, node)

    def spent(self, graph: Graph) -> tuple[int, int]:
        """Parameters and multiply-adds of one execution of a block, at batch 1."""
        if graph not in self._spent:
            whole = cost(graph)
            self._spent[graph] = whole.params, whole.macs
        return self._spent[graph]

    def _block(self, box: Box, node: Call) -> Box:
        params, macs = self.spent(node.graph)
        return replace(
            box,
            kind="block",
            title=node.graph.name,
            details=(cost_text(params, macs),) if params or macs else (),
            family=family_of(node.graph),
            params=params,
            macs=macs,
        )

    def _operator(self, box: Box, path: str, node: Apply) -> Box:
        params = node.num_trained
        macs = node.op.macs(node.attributes, node.argument_types, node.result_types)
        box = replace(box, family=node.op.family, params=params, macs=at_batch(macs, 1))
        notes, sign = self.drawn.notes.get(path, []), SIGNS.get(node.op.name)
        if sign and len(node.arguments) - len(notes) == 2:
            return replace(box, kind="sum", title=sign)
        if sign:
            operand = notes or [f"{n:g}" for n in dict(node.attributes).values() if n is not None]
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


def _memory(box: Box, node: Store) -> Box:
    kept = "drawn anew" if redraw_period(node.weight.initializer) else "fixed"
    return replace(
        box,
        kind="memory",
        title=node.slot.name,
        details=(box.shape, "learned" if node.trained else kept),
        family="memory",
        params=node.weight.elements if node.trained else 0,
    )
