"""Finds what repeats: runs in a row of keys, and nodes that do the same.

Layers that differ in a drop rate only are alike: attributes that an operator lists as `hyper`
change neither a shape nor a weight, and are not compared.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence

from linvit_dsl.graph.ir import Call, Graph, Node, Repeat, Store, Value

LONGEST_PERIOD = 32


def periods(keys: Sequence[Hashable]) -> list[tuple[int, int, int]]:
    """Cut a row into runs `(start, period, count)`: `period` keys that come `count` times.

    `a a a` is one run of period 1, `a b a b` one of period 2, `a b c` three runs of count 1. The
    longest run from the left wins; of equally long ones that with the shortest period.
    """
    runs: list[tuple[int, int, int]] = []
    start = 0
    while start < len(keys):
        best = (1, 1)
        for period in range(1, min(LONGEST_PERIOD, (len(keys) - start) // 2) + 1):
            # The cheap comparison first: most rows repeat nothing.
            if keys[start] != keys[start + period]:
                continue
            count = _count(keys, start, period)
            if count > 1 and period * count > best[0] * best[1]:
                best = (period, count)
        period, count = best
        runs.append((start, period, count))
        start += period * count
    return runs


def _count(keys: Sequence[Hashable], start: int, period: int) -> int:
    count = 1
    while all(
        start + (count + 1) * period <= len(keys)
        and keys[start + offset] == keys[start + count * period + offset]
        for offset in range(period)
    ):
        count += 1
    return count


class Likeness:
    """Gives nodes, loops and graphs numbers that are equal when they do the same.

    Two iterations of a loop are alike when their nodes apply the same things, under the same slot
    names, to values that come from the same places: the same node of the iteration, the same
    carried value, or the same value from outside the loop.
    """

    def __init__(self) -> None:
        self._numbers: dict[Hashable, int] = {}
        self._graphs: dict[Graph, int] = {}

    def graph(self, graph: Graph) -> int:
        """The number of a block: its inputs' shapes, its nodes and its wiring."""
        number = self._graphs.get(graph)
        if number is None:
            places: dict[Value, Hashable] = {
                value: ("input", index) for index, value in enumerate(graph.inputs)
            }
            nodes = self._nodes(graph.nodes, places)
            outputs = tuple(places[value] for value in graph.outputs)
            types = tuple(value.type for value in graph.inputs)
            number = self._number(graph.qualified_name, types, nodes, outputs)
            self._graphs[graph] = number
        return number

    def iterations(self, repeat: Repeat) -> list[int]:
        """One number for each iteration."""
        numbers: list[int] = []
        for index, nodes in enumerate(repeat.iterations):
            places: dict[Value, Hashable] = {
                carried.values[index]: ("carried", place)
                for place, carried in enumerate(repeat.carried)
            }
            keys = self._nodes(nodes, places)
            after = [carried.values[index + 1] for carried in repeat.carried]
            numbers.append(self._number(keys, tuple(places.get(v, v) for v in after)))
        return numbers

    def _nodes(
        self, nodes: tuple[Node, ...], places: dict[Value, Hashable]
    ) -> tuple[Hashable, ...]:
        return tuple(self._node(node, places) for node in nodes)

    def _node(self, node: Node, places: dict[Value, Hashable]) -> Hashable:
        if isinstance(node, Repeat):
            return ("repeat", *(self._nodes(nodes, places) for nodes in node.iterations))
        if isinstance(node, Store):
            places[node.result] = len(places)
            return ("store", node.slot.name, node.trained, node.weight.shape)
        slot = node.slot.name if node.slot else None
        arguments = tuple(places.get(value, value) for value in node.arguments)
        for value in node.results:
            places[value] = len(places)
        if isinstance(node, Call):
            return ("call", self.graph(node.graph), slot, arguments)
        fields = type(node.attributes).model_fields
        attributes = tuple(
            getattr(node.attributes, name) for name in fields if name not in node.op.hyper
        )
        return ("apply", node.op.name, attributes, slot, arguments, node.argument_types)

    def _number(self, *key: Hashable) -> int:
        return self._numbers.setdefault(key, len(self._numbers))
