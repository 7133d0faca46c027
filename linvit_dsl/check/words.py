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
