"""Finds the runs of alike iterations in a loop: those that one Python `for` can say.

Iterations are alike when they have the same code on the same kinds of values, apart from the index
of their slots and from hyperparameters; when each slot moves on by one; and when nothing made
inside is used outside but through the values that the loop carries.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Set
from dataclasses import dataclass

from linvit_codegen.joint import slots_of
from linvit_codegen.units import Key, Units
from linvit_dsl.graph.ir import Apply, Call, Carried, Graph, Node, Repeat, Slot, Store, Value


@dataclass(frozen=True, slots=True)
class Run:
    """Iterations `start` to `stop`, that one excluded; `alike` if they can be a `for`."""

    start: int
    stop: int
    alike: bool


def runs(
    repeat: Repeat,
    units: Units,
    omitted: Set[Apply],
    uses: Counter[Value],
    resolve: Callable[[Value], Value],
) -> Iterator[Run]:
    """The iterations of a loop, cut into runs.

    Args:
        repeat: The loop.
        units: Tells which blocks are the same class.
        omitted: Applications that are not emitted.
        uses: How often each value is an argument or a result, in the whole graph.
        resolve: Gives the value that one stands for, if the node between them is not emitted.
    """
    keys = [
        _iteration_key(repeat, index, units, omitted, resolve)
        for index in range(len(repeat.iterations))
    ]
    slots = [_slots(iteration) for iteration in repeat.iterations]
    start = 0
    while start < len(keys):
        stop = start + 1
        while (
            stop < len(keys)
            and keys[stop] == keys[start]
            and _follows(slots[stop - 1], slots[stop])
        ):
            stop += 1
        alike = stop - start > 1 and not _escapes(repeat, start, stop, uses, resolve)
        yield Run(start, stop, alike)
        start = stop


def uses_in(nodes: Iterable[Node]) -> Counter[Value]:
    """How often each value is an argument of these nodes, loops opened."""
    uses: Counter[Value] = Counter()
    for node in opened(nodes):
        if not isinstance(node, Store):
            uses.update(node.arguments)
    return uses


def uses_of(graph: Graph) -> Counter[Value]:
    """How often each value is an argument of a node, or a result of the graph."""
    return uses_in(graph.nodes) + Counter(graph.outputs)


def opened(nodes: Iterable[Node]) -> Iterator[Apply | Call | Store]:
    """The nodes, loops replaced by the nodes of all their iterations."""
    for node in nodes:
        if isinstance(node, Repeat):
            for iteration in node.iterations:
                yield from opened(iteration)
        else:
            yield node


def carriers(repeat: Repeat, index: int, resolve: Callable[[Value], Value]) -> dict[Value, Carried]:
    """What each value that enters an iteration is carried as; of two names the first wins."""
    return {resolve(c.values[index]): c for c in reversed(repeat.carried)}


def _moves(carried: Carried, index: int, resolve: Callable[[Value], Value]) -> bool:
    return resolve(carried.values[index]) is not resolve(carried.values[index + 1])


def _iteration_key(
    repeat: Repeat,
    index: int,
    units: Units,
    omitted: Set[Apply],
    resolve: Callable[[Value], Value],
) -> Key:
    labels: dict[Value, str] = {}
    for value, carried in carriers(repeat, index, resolve).items():
        labels[value] = f"c{repeat.carried.index(carried)}"
    nodes = repeat.iterations[index]
    made = 0
    for node in opened(nodes):
        for value in (node.result,) if isinstance(node, Store) else node.results:
            made += 1
            if resolve(value) is value:
                labels[value] = f"l{made}"

    def reference(value: Value) -> str:
        value = resolve(value)
        return labels.get(value) or f"o{id(value)}"

    def place(slot: Slot) -> Key:
        return (slot.name, slot.index is None)

    body = tuple(units.node_key(node, reference, place) for node in nodes)
    left = tuple(reference(c.values[index + 1]) for c in repeat.carried)
    skipped = tuple(node in omitted for node in opened(nodes))
    return (body, left, skipped)


def _slots(nodes: tuple[Node, ...]) -> dict[str, set[int]]:
    """The indices of each indexed slot that an iteration uses."""
    found: dict[str, set[int]] = {}
    for node in opened(nodes):
        for slot in slots_of(node):
            if slot.index is not None:
                found.setdefault(slot.name, set()).add(slot.index)
    return found


def _follows(before: dict[str, set[int]], after: dict[str, set[int]]) -> bool:
    return before.keys() == after.keys() and all(
        len(indices) == 1 and after[name] == {index + 1 for index in indices}
        for name, indices in before.items()
    )


def _escapes(
    repeat: Repeat,
    start: int,
    stop: int,
    uses: Counter[Value],
    resolve: Callable[[Value], Value],
) -> bool:
    """Whether a value made in the run is used where a Python loop has already overwritten it."""
    inside: Counter[Value] = Counter()
    reachable: Counter[Value] = Counter()
    made: list[Value] = []
    for index in range(start, stop):
        here = uses_in(repeat.iterations[index])
        inside.update(here)
        own: list[Value] = []
        for node in opened(repeat.iterations[index]):
            if isinstance(node, Store):
                own.append(node.result)
            else:
                own += node.results
        made += own
        entering = {c.values[index] for c in repeat.carried}
        for value in entering.union(own):
            reachable[value] += here[value]
    final = {c.values[stop] for c in repeat.carried if _moves(c, start, resolve)}
    # Values from before the loop that only change names need no code, and no loop.
    if not {resolve(value) for value in final} <= set(made):
        return True
    return any(
        inside[value] != reachable[value] or (uses[value] != inside[value] and value not in final)
        for value in made
    )
