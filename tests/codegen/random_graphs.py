"""Random graphs: reassigned names, captured values, loops in loops, blocks and weights.

A list of small numbers decides everything, so that hypothesis can shrink a failure.
"""

from __future__ import annotations

from collections.abc import Iterator

from linvit_dsl.errors import Span
from linvit_dsl.graph.ir import Graph, Initializer, Node, Value
from tests.codegen.graphs import B, Hand, Text

WORDS = ("x", "y", "z")
WIDTH = 3
TEXT = Text("block Inner block Pure model Random x += y return z " + "s;" * 400)


class Choices:
    """Numbers drawn one after the other; 0 when they run out."""

    def __init__(self, numbers: list[int]) -> None:
        self._numbers: Iterator[int] = iter(numbers)

    def below(self, bound: int) -> int:
        """A number from 0 to `bound`, that one excluded."""
        return next(self._numbers, 0) % bound


class Builder:
    """Writes statements on named values, all `[B, 3]`."""

    def __init__(self, hand: Hand, choices: Choices, blocks: list[Graph]) -> None:
        self.hand = hand
        self.choices = choices
        self.blocks = blocks
        self.names: dict[str, Value] = dict(zip(WORDS, hand.inputs, strict=False))
        self.captured: list[Value] = list(hand.inputs)
        self.spans = 0
        self.budget = 24
        self.round = 0

    def fresh_span(self) -> None:
        start = TEXT.source.text.index("s;") + 2 * self.spans
        self.spans += 1
        self.hand.builder.statement = Span(TEXT.source, start, start + 1)

    def operand(self) -> Value:
        pool = [*self.names.values()]
        pick = self.choices.below(len(pool) + 1)
        if pick < len(pool):
            return pool[pick]
        return self.captured[self.choices.below(len(self.captured))]

    def expression(self, name: str) -> Value:
        hand, kind = self.hand, self.choices.below(10)
        a = self.operand()
        if kind < 2:
            inner = hand.apply("neg", a) if kind else a
            return hand.apply("add", inner, hand.apply("relu", self.operand()), name=name)
        if kind == 2:
            return hand.apply("mul", a, self.operand(), name=name)
        if kind == 3:
            gain = hand.store(f"gain{self.spans}", WIDTH, init=Initializer("normal", (1.0,)))
            return hand.apply("mul", a, gain, name=name)
        if kind == 4 and self.blocks:
            return self.block(a, name)
        slot = f"part{self.spans}"
        if kind == 5:
            rate = (0.0, 0.1, 0.1 * self.round)[self.choices.below(3)]
            return hand.apply("dropout", a, p=rate, slot=slot, name=name)
        if kind == 6:
            return hand.apply("slice", a, axis=1, start=0, size=WIDTH, name=name)
        return hand.apply("linear", a, out=WIDTH, slot=slot, name=name)

    def block(self, a: Value, name: str) -> Value:
        graph = self.blocks[self.choices.below(len(self.blocks))]
        slot = f"block{self.spans}" if graph.stateful else None
        arguments = (a, *(self.operand() for _ in graph.inputs[1:]))
        results = self.hand.call(graph, *arguments, slot=slot, name=(name,) * len(graph.outputs))
        if len(graph.outputs) == 1:
            return results
        self.captured.append(results[1])
        return results[0]

    def statement(self, depth: int) -> None:
        self.budget -= 1
        kind = self.choices.below(8)
        if kind in (0, 7) and depth < 2 and self.budget > 0:
            self.loop(depth)
        elif kind == 1:
            self.captured.append(self.operand())
        elif kind == 2:
            # `y = x`, or `(x, y) = (y, x)`: names move, no node does.
            swap = self.choices.below(2)
            old = self.names["y"]
            self.names["y"] = self.names["x"]
            if swap:
                self.names["x"] = old
        else:
            self.fresh_span()
            word = WORDS[self.choices.below(len(WORDS))]
            if word in self.names or not depth:
                self.names[word] = self.expression(word)

    def loop(self, depth: int) -> None:
        """A loop whose iterations make the same choices, but for a rare extra statement."""
        count = 2 + self.choices.below(3)
        program = [self.choices.below(97) for _ in range(16)]
        length = 1 + self.choices.below(3)
        odd = self.choices.below(6)
        before = dict(self.names)
        chains = {word: [value] for word, value in before.items()}
        rounds: list[tuple[Node, ...]] = []
        first, outer, kept = self.spans, self.choices, len(self.captured)
        last = first
        for index in range(count):
            self.spans, self.choices, self.round = first, Choices(program), index
            self.budget = 6
            with self.hand.iteration(rounds):
                for _ in range(length + (index == odd)):
                    self.statement(depth + 1)
            last = max(last, self.spans)
            for word, chain in chains.items():
                chain.append(self.names[word])
            if outer.below(3):
                del self.captured[kept:]
        self.spans, self.choices = last, outer
        self.fresh_span()
        self.hand.repeat(rounds, **chains)

    def finish(self, name: str, results: int, kind: str) -> Graph:
        self.fresh_span()
        outputs = [self.operand() for _ in range(results)]
        return self.hand.done(*outputs, kind=kind)


def random_graph(numbers: list[int]) -> Graph:
    """The graph that the numbers stand for."""
    choices = Choices(numbers)
    blocks: list[Graph] = []
    for name in ("Inner", "Pure"):
        builder = Builder(Hand(TEXT, name, x=(B, WIDTH), y=(B, WIDTH)), choices, list(blocks))
        for _ in range(choices.below(4)):
            builder.statement(1)
        blocks.append(builder.finish(name, 1 + choices.below(2), "block"))
    builder = Builder(Hand(TEXT, "Random", x=(B, WIDTH), y=(B, WIDTH)), choices, blocks)
    for _ in range(2 + choices.below(6)):
        builder.statement(0)
    return builder.finish("Random", 2, "model")
