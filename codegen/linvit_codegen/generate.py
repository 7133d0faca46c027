"""Turns a checked graph into one Python module."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from linvit_codegen.attributes import write_attributes
from linvit_codegen.constructors import Constructor
from linvit_codegen.embedded import Embedding, all_pieces
from linvit_codegen.forward import Forward, Scope
from linvit_codegen.header import Facts, with_header
from linvit_codegen.imports import module_head
from linvit_codegen.intrinsics import Kernels
from linvit_codegen.joint import slots_of
from linvit_codegen.names import (
    BUILTINS,
    IMPORTED,
    MODULE_ATTRIBUTES,
    VARIABLE_RESERVED,
    Names,
    class_name,
    function_name,
    legalise,
)
from linvit_codegen.passes import Level, optimise, passes_of
from linvit_codegen.plan import Plan
from linvit_codegen.source_map import source_map
from linvit_codegen.units import Unit, Units
from linvit_codegen.verify import verify
from linvit_codegen.writer import Place, Writer, target
from linvit_dsl.errors import Source
from linvit_dsl.graph.ir import Apply, Graph, Repeat, Store, TensorType
from linvit_dsl.graph.macs import total_macs
from linvit_dsl.ops.code import Code, call
from linvit_dsl.ops.op import BATCH


@dataclass(frozen=True, slots=True)
class Options:
    """How to generate.

    Args:
        kernels: `auto` calls a kernel wherever one computes an intrinsic block, `reference` emits
            the bodies of intrinsic blocks in plain torch.
        level: Which passes change the graph before; see `linvit_codegen.passes`.
        standalone: Whether the module needs torch only: it carries along what it uses of the
            runtime, calls no kernels, and its errors name no lines of the spec.
        validated: Whether the graph is checked after every pass.
    """

    kernels: Kernels = "auto"
    level: Level = 1
    standalone: bool = False
    validated: bool = False

    @property
    def passes(self) -> tuple[str, ...]:
        """The names of the passes that run, in order."""
        return passes_of(self.level, self.lowering)

    @property
    def lowering(self) -> Kernels:
        """What really becomes of intrinsic blocks."""
        return "reference" if self.standalone else self.kernels

    def __str__(self) -> str:
        form = ", standalone" if self.standalone else ""
        return f"-O{self.level}, kernels={self.lowering}{form}"


@dataclass(frozen=True, slots=True)
class Generated:
    """A generated module.

    Args:
        name: Of the model's class.
        text: The Python module.
        map: Line of the module -> statement of the `.vit` text, and Python names -> names of the
            language; see `source_map`. Can be stored as JSON.
        standalone: Whether the module needs no map beside it.
    """

    name: str
    text: str
    map: dict[str, Any]
    standalone: bool = False

    @property
    def map_text(self) -> str:
        """The map as JSON."""
        return json.dumps(self.map, ensure_ascii=False, indent=1) + "\n"


def generate(
    graph: Graph, *, sources: Sequence[Source] = (), options: Options | None = None
) -> Generated:
    """Write the module of a model: the same bytes for the same graph, sources and options.

    Args:
        graph: The model, elaborated.
        sources: All texts that it was resolved from, the spec itself first; they are hashed.
        options: See `Options`.

    Raises:
        InternalError: The generated text breaks linvit's own rules.
    """
    options = options or Options()
    optimised = optimise(graph, options.passes, validated=options.validated)
    emitter = _Emitter(optimised, options)
    body, writer = emitter.module()
    first = sources[0] if sources else graph.span.source
    spec = PurePosixPath(first.name).name
    facts = Facts(emitter.top_name, spec, emitter.num_trained, total_macs(graph))
    text = with_header(facts, sources, str(options), options.passes, body)
    verify(text, emitter.top_name, emitter.defined)
    offset = text.count("\n") - body.count("\n")
    names = {"variables": emitter.variables.changed, "slots": emitter.slots.changed}
    map_ = source_map(text, writer.places, offset, names)
    return Generated(emitter.top_name, text, map_, options.standalone)


class _Emitter:
    """Writes all units of one model."""

    def __init__(self, top: Graph, options: Options) -> None:
        self._top = top
        self._units = Units(top, options.lowering)
        self._embedding = Embedding() if options.standalone else None
        self._carried = all_pieces() if options.standalone else ()
        self._constructors: dict[Unit, Constructor] = {}
        for unit in self._units:
            self._constructors[unit] = Constructor(unit, self._units, self._constructors)
        self._functions: dict[Unit, str] = {}
        self._classes: dict[Unit, str] = {}
        self._name_units()
        self.variables = Names(self._words(), VARIABLE_RESERVED, (*self.defined, *self._carried))
        self.slots = Names(self._slot_words(), MODULE_ATTRIBUTES)

    @property
    def top_name(self) -> str:
        """The class of the model."""
        return self._classes[self._units[self._top]]

    @property
    def num_trained(self) -> int:
        """How many trained numbers the model holds."""
        return self._units.num_trained(self._top)

    @property
    def defined(self) -> tuple[str, ...]:
        """All classes and functions, in order of definition."""
        return tuple(self._classes.get(unit) or self._functions[unit] for unit in self._units)

    def _name_units(self) -> None:
        top = self._units[self._top]
        taken = {*IMPORTED, *BUILTINS, *self._carried, legalise(self._top.name)}
        for unit in self._units:
            name = unit.graph.name
            if unit is top:
                self._classes[unit] = legalise(name)
            elif self._constructors[unit].stateful:
                self._classes[unit] = class_name(name, taken)
                taken.add(self._classes[unit])
            else:
                self._functions[unit] = function_name(name, taken)
                taken.add(self._functions[unit])

    def _words(self) -> Iterator[str]:
        """All names of values and hyperparameters, in the order of the text."""
        for unit in self._units:
            yield from (parameter.word for parameter in self._constructors[unit].parameters)
            yield from (value.name for value in unit.graph.inputs)
            for node in unit.graph.walk():
                results = (node.result,) if isinstance(node, Store) else node.results
                yield from (value.name for value in results if value.name)
                if isinstance(node, Apply):
                    yield from node.op.hyper
                if word := target(node.statement):
                    yield word
            yield from _carried_names(unit.graph.nodes)

    def _slot_words(self) -> Iterator[str]:
        for unit in self._units:
            yield from (slot.name for node in unit.graph.walk() for slot in slots_of(node))

    def module(self) -> tuple[str, Writer]:
        """The text below the header, and the writer that knows its places."""
        parts = Writer(self._embedding)
        for unit in self._units:
            parts.text(0, "", "")
            if unit in self._functions:
                self._function(parts, unit)
            else:
                self._class(parts, unit)
        name = self.top_name
        if self._embedding is None:
            parts.text(0, "", "", f"trace.locate_errors({name}, __file__)")
        head = module_head(name, parts.libraries, self._embedding)
        writer = Writer()
        writer.text(0, *head, *parts.lines)
        shift = len(head)
        writer.places = {line + shift: place for line, place in parts.places.items()}
        return "\n".join(writer.lines) + "\n", writer

    def _function(self, writer: Writer, unit: Unit) -> None:
        parameters = [f"{self.variables[v.name]}: Tensor" for v in unit.graph.inputs]
        self._mark(writer, unit, 0)
        writer.signature(0, f"def {self._functions[unit]}", parameters, _result(unit.graph))
        writer.docstring(4, f"{_shapes(unit)}.")
        self._body(writer, unit, 4)

    def _mark(self, writer: Writer, unit: Unit, indent: int) -> None:
        if unit.graph.float32:
            writer.decorator(indent, "layers.float32")

    def _class(self, writer: Writer, unit: Unit) -> None:
        name = self._classes[unit]
        # A model keeps the name that the text gives it: that is how it is loaded.
        noqa = "" if "_" not in name and name[0].isupper() else "  # noqa: N801"
        writer.text(0, f"class {name}(nn.Module):{noqa}")
        params = self._units.num_trained(unit.graph)
        graph = unit.graph
        doc = [graph.doc] if graph.doc else []
        origin = f"{graph.kind.capitalize()} `{graph.name}` of `{graph.module}`."
        writer.docstring(4, f"{_shapes(unit)}; {params:,} parameters.", *doc, origin)
        constructor = self._constructors[unit]
        writer.text(0, "")
        write_attributes(
            writer, constructor, self._classes, self._units, self.variables, self.slots
        )
        writer.text(0, "")
        parameters = [f"{self.variables[v.name]}: Tensor" for v in graph.inputs]
        self._mark(writer, unit, 4)
        writer.signature(4, "def forward", ["self", *parameters], _result(graph))
        if graph is self._top and graph.kind == "model":
            self._expect_shapes(writer, graph)
        self._body(writer, unit, 8)

    def _expect_shapes(self, writer: Writer, graph: Graph) -> None:
        """Refuse other sizes: a patch embedding would drop the last rows of a larger image."""
        place = Place(graph.span, graph.qualified_name)
        for value in graph.inputs:
            batch, sizes = value.type.sizes[:1], value.type.sizes[1:]
            if batch == (BATCH,) and all(isinstance(size, int) for size in sizes):
                check = call("layers.expect_shape", Code(self.variables[value.name]), *sizes)
                writer.statement(8, "", str(check), place=place)

    def _body(self, writer: Writer, unit: Unit, indent: int) -> None:
        constructor = self._constructors[unit]
        plan = Plan(unit.graph, self._units, constructor.omitted)
        lengths = {b.name: len(b.elements) for b in constructor.built if b.indexed}
        scope = Scope(self._units, self._functions, self.variables, self.slots, lengths)
        Forward(writer, unit, plan, scope).write(indent)


def _carried_names(nodes: Sequence[object]) -> Iterator[str]:
    for node in nodes:
        if isinstance(node, Repeat):
            yield from (carried.name for carried in node.carried)
            for iteration in node.iterations:
                yield from _carried_names(iteration)


def _result(graph: Graph) -> str:
    count = len(graph.outputs)
    return " -> Tensor" if count == 1 else f" -> tuple[{', '.join(['Tensor'] * count)}]"


def _shapes(unit: Unit) -> str:
    """`x [B, 64, 384] -> [B, 64, 384]`; sizes that differ between uses are `*`."""
    graphs = unit.graphs
    inputs = [
        f"{value.name} {_shape([graph.inputs[k].type for graph in graphs])}"
        for k, value in enumerate(graphs[0].inputs)
    ]
    outputs = [
        _shape([graph.outputs[k].type for graph in graphs]) for k in range(len(graphs[0].outputs))
    ]
    return f"{', '.join(inputs)} -> {', '.join(outputs)}"


def _shape(types: Sequence[TensorType]) -> str:
    if len({len(type_.dims) for type_ in types}) > 1:
        return "[...]"
    columns = zip(*(type_.sizes for type_ in types), strict=True)
    return "[" + ", ".join(str(c[0]) if len(set(c)) == 1 else "*" for c in columns) + "]"
