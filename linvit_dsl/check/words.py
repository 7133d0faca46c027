"""Words that mean something in every file: operators, functions, reductions, initializers."""

from __future__ import annotations

from linvit_dsl.check.functions import FUNCTIONS, REDUCTIONS
from linvit_dsl.check.values import Function, OperatorValue, Result
from linvit_dsl.graph.ir import Initializer
from linvit_dsl.ops import OPS
from linvit_dsl.ops.initializers import INITIALIZERS

BUILTINS = frozenset((*OPS, *FUNCTIONS, *REDUCTIONS, *INITIALIZERS))
"""All of them. A block's own names hide them."""

QUANTITIES = ("params", "macs", "flops", "activation_bytes", "training_bytes")
"""Words that only `expect` and `claim` know: the costs of a model or block (`graph.cost.Cost`)."""


def builtin(name: str) -> Result | None:
    """What such a word means; None if it is not one."""
    if name in OPS:
        return OperatorValue(OPS[name])
    if name in FUNCTIONS or name in REDUCTIONS:
        return Function(name)
    if name in INITIALIZERS:
        return Initializer(name)
    return None


FOREIGN = {
    "flatten": 'rearrange["b c h w -> b (c h w)"]',
    **dict.fromkeys(("permute", "view", "reshape"), 'rearrange["b n (h c) -> b h n c", h = heads]'),
    "squeeze": 'rearrange["b 1 d -> b d"]',
    "unsqueeze": 'rearrange["b d -> b 1 d"]',
    **dict.fromkeys(("cat", "concatenate"), "concat[1](x, y)"),
    "chunk": "split",
    **dict.fromkeys(("dense", "fc", "Dense"), "linear[d]"),
    **dict.fromkeys(("conv", "Conv2D"), "conv2d"),
    **dict.fromkeys(("BatchNorm2d", "BatchNorm", "bn"), "batchnorm"),
    **dict.fromkeys(("norm", "ln"), "layernorm"),
    **dict.fromkeys(("AvgPool2d", "avg_pool2d", "avgpool"), 'reduce["b c h w -> b c", mean]'),
    **dict.fromkeys(("DropPath", "drop_path", "stochastic_depth"), "droppath[0.1]"),
    **dict.fromkeys(("scaled_dot_product_attention", "sdpa"), "attend(q, k, v)"),
    **dict.fromkeys(("mean", "sum", "amax"), 'reduce["b n d -> b d", mean]'),
    **dict.fromkeys(("T", "mT"), "transpose[-2, -1]"),
    "swish": "silu",
    **dict.fromkeys(("range", "arange"), "1..n"),
    **dict.fromkeys(("None", "null", "self"), ""),
}
"""What other languages call something, and how it is written here."""


def written_here(name: str) -> str | None:
    """What to write for a word of another language, as a sentence; None if it is not known."""
    if name not in FOREIGN:
        return None
    here = FOREIGN[name]
    return f"it is written `{here}` here" if here else f"there is no `{name}` here"
