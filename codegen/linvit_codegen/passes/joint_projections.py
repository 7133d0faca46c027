"""Computes the linear maps of one tensor in one product: q, k and v, most of all.

The weights stay separate parameters, so a checkpoint fits at every level; they are put side by
side in each forward pass, which costs next to nothing beside the product. One large product beats
three on a GPU, where small ones do not fill the machine; a CPU gains a few percent at most.
"""

from __future__ import annotations

from linvit_codegen.joint import joint_linear
from linvit_codegen.passes.rewrite import Block, edited, everywhere
from linvit_dsl.graph.ir import Apply, Graph, Node, Value
from linvit_dsl.ops.linear import Linear


def with_joint_projections(top: Graph) -> Graph:
    """The graph with `linear` of equal bias flags on one tensor as one call each."""
    return everywhere(top, lambda graph: graph if graph.intrinsic else edited(graph, _edit))


def _edit(block: Block, nodes: tuple[Node, ...]) -> tuple[Node, ...]:
    siblings: dict[tuple[Value, bool], list[Apply]] = {}
    for node in nodes:
        if not isinstance(node, Apply) or not isinstance(node.attributes, Linear.Attributes):
            continue
        # One that nobody reads is not computed; as a part of the product it would be.
        if block.uses[node.results[0]]:
            key = block.current(node.arguments[0]), node.attributes.bias
            siblings.setdefault(key, []).append(node)
    groups = [tuple(group) for group in siblings.values() if len(group) > 1]
    first = {group[0]: group for group in groups}
    later = {node for group in groups for node in group[1:]}
    kept: list[Node] = []
    for node in nodes:
        if isinstance(node, Apply) and node in first:
            kept.append(joint_linear(first[node]))
        elif node not in later:
            kept.append(node)
    return tuple(kept)
