"""Graphs that between them reach every form of generated code."""

from __future__ import annotations

from linvit_dsl.graph.ir import Graph, Initializer, Value
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
  x += attend(y |> linear[32]@q |> Heads[4], y |> linear[32]@k |> Heads[4], Heads[4](y))
    |> MergeHeads |> droppath[drop_path]
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
        "x += attend(y |> linear[32]@q |> Heads[4], y |> linear[32]@k |> Heads[4], Heads[4](y))\n"
        "    |> MergeHeads |> droppath[drop_path]"
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


def transformer_of_two_kinds() -> Graph:
    """Layers built in two places with different rates: a rate becomes an argument of its caller."""
    text = Text(
        TRANSFORMER.source.text
        + """
block Stage[drop_paths: list[prob]](x: [B, n, d]) -> [B, n, d] {
  for rate in drop_paths { x = x |> Layer[rate]@deep }
  return x
}
model Staged(x: [B, 17, 32]) -> [B, 17, 32] {
  x = x |> Stage[[0.1, 0.2]]@early
  x = x |> Stage[[0.3, 0.4]]@late
  return x |> Mlp[0.5]@mlp
}
"""
    )

    def stage(rates: tuple[float, ...]) -> Graph:
        hand = Hand(text, "Stage", x=(B, 17, 32))
        (x,) = hand.inputs
        hand.at("for rate in drop_paths { x = x |> Layer[rate]@deep }")
        loop = hand.builder.statement
        chain, rounds = [x], []
        for rate in rates:
            with hand.iteration(rounds):
                hand.at("x = x |> Layer[rate]@deep")
                x = hand.call(layer(17, rate, rates[0]), x, slot="deep", name="x")
                chain.append(x)
        hand.builder.statement = loop
        hand.repeat(rounds, x=chain)
        return hand.done(x, statics={"drop_paths": rates})

    hand = Hand(text, "Staged", x=(B, 17, 32))
    (x,) = hand.inputs
    hand.at("x = x |> Stage[[0.1, 0.2]]@early")
    x = hand.call(stage((0.1, 0.2)), x, slot="early", name="x")
    hand.at("x = x |> Stage[[0.3, 0.4]]@late")
    x = hand.call(stage((0.3, 0.4)), x, slot="late", name="x")
    hand.at("return x |> Mlp[0.5]@mlp")
    return hand.done(hand.call(mlp(17, 0.5), x, slot="mlp"), kind="model")


def kept_versions() -> Graph:
    """Values captured in a loop outlive it: the loop is written out, and names get numbers."""
    text = Text(
        """
model Kept(x: [B, 4]) -> [B, 4] {
  p = x
  repeat 3 {
    seen += [p]
    p = p |> linear[4]@pool |> relu
  }
  for s in reverse(seen) { p = p + s |> linear[4]@expand }
  return p
}
"""
    )
    hand = Hand(text, "Kept", x=(B, 4))
    (p,) = hand.inputs
    seen = []
    chain, rounds = [p], []
    hand.at("repeat 3 {\n    seen += [p]\n    p = p |> linear[4]@pool |> relu\n  }")
    loop = hand.builder.statement
    for _ in range(3):
        with hand.iteration(rounds):
            seen.append(p)
            hand.at("p = p |> linear[4]@pool |> relu")
            p = hand.apply("relu", hand.apply("linear", p, out=4, slot="pool"), name="p")
            chain.append(p)
    hand.builder.statement = loop
    hand.repeat(rounds, p=chain)
    hand.at("for s in reverse(seen) { p = p + s |> linear[4]@expand }")
    loop = hand.builder.statement
    chain, rounds = [p], []
    for s in reversed(seen):
        with hand.iteration(rounds):
            hand.at("p = p + s |> linear[4]@expand")
            p = hand.apply("linear", hand.apply("add", p, s), out=4, slot="expand", name="p")
            chain.append(p)
    hand.builder.statement = loop
    hand.repeat(rounds, p=chain)
    return hand.done(p, kind="model")


def bank(depth: int = 4) -> Graph:
    """Two carried values, a shared layer, a last round that skips a step, an unused result."""
    text = Text(
        """
block Both(x: [B, n, d], mem: [B, m, d]) -> ([B, n, d], [B, n, d]) {
  fused = x |> linear[8]@fuse
  return x + reduce["b m d -> b 1 d", mean](mem), fused
}
model Bank(x: [B, 5, 8], mem: [B, 5, 8]) -> [B, 5, 8] {
  layer write = linear[8]
  repeat depth as i {
    (x, fused) = Both(x, mem)@blocks
    if i < depth { mem = mem + write(fused) }
  }
  return x
}
"""
    )
    both = Hand(text, "Both", x=(B, 5, 8), mem=(B, 5, 8))
    x, mem = both.inputs
    both.at("fused = x |> linear[8]@fuse")
    fused = both.apply("linear", x, out=8, slot="fuse", name="fused")
    both.at('return x + reduce["b m d -> b 1 d", mean](mem), fused')
    mean = both.apply("reduce", mem, pattern="b m d -> b 1 d", how="mean")
    graph = both.done(both.apply("add", x, mean), fused)

    hand = Hand(text, "Bank", x=(B, 5, 8), mem=(B, 5, 8))
    x, mem = hand.inputs
    hand.at("layer write = linear[8]")
    write = hand.builder.slot("write", hand.builder.statement, labelled=True)
    xs, mems, rounds = [x], [mem], []
    for index in range(depth):
        with hand.iteration(rounds):
            hand.at("(x, fused) = Both(x, mem)@blocks")
            x, fused = hand.call(graph, x, mem, slot="blocks", name=("x", "fused"))
            if index < depth - 1:
                hand.at("mem = mem + write(fused)")
                written = hand.apply("linear", fused, out=8, slot=write)
                mem = hand.apply("add", mem, written, name="mem")
            xs.append(x)
            mems.append(mem)
    hand.builder.statement = text.span("repeat depth as i {")
    hand.repeat(rounds, x=xs, mem=mems)
    return hand.done(x, kind="model")


def swapped() -> Graph:
    """Carried values change places, weights are declared in the loop, one value is copied in."""
    text = Text(
        """
model Swap(x: [B, 4]) -> [B, 4] {
  a = x
  b = relu(x)
  repeat 3 {
    param gain: [4] ~ normal[0.02]
    param shift: [4] ~ normal[0.02]
    (a, b) = (b, a * gain + shift)
  }
  buffer scale: [4] ~ normal[0.02]
  return (a - b) * scale + x
}
"""
    )
    hand = Hand(text, "Swap", x=(B, 4))
    (x,) = hand.inputs
    a = x
    hand.at("b = relu(x)")
    b = hand.apply("relu", x, name="b")
    everything, rounds = {"a": [a], "b": [b]}, []
    for _ in range(3):
        with hand.iteration(rounds):
            hand.at("param gain: [4] ~ normal[0.02]")
            gain = hand.store("gain", 4, init=NORMAL)
            hand.at("param shift: [4] ~ normal[0.02]")
            shift = hand.store("shift", 4, init=NORMAL)
            hand.at("(a, b) = (b, a * gain + shift)")
            new = hand.apply("add", hand.apply("mul", a, gain), shift, name="b")
            a, b = b, new
            everything["a"].append(a)
            everything["b"].append(b)
    hand.at("repeat 3 {")
    hand.repeat(rounds, **everything)
    hand.at("buffer scale: [4] ~ normal[0.02]")
    scale = hand.store("scale", 4, init=NORMAL, trained=False)
    hand.at("return (a - b) * scale + x")
    y = hand.apply("mul", hand.apply("sub", a, b), scale)
    return hand.done(hand.apply("add", y, x), kind="model")


def branches() -> Graph:
    """A list of branches: indexed slots outside a loop, values that the text never names."""
    text = Text(
        """
model Branches(x: [B, 4]) -> [B, 12] {
  ys = [x |> linear[4]@branch |> gelu for i in 1..3]
  ys = [y * y for y in ys]
  return concat[1](*ys)
}
"""
    )
    hand = Hand(text, "Branches", x=(B, 4))
    (x,) = hand.inputs
    hand.at("ys = [x |> linear[4]@branch |> gelu for i in 1..3]")
    with hand.builder.unrolled():
        ys = [hand.apply("gelu", hand.apply("linear", x, out=4, slot="branch")) for _ in range(3)]
    hand.at("ys = [y * y for y in ys]")
    ys = [hand.apply("mul", y, y) for y in ys]
    hand.at("return concat[1](*ys)")
    return hand.done(hand.apply("concat", *ys, axis=1), kind="model")


def named(
    values: tuple[str, ...] = ("map", "φ", "phi", "d'", "d_p", "torch", "layer", "_x"),
    slots: tuple[str, ...] = ("train", "forward", "w'", "ψ", "layers", "_buffers", "map"),
    block: str = "Names",
    doc: str = "",
) -> Graph:
    """A chain of linear maps with awkward names, all alive until the end."""
    statements = [
        f"  {name} = x |> linear[4]@{slots[k % len(slots)]}" for k, name in enumerate(values)
    ]
    text = Text("\n".join([f"model {block}(x: [B, 4]) {{", *statements, "  return sum", "}", ""]))
    hand = Hand(text, block, x=(B, 4))
    (x,) = hand.inputs
    found: list[Value] = []
    for k, name in enumerate(values):
        hand.at(statements[k].strip())
        slot = slots[k] if k < len(slots) else None
        if slot is None:
            found.append(hand.apply("relu", x, name=name))
        else:
            found.append(hand.apply("linear", x, out=4, slot=slot, name=name))
    hand.at("return sum")
    total = found[0]
    for value in found[1:]:
        total = hand.apply("add", total, value)
    return hand.done(total, kind="model", doc=doc)


SAMPLES = {
    "transformer": transformer,
    "transformer_dropped": lambda: transformer((0.1, 0.1, 0.1), 0.2),
    "two_kinds": transformer_of_two_kinds,
    "kept_versions": kept_versions,
    "bank": bank,
    "swapped": swapped,
    "branches": branches,
    "named": named,
}
"""By name of the golden file."""
