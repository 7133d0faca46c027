"""Small graphs built by hand, for tests of what reads graphs. d, m: widths; n: tokens."""

from __future__ import annotations

from collections.abc import Callable

from linvit_dsl.check.builder import GraphBuilder
from linvit_dsl.errors import Source, Span
from linvit_dsl.graph.ir import Carried, Graph, Initializer, TensorType, Value
from linvit_dsl.graph.size import Poly
from linvit_dsl.ops import OPS

TEXT = "".join(f"line {number}\n" for number in range(1, 60))
SOURCE = Source("toy.vit", TEXT, "toy")
BATCH = Poly.symbol("B")


def at(line: int) -> Span:
    """A span on that line."""
    start = SOURCE.line_starts[line - 1]
    return Span(SOURCE, start, start + 4)


class Block:
    """A `GraphBuilder` with shorter words: every application names its line and its label."""

    def __init__(self, name: str, *shapes: tuple[int | Poly, ...], kind: str = "block") -> None:
        self.name, self.kind = name, kind
        self.builder = GraphBuilder(at(1))
        self.inputs = tuple(Value(TensorType.of(*s), at(1), f"x{i}") for i, s in enumerate(shapes))

    def op(
        self, word: str, *arguments: Value, label: str = "", line: int = 1, **statics: object
    ) -> Value:
        return self.ops(word, *arguments, label=label, line=line, **statics)[0]

    def ops(self, word: str, *arguments: Value, label: str = "", line: int = 1, **statics: object):
        op = OPS[word]
        span = at(line)
        slot = self.builder.slot(label, span, labelled=True) if label else None
        return self.builder.apply(op, op.Attributes(**statics), arguments, slot=slot, span=span)

    def call(self, graph: Graph, *arguments: Value, label: str = "", line: int = 1):
        slot = self.builder.slot(label, at(line), labelled=True) if label else None
        return self.builder.call(graph, arguments, slot=slot, span=at(line))

    def param(self, name: str, *shape: int, trained: bool = True, line: int = 1) -> Value:
        type_ = TensorType.of(*shape)
        start = Initializer("zeros")
        return self.builder.store(name, type_, start, trained=trained, span=at(line))

    def repeat(
        self, times: int, x: Value, body: Callable[[Block, Value, int], Value], line: int = 1
    ) -> Value:
        """`body(block, x, index)` for every iteration, carrying x."""
        values, iterations = [x], []
        for index in range(times):
            with self.builder.iteration() as nodes:
                values.append(body(self, values[-1], index))
            iterations.append(tuple(nodes))
        self.builder.repeat(iterations, (Carried("x", tuple(values)),), at(line))
        return values[-1]

    def finish(self, *outputs: Value, intrinsic: bool = False) -> Graph:
        return self.builder.finish(
            name=self.name,
            module="toy",
            kind=self.kind,
            intrinsic=intrinsic,
            statics={},
            inputs=self.inputs,
            outputs=outputs,
            span=at(1),
        )


def mlp(n: int, d: int, m: int) -> Graph:
    """linear d -> m, gelu, linear m -> d."""
    block = Block("Mlp", (BATCH, n, d))
    h = block.op("linear", block.inputs[0], out=m, label="fc1", line=11)
    h = block.op("gelu", h, line=12)
    return block.finish(block.op("linear", h, out=d, label="fc2", line=13))


def encoder(n: int, d: int, m: int) -> Graph:
    """x + Mlp(x), where Mlp stands for everything in a layer."""
    block = Block("Layer", (BATCH, n, d))
    (x,) = block.inputs
    (y,) = block.call(mlp(n, d, m), x, label="mlp", line=21)
    return block.finish(block.op("add", x, y, line=22))


def model(depth: int, n: int = 5, d: int = 8, m: int = 32, classes: int = 3) -> Graph:
    """A linear stem, `depth` layers in a loop, a linear head."""
    block = Block("Toy", (BATCH, n, 4), kind="model")
    x = block.op("linear", block.inputs[0], out=d, label="embed", line=31)
    layer = encoder(n, d, m)
    x = block.repeat(depth, x, lambda b, x, i: b.call(layer, x, label="layers", line=32)[0])
    return block.finish(block.op("linear", x, out=classes, label="head", line=33))
