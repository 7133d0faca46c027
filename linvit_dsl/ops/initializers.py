"""How weights start: the words of kind `init`, and the code that applies them."""

from __future__ import annotations

from linvit_dsl.graph.ir import Initializer
from linvit_dsl.ops.code import Code, call

INITIALIZERS: dict[str, tuple[int, int]] = {
    "zeros": (0, 0),
    "constant": (1, 1),
    "normal": (1, 1),
    "trunc_normal": (1, 1),
    "xavier": (0, 0),
    "dirac": (0, 0),
}
"""Word -> (fewest, most) arguments. `linvit_runtime.init` has a function for each."""


def initialized(module: Code, initializer: Initializer | None) -> Code:
    """`init.trunc_normal(nn.Linear(...), 0.02)`: starts the weight as told and the bias at 0."""
    if initializer is None:
        return module
    return call(f"init.{initializer.name}", module, *initializer.arguments)


def stored(shape: tuple[int, ...], initializer: Initializer) -> Code:
    """`init.normal(torch.empty(1, 1, 384), 1e-06)`: a declared tensor that starts as told."""
    return call(f"init.{initializer.name}", call("torch.empty", *shape), *initializer.arguments)
