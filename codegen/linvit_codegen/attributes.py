"""Writes `__init__`: the submodules, weights and buffers of a class."""

from __future__ import annotations

import math
from collections.abc import Mapping

from linvit_codegen.constructors import Built, Constructor, Element, Given, Parameter
from linvit_codegen.names import Names, numbered
from linvit_codegen.units import Unit, Units, module_code, store_code
from linvit_codegen.writer import Writer
from linvit_dsl.errors import InternalError
from linvit_dsl.graph.ir import Apply, Call, Store
from linvit_dsl.ops.code import PRODUCT, Code, literal
from linvit_dsl.ops.initializers import redraw_period


def write_attributes(
    writer: Writer,
    constructor: Constructor,
    classes: Mapping[Unit, str],
    units: Units,
    variables: Names,
    slots: Names,
) -> None:
    """Write the constructor of a class, inside its body."""
    _Attributes(writer, constructor, classes, units, variables, slots).write()


class _Attributes:
    def __init__(
        self,
        writer: Writer,
        constructor: Constructor,
        classes: Mapping[Unit, str],
        units: Units,
        variables: Names,
        slots: Names,
    ) -> None:
        self._writer = writer
        self._constructor = constructor
        self._classes = classes
        self._units = units
        self._variables = variables
        self._slots = slots

    def write(self) -> None:
        """Annotations of buffers, then `__init__`."""
        built = self._constructor.built
        buffers = [self._slots[item.name] for item in built if item.buffer and not item.indexed]
        if buffers:
            # torch types an attribute that it finds by name as `Tensor | Module`.
            self._writer.text(4, *(f"{name}: Tensor" for name in buffers), "")
        parameters = [
            f"{self._variables[p.word]}: {p.annotation}" for p in self._constructor.parameters
        ]
        self._writer.signature(4, "def __init__", ["self", *parameters], " -> None")
        self._writer.text(8, "super().__init__()")
        for item in built:
            name = self._slots[item.name]
            if item.buffer and not item.indexed:
                start = store_code(_store(item.elements[0]))
                self._writer.statement(8, "", f'self.register_buffer("{name}", {start})')
            else:
                self._writer.statement(8, f"self.{name} = ", self._attribute(item))
            if item.buffer:
                self._redraws(item)

    def _redraws(self, item: Built) -> None:
        name = self._slots[item.name]
        for index, element in enumerate(item.elements):
            if period := redraw_period(_store(element).weight.initializer):
                place = f'self.{name}, "{index}"' if item.indexed else f'self, "{name}"'
                self._writer.statement(8, "", f"layers.redraw_every({period}, {place})")

    def _attribute(self, item: Built) -> str:
        first = item.elements[0]
        if not item.indexed:
            return str(self._element(first, item.given[0], {}))
        kind = "nn.ModuleList"
        if isinstance(first.node, Store):
            kind = "nn.ParameterList" if first.node.trained else "layers.BufferList"
        if item.loops is None:
            elements = [
                str(self._element(element, given, {}))
                for element, given in zip(item.elements, item.given, strict=True)
            ]
            return f"{kind}([{', '.join(elements)}])"
        ramp = self._ramp(item)
        if ramp is not None:
            return f"{kind}({ramp})"
        variables = {word: Code(self._variables[word]) for word in item.loops}
        element = self._element(first, item.given[0], variables)
        sources = [str(self._given(given)) for given in item.loops.values()]
        if not sources:
            return f"{kind}({element} for _ in range({len(item.elements)}))"
        source = sources[0] if len(sources) == 1 else f"zip({', '.join(sources)})"
        targets = ", ".join(map(str, variables.values()))
        return f"{kind}({element} for {targets} in {source})"

    def _ramp(self, item: Built) -> str | None:
        """The comprehension over a rate that rises evenly from 0, as one writes it by hand."""
        if item.loops is None or len(item.loops) != 1:
            return None
        ((word, rates),) = item.loops.items()
        count = len(item.elements)
        if (
            not isinstance(rates, tuple)
            or count < 3
            or any(
                not math.isclose(rate, rates[-1] * place / (count - 1), rel_tol=1e-12)
                for place, rate in enumerate(rates)
            )
        ):
            return None
        variable = next(name for name in numbered("i") if name not in self._variables.used)
        rate = Code(f"{rates[-1]!r} * {variable} / {count - 1}", PRODUCT)
        element = self._element(item.elements[0], item.given[0], {word: rate})
        return f"{element} for {variable} in range({count})"

    def _element(
        self, element: Element, given: Mapping[str, Given], variables: Mapping[str, Code]
    ) -> Code:
        node = element.node
        hyper = {
            word: variables[word] if word in variables else self._given(given[word])
            for word in element.hyper
        }
        if isinstance(node, Apply):
            code = module_code(node, hyper)
            if code is None:
                raise InternalError(f"{node.op.name} has a slot but needs no module")
            return code
        if isinstance(node, Call):
            return Code(f"{self._classes[self._units[node.graph]]}({self._passed(hyper)})")
        start = store_code(_store(element))
        return Code(f"nn.Parameter({start})") if node.trained else start

    def _passed(self, hyper: Mapping[str, Code]) -> str:
        """`drop_path` alone goes by position where that is what it is called."""
        if len(hyper) == 1:
            ((word, code),) = hyper.items()
            if code.text == self._variables[word]:
                return code.text
        return ", ".join(f"{self._variables[word]}={code}" for word, code in hyper.items())

    def _given(self, given: Given) -> Code:
        return Code(self._variables[given.word]) if isinstance(given, Parameter) else literal(given)


def _store(element: Element) -> Store:
    if not isinstance(element.node, Store):
        raise InternalError(f"{element.slot} is no declared tensor")
    return element.node
