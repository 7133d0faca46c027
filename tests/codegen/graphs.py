"""Builds small graphs by hand, statement by statement, with a text that their spans point into."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from contextlib import contextmanager
from typing import Any

from linvit_dsl.check.builder import GraphBuilder
from linvit_dsl.errors import Source, Span
from linvit_dsl.graph.ir import Carried, Graph, Initializer, Node, Slot, TensorType, Value
from linvit_dsl.graph.size import Poly, Size
from linvit_dsl.ops import OPS

B = Poly.symbol("B")


class Text:
    """A `.vit` text that grows as statements are quoted."""

    def __init__(self, lines: str, name: str = "hand.vit", module: str = "hand") -> None:
        self.source = Source(name, lines, module)

    def span(self, part: str) -> Span:
        """The first place where `part` stands."""
        start = self.source.text.index(part)
        return Span(self.source, start, start + len(part))


class Hand:
    """One block, built by hand."""

    def __init__(self, text: Text, name: str, **inputs: tuple[Size, ...]) -> None:
        self.text = text
        self.name = name
        self.span = text.span(f" {name}")
        self.builder = GraphBuilder(self.span)
        self.inputs = tuple(
            Value(TensorType.of(*shape), self.span, word) for word, shape in inputs.items()
        )

    def at(self, statement: str) -> None:
        """What follows belongs to this statement."""
        self.builder.statement = self.text.span(statement)

    def apply(
        self,
        op: str,
        *arguments: Value,
        slot: str | Slot | None = None,
        name: str | tuple[str, ...] = "",
        **attributes: Any,
    ) -> Any:
        """Apply an operator; one value, or a tuple of them."""
        names = (name,) if isinstance(name, str) else name
        results = self.builder.apply(
            OPS[op],
            OPS[op].Attributes(**attributes),
            arguments,
            slot=self._slot(slot),
            span=self.builder.statement,
            names=names,
        )
        return results[0] if len(results) == 1 else results

    def call(
        self,
        graph: Graph,
        *arguments: Value,
        slot: str | Slot | None = None,
        name: str | tuple[str, ...] = "",
    ) -> Any:
        """Apply a block."""
        names = (name,) if isinstance(name, str) else name
        span = self.builder.statement
        results = self.builder.call(graph, arguments, slot=self._slot(slot), span=span, names=names)
        return results[0] if len(results) == 1 else results

    def _slot(self, slot: str | Slot | None) -> Slot | None:
        if isinstance(slot, str):
            return self.builder.slot(slot, self.builder.statement, labelled=True)
        return slot

    def store(self, name: str, *shape: int, init: Initializer, trained: bool = True) -> Value:
        """Declare a `param` or `buffer`."""
        span = self.builder.statement
        return self.builder.store(name, TensorType.of(*shape), init, trained=trained, span=span)

    @contextmanager
    def iteration(self, into: list[tuple[Node, ...]]) -> Generator[None]:
        """Collect one iteration of a loop."""
        with self.builder.iteration() as nodes:
            yield
        into.append(tuple(nodes))

    def repeat(self, iterations: list[tuple[Node, ...]], **carried: list[Value]) -> None:
        """Add a loop."""
        values = tuple(Carried(word, tuple(row)) for word, row in carried.items())
        self.builder.repeat(iterations, values, self.builder.statement)

    def done(
        self,
        *outputs: Value,
        statics: Mapping[str, Any] | None = None,
        kind: str = "block",
        intrinsic: bool = False,
        doc: str = "",
    ) -> Graph:
        """The graph."""
        return self.builder.finish(
            name=self.name,
            module=self.text.source.module,
            kind=kind,
            intrinsic=intrinsic,
            statics=statics or {},
            inputs=self.inputs,
            outputs=outputs,
            span=self.span,
            doc=doc,
        )
