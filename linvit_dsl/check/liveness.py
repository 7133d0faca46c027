"""Which parameters a model's result depends on, followed backwards from what is read out.

Reading the class token alone leaves all that is only computed for the other tokens without a
gradient. Whether a block's weights matter depends on who calls it, so every call is followed with
the regions that its caller needs; calls that need the same are followed once.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from linvit_dsl.check.regions import Region, needed
from linvit_dsl.errors import Span
from linvit_dsl.graph.ir import Apply, Call, Graph, Store, Value

Key = tuple[str, ...]
"""A parameter as the path of slots to it: `("layers.11", "attn", "gamma")`."""


@dataclass(frozen=True, slots=True)
class Dead:
    """Parameters that no result depends on.

    Args:
        parameters: How many numbers each holds, by its key in the state dict, in its order.
        causes: The operators that pass on a part of their argument only.
    """

    parameters: dict[str, int]
    causes: tuple[Span, ...]


def dead_parameters(graph: Graph) -> Dead:
    """The parameters of `graph` whose gradient is zero because their values are not read out.

    Left out are those that serve values which their own block does not use at all: that is told
    where these stand.
    """
    found = _Follower().follow(graph, tuple(Region.whole(value.type) for value in graph.outputs))
    uses = _Uses()
    dead = {
        ".".join(key): elements
        for key, elements in uses.parameters(graph).items()
        if key not in found.live and not uses.unread(graph, key)
    }
    return Dead(dead, tuple(found.causes) if dead else ())


@dataclass(slots=True)
class _Followed:
    """What a graph needs of its inputs, and which of its parameters, for some of its outputs."""

    inputs: tuple[Region | None, ...] = ()
    live: dict[Key, None] = field(default_factory=dict)
    causes: dict[Span, None] = field(default_factory=dict)


class _Follower:
    def __init__(self) -> None:
        self._known: dict[object, _Followed] = {}

    def follow(self, graph: Graph, outputs: tuple[Region | None, ...]) -> _Followed:
        """Go through a graph backwards; `outputs` are the regions that are needed of them."""
        known = self._known.get((id(graph), outputs))
        if known is not None:
            return known
        found = self._known[id(graph), outputs] = _Followed()
        regions: dict[Value, Region] = {}
        _need(regions, graph.outputs, outputs)
        for node in reversed(tuple(graph.walk())):
            if isinstance(node, Store):
                if node.result in regions:
                    found.live[str(node.slot),] = None
                continue
            results = tuple(regions.get(value) for value in node.results)
            if all(region is None for region in results):
                continue
            if isinstance(node, Call):
                inner = self.follow(node.graph, results)
                slot = str(node.slot)
                found.live |= {(slot, *key): None for key in inner.live}
                found.causes |= inner.causes
                arguments = inner.inputs
            else:
                arguments = self._apply(node, results, found)
            _need(regions, node.arguments, arguments)
        found.inputs = tuple(regions.get(value) for value in graph.inputs)
        return found

    def _apply(
        self, node: Apply, results: tuple[Region | None, ...], found: _Followed
    ) -> tuple[Region | None, ...]:
        slot = str(node.slot)
        found.live |= {(slot, weight.name): None for weight in node.weights}
        arguments = needed(node, results)
        if None in arguments:
            found.causes |= {
                r.cause: None for r in results if r is not None and r.cause is not None
            }
        return arguments


def _need(
    regions: dict[Value, Region], values: tuple[Value, ...], parts: tuple[Region | None, ...]
) -> None:
    for value, part in zip(values, parts, strict=True):
        if part is not None:
            regions[value] = part.joined(regions.get(value))


class _Uses:
    """The parameters of graphs, and which nodes lead to no output of their own graph."""

    def __init__(self) -> None:
        self._unread: dict[int, frozenset[str]] = {}
        self._parameters: dict[int, dict[Key, int]] = {}

    def parameters(self, graph: Graph) -> dict[Key, int]:
        """How many numbers each trained parameter holds; one of a shared layer stands once."""
        if id(graph) not in self._parameters:
            self._parameters[id(graph)] = self._listed(graph)
        return self._parameters[id(graph)]

    def _listed(self, graph: Graph) -> dict[Key, int]:
        found: dict[Key, int] = {}
        for node in graph.walk():
            slot = str(node.slot)
            if isinstance(node, Store):
                found |= {(slot,): node.weight.elements} if node.trained else {}
            elif isinstance(node, Call):
                if node.slot is not None:
                    inner = self.parameters(node.graph).items()
                    found |= {(slot, *key): elements for key, elements in inner}
            else:
                found |= {(slot, weight.name): weight.elements for weight in node.weights}
        return found

    def unread(self, graph: Graph, key: Key) -> bool:
        """Whether some block on the way to a parameter does not use what it serves."""
        if id(graph) not in self._unread:
            self._unread[id(graph)] = _unread_slots(graph)
        if key[0] in self._unread[id(graph)]:
            return True
        calls = (n for n in graph.walk() if isinstance(n, Call) and str(n.slot) == key[0])
        node = next(calls, None)
        return node is not None and self.unread(node.graph, key[1:])


def _unread_slots(graph: Graph) -> frozenset[str]:
    """Slots of nodes from which no way leads to an output of the graph."""
    read = set(graph.outputs)
    used: set[str] = set()
    slots: set[str] = set()
    for node in reversed(tuple(graph.walk())):
        results = (node.result,) if isinstance(node, Store) else node.results
        slots.add(str(node.slot))
        if any(value in read for value in results):
            used.add(str(node.slot))
            read |= set(() if isinstance(node, Store) else node.arguments)
    return frozenset(slots - used)
