"""The order of work of one `forward`: which nodes become code, which loops are Python loops.

What changes nothing is left out: a drop rate of 0, the empty part of a `split`, a node whose result
nobody uses. Loops are cut into runs of alike iterations; a run is planned once, on its first
iteration, with the carried values renamed; all other iterations are written out.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Set
from dataclasses import dataclass

from linvit_codegen.joint import slots_of
from linvit_codegen.loops import carriers, runs, uses_of
from linvit_codegen.units import Units
from linvit_dsl.errors import Span
from linvit_dsl.graph.ir import Apply, Call, Graph, Node, Repeat, Slot, Store, TensorType, Value


@dataclass(frozen=True, slots=True, eq=False)
class Step:
    """One operator or block applied. `arguments` are those of the node that hold anything."""

    node: Apply | Call
    arguments: tuple[Value, ...]

    @property
    def types(self) -> tuple[TensorType, ...]:
        """The types of the arguments."""
        return tuple(value.type for value in self.arguments)


@dataclass(frozen=True, slots=True, eq=False)
class Carry:
    """What a Python loop hands on.

    `entering` becomes `inside`, each round makes `leaving` of it, and after the loop it is `final`.
    """

    name: str
    entering: Value
    inside: Value
    leaving: Value
    final: Value


@dataclass(frozen=True, slots=True, eq=False)
class Loop:
    """A Python loop of `count` rounds."""

    repeat: Repeat
    count: int
    body: tuple[Step | Loop, ...]
    carried: tuple[Carry, ...]


Item = Step | Loop


class Plan:
    """What `forward` does.

    Attributes:
        items: In order.
        outputs: What it returns.
        uses: How often each value is consumed; a value is dead when all its uses are behind.
        stores: Where declared weights live, by their value.
        names: What the text calls each value; the values of omitted nodes lend theirs.
        readers: The items that consume each value (None: the graph's result).
    """

    def __init__(self, graph: Graph, units: Units, omitted: Set[Apply]) -> None:
        self._units = units
        self._omitted = omitted
        self._uses_of_text = uses_of(graph)
        self._same: dict[Value, Value] = {}
        self._kept: dict[Apply | Call, tuple[Value, ...]] = {}
        self.names: dict[Value, str] = {}
        self.stores: dict[Value, Slot] = {}
        for node in graph.walk():
            if isinstance(node, Store):
                self.stores[node.result] = node.slot
        self._leave_out(graph)
        items = tuple(self._items(graph.nodes, {}))
        self.outputs = tuple(map(self._resolved, graph.outputs))
        self.items, _ = _without_dead(items, set(self.outputs))
        self.uses: Counter[Value] = Counter(self.outputs)
        self.readers: dict[Value, list[Item | None]] = {v: [None] for v in self.outputs}
        self._count(self.items)

    def name(self, value: Value) -> str:
        """What the text calls the value, "" if nothing."""
        return self.names.get(value) or value.name

    def _resolved(self, value: Value) -> Value:
        while value in self._same:
            value = self._same[value]
        return value

    def _leave_out(self, graph: Graph) -> None:
        """Find nodes that only pass a value on."""
        needed_empty: set[Value] = set(filter(_is_empty, graph.outputs))
        for node in graph.walk():
            if isinstance(node, Store):
                continue
            arguments = tuple(map(self._resolved, node.arguments))
            if isinstance(node, Apply) and node in self._omitted:
                self._pass_on(arguments[0], node.results[0])
                continue
            if _joins(node):
                full = tuple(value for value in arguments if not _is_empty(value))
                if len(full) == 1 and full[0].type.sizes == node.results[0].type.sizes:
                    self._pass_on(full[0], node.results[0])
                    continue
                arguments = full
            self._kept[node] = arguments
            needed_empty.update(filter(_is_empty, arguments))
        for node, arguments in list(self._kept.items()):
            full = [value for value in node.results if not _is_empty(value)]
            if (
                isinstance(node, Apply)
                and len(node.results) > len(full) == 1
                and full[0].type.sizes == arguments[0].type.sizes
                and needed_empty.isdisjoint(node.results)
            ):
                self._pass_on(arguments[0], full[0])
                del self._kept[node]

    def _pass_on(self, argument: Value, result: Value) -> None:
        self._same[result] = argument
        if result.name and not self.name(argument):
            self.names[argument] = result.name

    def _items(self, nodes: tuple[Node, ...], inside: Mapping[Value, Value]) -> Iterator[Item]:
        def use(value: Value) -> Value:
            value = self._resolved(value)
            return inside.get(value, value)

        for node in nodes:
            if isinstance(node, Store):
                continue
            if not isinstance(node, Repeat):
                if node in self._kept:
                    yield Step(node, tuple(map(use, self._kept[node])))
                continue
            for run in runs(node, self._units, self._omitted, self._uses_of_text, self._resolved):
                if run.alike:
                    yield self._loop(node, run.start, run.stop, inside)
                else:
                    for iteration in node.iterations[run.start : run.stop]:
                        yield from self._items(iteration, inside)

    def _loop(self, repeat: Repeat, start: int, stop: int, outside: Mapping[Value, Value]) -> Loop:
        def use(value: Value, names: Mapping[Value, Value]) -> Value:
            value = self._resolved(value)
            return names.get(value, value)

        touched = [
            c
            for c in repeat.carried
            if self._resolved(c.values[start]) is not self._resolved(c.values[start + 1])
        ]
        fresh = {c: Value(c.values[start].type, c.values[start].span, c.name) for c in touched}
        inside = dict(outside)
        for value, c in carriers(repeat, start, self._resolved).items():
            if c in fresh:
                inside[value] = fresh[c]
        carried: list[Carry] = []
        for c, value in fresh.items():
            leaving = use(c.values[start + 1], inside)
            if not self.name(leaving):
                self.names[leaving] = c.name
            entering, final = use(c.values[start], outside), self._resolved(c.values[stop])
            carried.append(Carry(c.name, entering, value, leaving, final))
        body = tuple(self._items(repeat.iterations[start], inside))
        return Loop(repeat, stop - start, body, tuple(carried))

    def _count(self, items: tuple[Item, ...]) -> None:
        for item in items:
            if isinstance(item, Step):
                read = item.arguments
            else:
                self._count(item.body)
                read = tuple(c.entering for c in item.carried)
                read += tuple(c.leaving for c in item.carried)
            self.uses.update(read)
            for value in read:
                self.readers.setdefault(value, []).append(item)


def outer_values(loop: Loop) -> list[Value]:
    """Values from outside that the body of a loop reads, each once, in order."""
    made = {c.inside for c in loop.carried} | set(_made(loop.body))
    read = dict.fromkeys(_read(loop.body)) | dict.fromkeys(c.leaving for c in loop.carried)
    return [value for value in read if value not in made]


def slots_used(items: tuple[Item, ...]) -> Iterator[Slot]:
    """The slots of the steps, loops opened."""
    for item in items:
        if isinstance(item, Loop):
            yield from slots_used(item.body)
        else:
            yield from slots_of(item.node)


def _made(items: tuple[Item, ...]) -> Iterator[Value]:
    for item in items:
        if isinstance(item, Step):
            yield from item.node.results
        else:
            yield from (c.final for c in item.carried)


def _read(items: tuple[Item, ...]) -> Iterator[Value]:
    for item in items:
        if isinstance(item, Step):
            yield from item.arguments
        else:
            yield from (c.entering for c in item.carried)
            yield from outer_values(item)


def _is_empty(value: Value) -> bool:
    return 0 in value.type.sizes


def _joins(node: Apply | Call) -> bool:
    """Whether a node takes any number of tensors and does not mind empty ones: `concat`."""
    return isinstance(node, Apply) and node.op.takes_empty and node.op.arity is None


def _without_dead(
    items: tuple[Item, ...], needed: set[Value]
) -> tuple[tuple[Item, ...], set[Value]]:
    """The items that the needed values depend on, and the values that those need in turn."""
    needed = set(needed)
    kept: list[Item] = []
    for item in reversed(items):
        if isinstance(item, Step):
            if not needed.isdisjoint(item.node.results):
                kept.append(item)
                needed.update(item.arguments)
            continue
        # Of two names for one value, one is enough to bring it out of the loop.
        finals = {c.final: c for c in reversed(item.carried) if c.final in needed}
        carried = [c for c in item.carried if finals.get(c.final) is c]
        if not carried:
            continue
        while True:
            body, inner = _without_dead(item.body, {c.leaving for c in carried})
            more = [c for c in item.carried if c not in carried and c.inside in inner]
            if not more:
                break
            carried += more
        live = tuple(c for c in item.carried if c in carried)
        kept.append(Loop(item.repeat, item.count, body, live))
        needed.update(inner - {c.inside for c in live})
        needed.update(c.entering for c in live)
    return tuple(reversed(kept)), needed


def statement_of(item: Item) -> Span:
    """The statement that an item comes from."""
    return item.node.statement if isinstance(item, Step) else item.repeat.statement
