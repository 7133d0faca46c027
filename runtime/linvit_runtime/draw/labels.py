"""What stands in a box: titles and details of operators, shapes, and short numbers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from linvit_dsl.graph.ir import Apply, Call, Graph, TensorType
from linvit_dsl.ops.adaptive_pool import AdaptivePool
from linvit_dsl.ops.attend import Attend
from linvit_dsl.ops.conv2d import Conv2d
from linvit_dsl.ops.linear import Linear
from linvit_dsl.ops.op import Family
from linvit_dsl.ops.pow import Pow
from linvit_dsl.ops.reduce import Reduce
from linvit_dsl.ops.select import Select

TITLES = {
    "attend": "Softmax attention",
    "batchnorm": "BatchNorm",
    "conv2d": "Conv",
    "einsum": "Weighted sum",
    "elu": "ELU",
    "exp": "exp",
    "gelu": "GELU",
    "layernorm": "LayerNorm",
    "linear": "Linear",
    "matmul": "MatMul",
    "relu": "ReLU",
    "rmsnorm": "RMSNorm",
    "silu": "SiLU",
}
"""By operator; others show their own word with a capital."""

SIGNS = {"add": "+", "sub": "−", "mul": "×", "div": "÷"}

SYMMETRIC = frozenset({"add", "concat", "mul", "stack"})
"""Operators of which a picture does not tell the operands apart."""

ACTIVATIONS = frozenset({"elu", "exp", "gelu", "hardswish", "relu", "sigmoid", "silu", "tanh"})
"""Named in the box of the operator before them, where they are its only reader."""

QUIET = frozenset(
    {"detach", "dropout", "droppath", "expand", "rearrange", "slice", "split", "transpose"}
)
"""Not drawn: they move numbers, or act in training only."""

FAMILIES: tuple[Family, ...] = (
    "softmax_attention",
    "linear_attention",
    "convolution",
    "linear",
    "memory",
    "norm",
    "glue",
)
"""A closed block has the first of these families that occurs in it."""


LINEAR_ATTENTION = "std.linear_attention"


def is_quiet(node: Apply | Call) -> bool:
    """Whether a picture leaves it out: it computes nothing that a reader looks for."""
    if isinstance(node, Call):
        return all(
            isinstance(inner, Apply | Call) and is_quiet(inner) for inner in node.graph.walk()
        )
    if node.op.name in QUIET or node.op.identity(node.attributes, node.argument_types):
        return True
    # Joining a tensor with nothing is what mixers do where there is no class token.
    joined = [x for x in node.argument_types if 0 not in x.sizes]
    return node.op.name == "concat" and len(joined) == 1


def family_of(graph: Graph) -> Family:
    """What a closed block is to a reader: its most telling part."""
    found = _families(graph)
    return next(family for family in FAMILIES if family in found)


def _families(graph: Graph) -> set[Family]:
    # Linear attention is made of ordinary products: it is known by the library that it comes from.
    found: set[Family] = {"linear_attention"} if graph.module == LINEAR_ATTENTION else {"glue"}
    for node in graph.walk():
        if isinstance(node, Apply):
            found.add(node.op.family)
        elif isinstance(node, Call):
            found |= _families(node.graph)
    return found


def title_of(node: Apply) -> str:
    """`Conv 4×4`, `LayerNorm`, `Mean`."""
    match node.attributes:
        case Conv2d.Attributes(kernel=kernel):
            return f"{'DWConv' if _is_depthwise(node) else 'Conv'} {_pair(kernel)}"
        case Reduce.Attributes(how=how):
            return how.capitalize()
        case AdaptivePool.Attributes(size=size):
            return f"Pool to {_pair(size)}"
        case Pow.Attributes(exponent=exponent):
            return f"Power {exponent:g}"
        case _:
            return TITLES.get(node.op.name, node.op.name.capitalize())


def details_of(node: Apply) -> tuple[str, ...]:
    """What tells this application from others of the operator: `384 → 1536`."""
    sizes = [size for x in node.argument_types[:1] for size in x.sizes]
    match node.attributes:
        case Linear.Attributes(out=out):
            return (f"{sizes[-1]} → {out}",)
        case Conv2d.Attributes(out=out, stride=stride):
            width = f"{out} channels" if _is_depthwise(node) else f"{sizes[1]} → {out}"
            across = stride[0] if stride[0] == stride[1] else _pair(stride)
            return (width,) if across == 1 else (f"{width} · stride {across}",)
        case Select.Attributes(axis=1, index=index):
            return (f"token {index}",)
        case Attend.Attributes() if len(sizes) == 4:
            return (f"{sizes[1]} {'head' if sizes[1] == 1 else 'heads'} × {sizes[-1]}",)
        case _:
            return ()


def _is_depthwise(node: Apply) -> bool:
    match node.attributes:
        case Conv2d.Attributes(groups=groups):
            return groups > 1 and groups == node.argument_types[0].sizes[1]
        case _:
            return False


def _pair(pair: tuple[int, int]) -> str:
    return f"{pair[0]}×{pair[1]}"


def shapes_text(types: Sequence[TensorType]) -> str:
    """`B×65×384`, `3 of B×6×65×64`, `B×1×390×64, 2 of B×1×65×64`."""
    counts = Counter("×".join(map(str, type_.sizes)) for type_ in types)
    return ", ".join(f"{n} of {text}" if n > 1 else text for text, n in counts.items())


def short(number: int) -> str:
    """Three digits and a unit: `591k`, `1.42G`."""
    for unit, factor in (("G", 10**9), ("M", 10**6), ("k", 10**3)):
        # Rounding may carry into the next unit: 999,950 is 1M, not 1e+03k.
        if number >= factor * 0.9995:
            return f"{number / factor:.3g}{unit}"
    return str(number)


def cost_text(params: int, macs: int) -> str:
    """`591k params · 38.5M MACs`; empty for what has neither."""
    parts = []
    if params:
        parts.append(f"{short(params)} params")
    if macs:
        parts.append(f"{short(macs)} MACs")
    return " · ".join(parts)
