"""Checks a graph that a pass made: everything that the elaborator guarantees still holds."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from linvit_dsl.errors import InternalError
from linvit_dsl.graph.ir import Call, Graph, Node, Repeat, Store, TensorType, Value
from linvit_dsl.graph.ledger import joined
from linvit_dsl.ops.op import OpProblem


def validate(after: Graph, before: Graph, made_by: str) -> None:
    """Compare a graph with the one that it was made of, and run every type rule again.

    Raises:
        InternalError: A value is used before it is made, a type is not what its operator's rule
            or the called block says, or the state dict would have other keys or shapes.
    """
    try:
        _validate(after, set())
    except (_Broken, OpProblem) as problem:
        raise InternalError(f"pass {made_by} broke {after.name}: {problem}") from problem
    old, new = dict(tensors_of(before)), dict(tensors_of(after))
    if old != new:
        changed = sorted(key for key in {*old, *new} if old.get(key) != new.get(key))
        raise InternalError(f"pass {made_by} changed the weights of {after.name}: {changed[:3]}")
    for mine, theirs in ((after.inputs, before.inputs), (after.outputs, before.outputs)):
        if [value.type for value in mine] != [value.type for value in theirs]:
            raise InternalError(f"pass {made_by} changed the signature of {after.name}")


class _Broken(Exception):
    """What is wrong."""


def _validate(graph: Graph, done: set[Graph]) -> None:
    if graph in done:
        return
    done.add(graph)
    known = set(graph.inputs)
    _nodes(graph, graph.nodes, known, done)
    for value in graph.outputs:
        _expect_known(graph, value, known, "its result")


def _nodes(graph: Graph, nodes: Sequence[Node], known: set[Value], done: set[Graph]) -> None:
    for node in nodes:
        if isinstance(node, Repeat):
            for index, iteration in enumerate(node.iterations):
                for carried in node.carried:
                    _expect_known(graph, carried.values[index], known, f"carried {carried.name}")
                _nodes(graph, iteration, known, done)
            for carried in node.carried:
                if len(carried.values) != len(node.iterations) + 1:
                    raise _Broken(f"{carried.name} is carried through another number of rounds")
                _expect_known(graph, carried.values[-1], known, f"carried {carried.name}")
            continue
        if isinstance(node, Store):
            known.add(node.result)
            continue
        name = node.graph.name if isinstance(node, Call) else node.op.name
        for value in node.arguments:
            _expect_known(graph, value, known, f"an argument of {name}")
        if isinstance(node, Call):
            _validate(node.graph, done)
            _expect_types(graph, name, node.arguments, [v.type for v in node.graph.inputs])
            _expect_types(graph, name, node.results, [v.type for v in node.graph.outputs])
        else:
            types = node.op.types(node.attributes, node.argument_types)
            _expect_types(graph, name, node.results, types)
        if not known.isdisjoint(node.results):
            raise _Broken(f"{graph.name} makes a result of {name} twice")
        known.update(node.results)


def _expect_known(graph: Graph, value: Value, known: set[Value], what: str) -> None:
    if value not in known:
        raise _Broken(f"{graph.name} uses {value.name or 'a value'} ({what}) before it is made")


def _expect_types(
    graph: Graph, name: str, values: Sequence[Value], types: Sequence[TensorType]
) -> None:
    if [value.type for value in values] != list(types):
        given, wanted = (", ".join(map(str, row)) for row in ([v.type for v in values], types))
        raise _Broken(f"in {graph.name}, {name} has {given} where its rule says {wanted}")


def tensors_of(graph: Graph, path: str = "") -> Iterator[tuple[str, tuple[int, ...]]]:
    """The keys of the state dict with their shapes."""
    for node in graph.walk():
        own = joined(path, str(node.slot)) if node.slot is not None else path
        if isinstance(node, Store):
            yield own, node.weight.shape
        elif isinstance(node, Call):
            yield from tensors_of(node.graph, own)
        else:
            for weight in node.weights:
                yield joined(own, weight.name), weight.shape
