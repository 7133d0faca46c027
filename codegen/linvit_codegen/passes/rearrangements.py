"""Moves axes once where the text moves them twice.

`rearrange` and `transpose` that follow each other become one `rearrange`, or nothing, where torch
then needs fewer calls; a block that only moves axes counts as one. A stack of all parts of a
`split` is a rearrangement too, and what changes nothing at all (a slice of everything) goes.
"""

from __future__ import annotations

from linvit_codegen.passes.layouts import Layout, composed, identity_of, layout_of
from linvit_codegen.passes.rewrite import Block, edited, everywhere
from linvit_dsl.graph.ir import Apply, Call, Graph, Node, Repeat, Store, Value
from linvit_dsl.ops.rearrange import Rearrange
from linvit_dsl.ops.split import Split
from linvit_dsl.ops.stack import Stack
from linvit_dsl.ops.transpose import Transpose


def with_rearrangements_composed(top: Graph) -> Graph:
    """The graph with chains of rearrangements as short as they can be."""
    layouts: dict[Graph, Layout | None] = {}

    def edit(block: Block, nodes: tuple[Node, ...]) -> tuple[Node, ...]:
        return _edit(block, nodes, layouts)

    return everywhere(top, lambda graph: edited(graph, edit))


def _edit(
    block: Block, nodes: tuple[Node, ...], layouts: dict[Graph, Layout | None]
) -> tuple[Node, ...]:
    kept: dict[Node, None] = {}
    for node in nodes:
        if isinstance(node, Repeat | Store):
            kept[node] = None
        elif isinstance(node, Apply) and _changes_nothing(node):
            _pass_on(block, node)
        else:
            new = _unstacked(block, node, kept) or node
            new = _shortened(block, new, kept, layouts) or new
            if isinstance(new, Value):
                continue
            kept[new] = None
    return tuple(kept)


def _changes_nothing(node: Apply) -> bool:
    # Whether a drop rate is 0 differs from layer to layer: the emitter looks at all of them.
    plain = node.slot is None and not node.op.hyper and len(node.results) == 1
    return plain and node.op.identity(node.attributes, node.argument_types)


def _pass_on(block: Block, node: Apply | Call) -> Value:
    """Leave out a node whose result is its argument."""
    block.remove(node)
    block.substitute(node.results[0], node.arguments[0])
    return node.results[0]


def _shortened(
    block: Block, node: Apply | Call, kept: dict[Node, None], layouts: dict[Graph, Layout | None]
) -> Apply | Value | None:
    """One rearrangement for `node` and the one before it; the value if both are nothing together.

    None if `node` is no rearrangement, or torch would need as many calls for one as for two.
    """
    if len(node.arguments) != 1 or not _may_move(node):
        return None
    x = block.current(node.arguments[0])
    before = block.producers.get(x)
    if not isinstance(before, Apply | Call) or before not in kept or block.uses[x] != 1:
        return None
    first = _layout(before, layouts) if _may_move(before) else None
    second = _layout(node, layouts) if first is not None else None
    both = composed(first, second) if first is not None and second is not None else None
    if first is None or second is None or both is None:
        return None
    # A block has a name that says what it does, so it stays unless next to nothing is left of it.
    named = isinstance(before, Call) or isinstance(node, Call)
    if both.calls > 1 if named else both.calls >= first.calls + second.calls:
        return None
    del kept[before]
    start = block.current(before.arguments[0])
    if both.is_identity:
        block.uses[x] = 0
        block.substitute(node.results[0], start)
        block.uses[start] -= 1
        return node.results[0]
    new = Apply(
        Rearrange, both.attributes(), (start,), node.results, None, node.span, node.statement
    )
    block.produce(new)
    return new


def _may_move(node: Apply | Call) -> bool:
    """Whether a node can be a rearrangement, as far as one sees without looking into blocks."""
    if isinstance(node, Apply):
        return node.op is Rearrange or node.op is Transpose
    return node.slot is None and not node.graph.intrinsic and not node.graph.float32


def _layout(node: Apply | Call, layouts: dict[Graph, Layout | None]) -> Layout | None:
    """The rearrangement that a node is, None if it is none."""
    if not _may_move(node):
        return None
    if isinstance(node, Apply):
        return layout_of(node)
    if node.graph not in layouts:
        layouts[node.graph] = _layout_of_block(node.graph, layouts)
    return layouts[node.graph]


def _layout_of_block(graph: Graph, layouts: dict[Graph, Layout | None]) -> Layout | None:
    """The rearrangement that a block is: a chain from its one input to its one output."""
    if len(graph.inputs) != 1 or len(graph.outputs) != 1:
        return None
    (value,) = graph.inputs
    layout: Layout | None = identity_of(value.type)
    for node in graph.nodes:
        if isinstance(node, Repeat | Store) or node.arguments != (value,):
            return None
        step = _layout(node, layouts)
        if step is None or layout is None:
            return None
        layout = composed(layout, step)
        (value,) = node.results
    return layout if graph.outputs == (value,) else None


def _unstacked(block: Block, node: Apply | Call, kept: dict[Node, None]) -> Apply | None:
    """A `stack` of all parts of an even `split` as the rearrangement that it is, else None."""
    if not isinstance(node, Apply) or node.op is not Stack or not node.arguments:
        return None
    parts = tuple(map(block.current, node.arguments))
    split = block.producers.get(parts[0])
    if not isinstance(split, Apply) or split.op is not Split or split not in kept:
        return None
    cut, stacked = split.attributes, node.attributes
    assert isinstance(cut, Split.Attributes), "of its own operator"
    assert isinstance(stacked, Stack.Attributes), "of its own operator"
    read_elsewhere = any(block.uses[part] != 1 for part in parts)
    if parts != split.results or len(set(cut.sizes)) != 1 or read_elsewhere:
        return None
    rank = len(parts[0].type.dims)
    axes = [f"x{axis}" for axis in range(rank)]
    before, after = list(axes), list(axes)
    before[cut.axis] = f"(k {axes[cut.axis]})"
    after.insert(stacked.axis % (rank + 1), "k")
    pattern = f"{' '.join(before)} -> {' '.join(after)}"
    attributes = Rearrange.Attributes(pattern=pattern, axes=(("k", len(parts)),))
    new = Apply(
        Rearrange,
        attributes,
        split.arguments,
        node.results,
        None,
        node.span,
        node.statement,
    )
    del kept[split]
    block.produce(new)
    return new
