"""W0305 and W0306: attention that nothing goes around, or that reads what nothing has normalised.

Every value is followed from the model's inputs. A skip anywhere around attention counts, also one
inside the mixer, and so does every norm and every learned scale: what is left is a network whose
depth is known not to train.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum

from linvit_dsl.errors import Diagnostic, Span, diagnose
from linvit_dsl.graph.ir import Apply, Call, Graph, Store, Value


class Way(IntEnum):
    """How a value depends on the model's inputs."""

    NONE = 0
    """Not at all: it is made of parameters."""
    MIXED = 1
    """Through attention only."""
    DIRECT = 2
    """Also on a way around all attention."""


@dataclass(frozen=True, slots=True)
class State:
    """What is known of a value.

    Args:
        way: See `Way`.
        fresh: Whether it comes from attention with no norm and no learned scale since.
        raw: Whether a residual sum has been made of such a value, and not normalised since.
    """

    way: Way
    fresh: bool = False
    raw: bool = False


def unguarded_mixers(graph: Graph) -> Iterator[Diagnostic]:
    """W0305 where the model's result depends on its input through attention only, and W0306.

    A model of a single mixer is a part on its own, for a test or a measurement: nothing is said.
    """
    walk = _Walk()
    results = walk.follow(graph, (State(Way.DIRECT),) * len(graph.inputs))
    if all(state.way == Way.MIXED for state in results) and _depth(graph, {}) > 1:
        found = walk.bottleneck(graph, (State(Way.DIRECT),) * len(graph.inputs))
        if found is not None and found.is_mixer:
            helps = ("add it to what it reads: `x += x |> layernorm |> ...`",)
            yield diagnose("W0305", found.span, helps=helps, name=found.name)
    for span, name in walk.raw.items():
        helps = ("normalise what it reads: `x += x |> layernorm |> ...`",)
        yield diagnose("W0306", span, helps=helps, name=name)


class _Walk:
    """Follows states through graphs, each once per combination of its inputs' states."""

    def __init__(self) -> None:
        self.raw: dict[Span, str] = {}
        self._calls: list[Call] = []
        self._known: dict[object, tuple[State, ...]] = {}

    def follow(self, graph: Graph, inputs: tuple[State, ...]) -> tuple[State, ...]:
        """The states of a graph's outputs."""
        key = (id(graph), inputs)
        if key not in self._known:
            states = self._states(graph, inputs)
            self._known[key] = tuple(states[value] for value in graph.outputs)
        return self._known[key]

    def _states(self, graph: Graph, inputs: tuple[State, ...]) -> dict[Value, State]:
        states = dict(zip(graph.inputs, inputs, strict=True))
        for node in graph.walk():
            if isinstance(node, Store):
                states[node.result] = State(Way.NONE)
                continue
            arguments = tuple(states[value] for value in node.arguments)
            if isinstance(node, Call):
                self._calls.append(node)
                results = self.follow(node.graph, arguments)
                self._calls.pop()
            else:
                results = (self._apply(node, arguments),) * len(node.results)
            states.update(zip(node.results, results, strict=True))
        return states

    def _apply(self, node: Apply, arguments: tuple[State, ...]) -> State:
        if not arguments:
            return State(Way.NONE)
        joined = State(
            max(state.way for state in arguments),
            any(state.fresh for state in arguments),
            any(state.raw for state in arguments),
        )
        if _mixes(node, arguments):
            # Of softmax attention the queries are asked; of a product, either side may be a state.
            asked = arguments[:1] if node.op.family == "softmax_attention" else arguments
            if all(state.raw for state in asked):
                self._reads_raw(node)
            return State(min(joined.way, Way.MIXED), fresh=True)
        if node.op.family == "norm":
            return State(joined.way)
        if node.op.name == "add" and len(arguments) == 2:
            return _added(*arguments, joined)
        scaled = node.op.name == "mul" and any(state.way == Way.NONE for state in arguments)
        return State(joined.way) if scaled else joined

    def _reads_raw(self, node: Apply) -> None:
        """Remember where: the innermost block around it that a norm could stand before."""
        mixers = [call for call in self._calls if _keeps_shape(call)]
        if mixers:
            self.raw[mixers[-1].span] = mixers[-1].graph.name
        else:
            self.raw[node.span] = node.op.name

    def bottleneck(self, graph: Graph, inputs: tuple[State, ...]) -> Bottleneck | None:
        """What all ways from the inputs to an output lead through; None if that is not in here."""
        states = self._states(graph, inputs)
        makers = {v: n for n in graph.walk() if not isinstance(n, Store) for v in n.results}
        value = next(v for v in graph.outputs if states[v].way == Way.MIXED)
        while (node := makers.get(value)) is not None:
            arguments = tuple(states[argument] for argument in node.arguments)
            if any(state.way == Way.DIRECT for state in arguments):
                break
            value = next(v for v in node.arguments if states[v].way == Way.MIXED)
        else:
            return None
        if isinstance(node, Apply):
            return Bottleneck(node.op.name, node.span, is_mixer=False)
        own = Bottleneck(node.graph.name, node.span, is_mixer=_keeps_shape(node))
        inner = self.bottleneck(node.graph, arguments)
        return inner if inner is not None and (inner.is_mixer or not own.is_mixer) else own


@dataclass(frozen=True, slots=True)
class Bottleneck:
    """A node around which nothing goes.

    `is_mixer` tells a block from a tensor to one of its shape, which a residual could go around.
    """

    name: str
    span: Span
    is_mixer: bool


def _mixes(node: Apply, arguments: tuple[State, ...]) -> bool:
    """Whether values that depend on the input meet in a sum of products, as in all attention."""
    if node.op.family in ("softmax_attention", "linear_attention"):
        return arguments[0].way != Way.NONE
    if node.op.name not in ("matmul", "einsum"):
        return False
    moving = sum(state.way != Way.NONE for state in arguments)
    types = node.argument_types, node.result_types
    return moving > 1 and node.op.products(node.attributes, *types) != 0


def _added(left: State, right: State, joined: State) -> State:
    """A sum; that of a branch and of what went around it begins a residual stream."""
    ways = {left.way: left, right.way: right}
    if set(ways) != {Way.MIXED, Way.DIRECT}:
        return joined
    return State(Way.DIRECT, raw=joined.raw or ways[Way.MIXED].fresh)


def _keeps_shape(call: Call) -> bool:
    inputs, outputs = call.graph.inputs, call.graph.outputs
    return len(inputs) == len(outputs) == 1 and inputs[0].type == outputs[0].type


def _depth(graph: Graph, known: dict[int, int]) -> int:
    """How many mixers a graph applies: blocks that keep a shape and multiply matrices of values."""
    if id(graph) not in known:
        depth = 0
        for node in graph.walk():
            if isinstance(node, Call):
                inside = _depth(node.graph, known)
                depth += inside or int(_keeps_shape(node) and _multiplies(node.graph))
        known[id(graph)] = depth
    return known[id(graph)]


def _multiplies(graph: Graph) -> bool:
    for node in graph.walk():
        if isinstance(node, Call) and _multiplies(node.graph):
            return True
        if isinstance(node, Apply) and node.op.name in ("attend", "matmul", "einsum"):
            return True
    return False
