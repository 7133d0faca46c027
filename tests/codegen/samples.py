"""Graphs that between them reach every form of generated code."""

from __future__ import annotations

from linvit_dsl.graph.ir import Graph, Initializer
from tests.codegen.graphs import B, Hand, Text

ZEROS = Initializer("zeros")
NORMAL = Initializer("normal", (0.02,))

TRANSFORMER = Text(
    """
block Heads[heads: dim](x: [B, n, d]) -> [B, heads, n, c] {
  return x |> rearrange["b n (h c) -> b h n c", h = heads]
}
block Mlp[drop: prob = 0](x: [B, n, d]) -> [B, n, d] {
  return x |> linear[64]@fc1 |> gelu |> dropout[drop] |> linear[32]@fc2 |> dropout[drop]
}
block Layer[drop_path: prob](x: [B, n, d]) -> [B, n, d] {
  y = x |> layernorm@norm1
  x += attend(y |> linear[32]@q |> Heads[4], y |> linear[32]@k |> Heads[4], Heads[4](y)) |> MergeHeads |> droppath[drop_path]
  x += x |> layernorm@norm2 |> Mlp@mlp |> droppath[drop_path]
  return x
}
model Tiny(img: [B, 16, 32]) -> [B, 10] {
  param cls_token: [1, 1, 32] ~ normal[0.02]
  x = concat[1](expand["1 1 d -> b 1 d", b = B](cls_token), img)
  repeat depth as i { x = x |> Layer[rate]@layers }
  y = x |> layernorm@norm   # before reading out
  return y |> reduce["b n d -> b d", mean] |> linear[10]@head
}
"""
)


def heads(n: int) -> Graph:
    """[B, n, 32] -> [B, 4, n, 8]."""
    hand = Hand(TRANSFORMER, "Heads", x=(B, n, 32))
    hand.at('return x |> rearrange["b n (h c) -> b h n c", h = heads]')
    (x,) = hand.inputs
    pattern = "b n (h c) -> b h n c"
    return hand.done(hand.apply("rearrange", x, pattern=pattern, axes=(("h", 4),)))


def mlp(n: int, drop: float) -> Graph:
    """Two linear maps."""
    hand = Hand(TRANSFORMER, "Mlp", x=(B, n, 32))
    hand.at(
        "return x |> linear[64]@fc1 |> gelu |> dropout[drop] |> linear[32]@fc2 |> dropout[drop]"
    )
    (x,) = hand.inputs
    h = hand.apply("gelu", hand.apply("linear", x, out=64, slot="fc1"))
    h = hand.apply("dropout", h, p=drop, slot="dropout")
    h = hand.apply("linear", h, out=32, slot="fc2")
    h = hand.apply("dropout", h, p=drop, slot="dropout2")
    return hand.done(h, statics={"drop": drop})


def layer(n: int, drop_path: float, drop: float = 0.0) -> Graph:
    """One pre-norm layer, its drop rate a hyperparameter."""
    hand = Hand(TRANSFORMER, "Layer", x=(B, n, 32))
    (x,) = hand.inputs
    hand.at("y = x |> layernorm@norm1")
    y = hand.apply("layernorm", x, slot="norm1", name="y")
    hand.at(
        "x += attend(y |> linear[32]@q |> Heads[4], y |> linear[32]@k |> Heads[4], Heads[4](y)) |> MergeHeads |> droppath[drop_path]"
    )
    split = heads(n)
    q = hand.call(split, hand.apply("linear", y, out=32, slot="q"))
    k = hand.call(split, hand.apply("linear", y, out=32, slot="k"))
    a = hand.apply("attend", q, k, hand.call(split, y))
    a = hand.apply("rearrange", a, pattern="b h n c -> b n (h c)")
    a = hand.apply("droppath", a, p=drop_path, slot="droppath")
    x = hand.apply("add", x, a, name="x")
    hand.at("x += x |> layernorm@norm2 |> Mlp@mlp |> droppath[drop_path]")
    h = hand.call(mlp(n, drop), hand.apply("layernorm", x, slot="norm2"), slot="mlp")
    x = hand.apply("add", x, hand.apply("droppath", h, p=drop_path, slot="droppath2"), name="x")
    return hand.done(x, statics={"drop_path": drop_path})


def transformer(rates: tuple[float, ...] = (0.0, 0.05, 0.1), drop: float = 0.0) -> Graph:
    """A whole small model: class token, loop, hyperparameters that differ."""
    hand = Hand(TRANSFORMER, "Tiny", img=(B, 16, 32))
    (img,) = hand.inputs
    hand.at("param cls_token: [1, 1, 32] ~ normal[0.02]")
    token = hand.store("cls_token", 1, 1, 32, init=NORMAL)
    hand.at('x = concat[1](expand["1 1 d -> b 1 d", b = B](cls_token), img)')
    wide = hand.apply("expand", token, pattern="1 1 d -> b 1 d", axes=(("b", B),))
    x = hand.apply("concat", wide, img, axis=1, name="x")
    hand.at("repeat depth as i { x = x |> Layer[rate]@layers }")
    loop = hand.builder.statement
    chain, rounds = [x], []
    for rate in rates:
        with hand.iteration(rounds):
            hand.at("x = x |> Layer[rate]@layers")
            x = hand.call(layer(17, rate, drop), x, slot="layers", name="x")
            chain.append(x)
    hand.builder.statement = loop
    hand.repeat(rounds, x=chain)
    hand.at("y = x |> layernorm@norm")
    y = hand.apply("layernorm", x, slot="norm", name="y")
    hand.at('return y |> reduce["b n d -> b d", mean] |> linear[10]@head')
    z = hand.apply("reduce", y, pattern="b n d -> b d", how="mean")
    return hand.done(hand.apply("linear", z, out=10, slot="head"), kind="model", doc="A test.")
