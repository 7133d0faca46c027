"""The graph as a networkx graph: for exchange (GraphML, JSON), search, and longest paths."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from linvit_dsl.graph.cost import cost
from linvit_dsl.graph.expand import Step, expand
from linvit_dsl.graph.ir import Apply, Call, Graph, Store, TensorType
from linvit_dsl.graph.size import at_batch

if TYPE_CHECKING:
    from networkx import MultiDiGraph


@dataclass(frozen=True, slots=True)
class CriticalPath:
    """The chain of steps with the most multiply-adds: what no parallel hardware can shorten."""

    steps: tuple[str, ...]
    macs: int


def to_networkx(graph: Graph, *, depth: int | None = None, batch: int = 1) -> MultiDiGraph[str]:
    """One execution of `graph`, loops unrolled, as a directed acyclic graph.

    All attributes are texts and numbers, so that every format of networkx can hold them.

    Nodes are named by their path and have `kind` (`input`, `output`, `op`, `block`, `store`),
    `name` (operator or block), `family` (of an operator, else ""), `group` (path of the open block
    around it), `params`, `macs`, `shape` (`1×65×384`; several separated by commas) and `line`
    (`file:line`). Parameters of a shared part stand at its first step. Edges have `shape`, and
    `result` and `argument`: which result of the source is which argument of the target.

    Args:
        graph: A model or block.
        depth: How many levels of blocks to open; None for all.
        batch: The batch size at which costs and shapes are given.
    """
    import networkx as nx

    expansion = expand(graph, depth=depth)
    view: MultiDiGraph[str] = nx.MultiDiGraph(name=graph.name)
    counted: set[str] = set()
    for step in expansion.steps.values():
        attributes = _attributes(step, batch)
        # Executions of one part differ in the number behind `#`; its weights exist once.
        owner = re.sub(r"#\d+", "", step.path)
        if owner in counted:
            attributes["params"] = 0
        counted.add(owner)
        view.add_node(step.path, **attributes)
    for link in expansion.links:
        shape = _shape(link.type, batch)
        view.add_edge(
            link.source, link.target, shape=shape, result=link.result, argument=link.argument
        )
    return view


def critical_path(graph: Graph, *, depth: int | None = None, batch: int = 1) -> CriticalPath:
    """The path from an input to an output with the most multiply-adds."""
    import networkx as nx

    view = to_networkx(graph, depth=depth, batch=batch)
    # One more per step, less than one multiply-add in total: steps that cost nothing belong to it.
    scale = view.number_of_nodes() + 1
    for _, target, attributes in view.edges(data=True):
        attributes["weight"] = view.nodes[target]["macs"] * scale + 1
    steps = tuple(nx.dag_longest_path(view, weight="weight", default_weight=0))
    return CriticalPath(steps, sum(view.nodes[step]["macs"] for step in steps))


def _attributes(step: Step, batch: int) -> dict[str, Any]:
    kind, name, family, params, macs, line = "op", step.name, "", 0, 0, ""
    node = step.node
    if node is None:
        kind = "input" if step.path.startswith("input:") else "output"
    else:
        line = f"{node.span.source.name}:{node.span.line}"
    if isinstance(node, Apply):
        name, family = node.op.name, node.op.family
        params = node.num_trained
        macs = at_batch(
            node.op.macs(node.attributes, node.argument_types, node.result_types), batch
        )
    elif isinstance(node, Call):
        whole = cost(node.graph, batch)
        kind, name, params, macs = "block", node.graph.name, whole.params, whole.macs
    elif isinstance(node, Store):
        kind, name = "store", node.slot.name
        params = node.weight.elements if node.trained else 0
    return {
        "kind": kind,
        "name": name,
        "family": family,
        "group": step.group,
        "params": params,
        "macs": macs,
        "shape": ", ".join(_shape(type_, batch) for type_ in step.results),
        "line": line,
    }


def _shape(type_: TensorType, batch: int) -> str:
    return "×".join(str(at_batch(size, batch)) for size in type_.sizes)
