"""What a value is computed from, seen through the blocks that compute it.

A pattern such as `phi(q) S / (phi(q) z + eps)` may be spread over blocks of the library, blocks of
the user, or one line. A `Term` is a value within the calls that lead to it; its `head` is the
operator that makes it, whichever block that stands in.
"""

from __future__ import annotations

from dataclasses import dataclass

from linvit_codegen.passes.rewrite import Leaf, results_of
from linvit_dsl.graph.ir import Apply, Call, Graph, Value


@dataclass(frozen=True, slots=True)
class Frame:
    """A call that was looked into, and the frame in which it stands (None: the graph itself)."""

    call: Call
    caller: Frame | None


@dataclass(frozen=True, slots=True)
class Term:
    """A value of the block that `frame` calls. Terms are equal when they are the same tensor."""

    value: Value
    frame: Frame | None = None


class Terms:
    """The terms of one graph."""

    def __init__(self, graph: Graph) -> None:
        self._producers: dict[Graph, dict[Value, Leaf]] = {}
        self._graph = graph

    def head(self, term: Term) -> tuple[Apply, tuple[Term, ...]] | None:
        """The operator that makes a term, and its arguments; None if it is no operator's result."""
        term = self.origin(term)
        node = self._producer(term)
        if not isinstance(node, Apply) or len(node.results) != 1:
            return None
        return node, tuple(self.origin(Term(value, term.frame)) for value in node.arguments)

    def origin(self, term: Term) -> Term:
        """The same tensor, where it is made: inputs and results of blocks are looked through."""
        while True:
            if term.frame is not None and term.value in (inputs := term.frame.call.graph.inputs):
                argument = term.frame.call.arguments[inputs.index(term.value)]
                term = Term(argument, term.frame.caller)
                continue
            node = self._producer(term)
            # What a block does can be told without its weights, or without its kernel.
            if not isinstance(node, Call) or node.slot is not None or node.graph.intrinsic:
                return term
            result = node.graph.outputs[node.results.index(term.value)]
            term = Term(result, Frame(node, term.frame))

    def outermost(self, term: Term) -> Value | None:
        """The value of the graph itself that is the term; None for the inside of a block."""
        while term.frame is not None:
            graph = term.frame.call.graph
            if term.value in graph.inputs:
                place = graph.inputs.index(term.value)
                term = Term(term.frame.call.arguments[place], term.frame.caller)
            elif term.value in graph.outputs:
                place = graph.outputs.index(term.value)
                term = Term(term.frame.call.results[place], term.frame.caller)
            else:
                return None
        return term.value

    def _producer(self, term: Term) -> Leaf | None:
        graph = self._graph if term.frame is None else term.frame.call.graph
        if graph not in self._producers:
            self._producers[graph] = {
                value: node for node in graph.walk() for value in results_of(node)
            }
        return self._producers[graph].get(term.value)
