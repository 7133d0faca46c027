"""What a class builds in `__init__`, and what its callers tell it: hyperparameters that differ.

A drop rate that is the same wherever a class is built stays a number in the class. One that differs
becomes an argument of `__init__`, and where the caller itself is built several times with different
rates, an argument of the caller too.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from linvit_codegen.joint import slotted
from linvit_codegen.units import HOLE, Unit, Units, has_module, module_code, store_code
from linvit_dsl.graph.ir import Apply, Call, Graph, Slot, Store

Column = tuple[Any, ...]
"""One value per graph of a unit."""
Member = Apply | Call | Store


@dataclass(frozen=True, slots=True, eq=False)
class Parameter:
    """An argument of `__init__`: `word` is its name in the language, or close to it."""

    word: str
    annotation: str


Given = Any
"""A number to be written down, or the `Parameter` that holds it."""


@dataclass(frozen=True, slots=True)
class Element:
    """One submodule or weight, as each graph of the unit sees it."""

    slot: Slot
    nodes: tuple[Member, ...]
    hyper: Mapping[str, Column]

    @property
    def node(self) -> Member:
        """As the graph that stands for all sees it."""
        return self.nodes[0]


@dataclass(frozen=True, slots=True)
class Built:
    """One attribute that `__init__` sets: a module, weight or buffer, or a list of alike ones.

    Args:
        name: The slot.
        elements: One, or one per index.
        given: Per element, what its hyperparameters are.
        loops: If set, all elements are one comprehension: what runs over the elements, per
            hyperparameter; the other hyperparameters are those of `given[0]`.
    """

    name: str
    elements: tuple[Element, ...]
    given: tuple[Mapping[str, Given], ...]
    loops: Mapping[str, Given] | None = None

    @property
    def indexed(self) -> bool:
        """Whether it is a list."""
        return self.elements[0].slot.index is not None

    @property
    def buffer(self) -> bool:
        """Whether it is saved but not trained."""
        node = self.elements[0].node
        return isinstance(node, Store) and not node.trained


class Constructor:
    """The constructor of one unit.

    Attributes:
        parameters: Arguments of `__init__`.
        values: What each graph of the unit passes for them.
        built: What it sets, in the order of the text.
        omitted: Applications (of the graph that stands for all) that change nothing anywhere: a
            drop rate of 0, a slice of everything.
    """

    def __init__(self, unit: Unit, units: Units, constructors: Mapping[Unit, Constructor]) -> None:
        self._graphs = unit.graphs
        self._units = units
        self._constructors = constructors
        self.parameters: list[Parameter] = []
        self._columns: dict[Parameter, Column] = {}
        self.omitted = self._find_omitted()
        self.built = [self._build(name, found) for name, found in self._elements().items()]

    @property
    def stateful(self) -> bool:
        """Whether the unit must be a class."""
        return bool(self.built)

    def arguments(self, graph: Graph) -> dict[str, Any]:
        """What a call of `graph` passes for each parameter."""
        member = self._graphs.index(graph)
        return {p.word: self._columns[p][member] for p in self.parameters}

    def _find_omitted(self) -> frozenset[Apply]:
        kept_slots: set[str] = set()
        omitted: list[Apply] = []
        for nodes in zip(*(graph.walk() for graph in self._graphs), strict=True):
            node = nodes[0]
            if isinstance(node, Apply) and all(map(_changes_nothing, nodes)):
                omitted.append(node)
            elif node.slot is not None:
                kept_slots.add(node.slot.name)
        # In a loop all iterations must agree, or the loop could not be written as one.
        return frozenset(n for n in omitted if n.slot is None or n.slot.name not in kept_slots)

    def _elements(self) -> dict[str, list[Element]]:
        found: dict[str, dict[Slot, Element]] = {}
        for nodes in zip(*(slotted(g.walk()) for g in self._graphs), strict=True):
            node = nodes[0]
            if node.slot is None or node in self.omitted or not self._is_built(node):
                continue
            elements = found.setdefault(node.slot.name, {})
            elements.setdefault(node.slot, Element(node.slot, nodes, self._hyper(nodes)))
        return {
            name: sorted(elements.values(), key=lambda element: element.slot.index or 0)
            for name, elements in found.items()
        }

    def _is_built(self, node: Member) -> bool:
        if isinstance(node, Apply):
            return has_module(node)
        if isinstance(node, Call):
            return not self._units.is_kernel(node) and self._callee(node).stateful
        return True

    def _callee(self, node: Call) -> Constructor:
        return self._constructors[self._units[node.graph]]

    def _hyper(self, nodes: tuple[Member, ...]) -> dict[str, Column]:
        # Members of one column are alike, so all of them are of the first one's kind.
        node = nodes[0]
        if isinstance(node, Apply):
            applied = [member.attributes for member in nodes if isinstance(member, Apply)]
            return {word: tuple(getattr(a, word) for a in applied) for word in node.op.hyper}
        if isinstance(node, Call):
            called = [member.graph for member in nodes if isinstance(member, Call)]
            passed = [self._callee(node).arguments(graph) for graph in called]
            return {word: tuple(p[word] for p in passed) for word in passed[0]}
        return {}

    def _build(self, name: str, elements: list[Element]) -> Built:
        first = elements[0]
        alike = first.slot.index is not None and len({self._text(e) for e in elements}) == 1
        if not alike or len(elements) == 1:
            given = tuple(
                {word: self._given(word, column) for word, column in element.hyper.items()}
                for element in elements
            )
            return Built(name, tuple(elements), given)
        given_once: dict[str, Given] = {}
        loops: dict[str, Given] = {}
        for word in first.hyper:
            rows = list(zip(*(element.hyper[word] for element in elements), strict=True))
            if all(len(set(row)) == 1 for row in rows):
                given_once[word] = self._given(word, tuple(row[0] for row in rows))
            else:
                loops[word] = self._given(f"{word}s", tuple(rows))
        return Built(name, tuple(elements), (given_once,), loops)

    def _text(self, element: Element) -> object:
        node = element.node
        if isinstance(node, Apply):
            return str(module_code(node, dict.fromkeys(node.op.hyper, HOLE)))
        if isinstance(node, Store):
            return str(store_code(node))
        return self._units[node.graph]

    def _given(self, word: str, column: Column) -> Given:
        """The value if all graphs agree on it, else the parameter that holds it."""
        if all(value == column[0] for value in column):
            return column[0]
        for parameter in self.parameters:
            if self._columns[parameter] == column:
                return parameter
        value = column[0]
        kind = f"tuple[{type(value[0]).__name__}, ...]" if isinstance(value, tuple) else None
        parameter = Parameter(self._word(word, column), kind or type(value).__name__)
        self.parameters.append(parameter)
        self._columns[parameter] = column
        return parameter

    def _word(self, word: str, column: Column) -> str:
        """What the text calls a column: the block's own static if it holds just these values."""
        for static in self._graphs[0].statics:
            held = (graph.statics.get(static) for graph in self._graphs)
            if all(_equal(a, b) for a, b in zip(held, column, strict=True)):
                word = static
                break
        taken = {parameter.word for parameter in self.parameters}
        number = 2
        unique = word
        while unique in taken:
            unique, number = f"{word}_{number}", number + 1
        return unique


def _changes_nothing(node: Member) -> bool:
    return isinstance(node, Apply) and node.op.identity(node.attributes, node.argument_types)


def _equal(static: object, value: object) -> bool:
    if isinstance(static, Fraction):
        return float(static) == value
    return static == value
