"""How weights start: the words of kind `init`, and the code that applies them."""

from __future__ import annotations

from linvit_dsl.graph.ir import Initializer
from linvit_dsl.ops.code import Code, call
from linvit_dsl.ops.op import OpProblem

INITIALIZERS: dict[str, tuple[int, int]] = {
    "zeros": (0, 0),
    "constant": (1, 1),
    "normal": (1, 1),
    "trunc_normal": (1, 1),
    "xavier": (0, 0),
    "dirac": (0, 0),
}
"""Word -> (fewest, most) arguments. `linvit_runtime.init` has a function for each."""

_DEVIATIONS = ("normal", "trunc_normal")
_AXES = {"xavier": (2, None), "dirac": (2, 5)}
"""Fewest and most axes of the weight: both look at its inputs and outputs, and torch's `dirac_` at
up to three axes of a kernel."""


def check_initializer(initializer: Initializer | None, shape: tuple[int, ...]) -> None:
    """Demand that `initializer` can start a weight of `shape`.

    Raises:
        OpProblem: E0336: no argument where it needs one, a standard deviation that is not positive,
            or too few or too many axes.
    """
    if initializer is None:
        return
    name, arguments = initializer.name, initializer.arguments
    needed, _ = INITIALIZERS[name]
    if len(arguments) < needed:
        raise OpProblem("E0336", name=name, problem=f"needs a number: `{name}[0.02]`")
    if name in _DEVIATIONS and not arguments[0] > 0:
        problem = f"needs a standard deviation above 0, not {arguments[0]:g}"
        raise OpProblem("E0336", name=name, problem=problem)
    fewest, most = _AXES.get(name, (0, None))
    if len(shape) < fewest or (most is not None and len(shape) > most):
        axes = f"{fewest} to {most}" if most is not None else f"at least {fewest}"
        problem = f"needs a weight of {axes} axes, not {list(shape)}"
        raise OpProblem("E0336", name=name, problem=problem)


def initialized(module: Code, initializer: Initializer | None) -> Code:
    """`init.trunc_normal(nn.Linear(...), 0.02)`: starts the weight as told and the bias at 0."""
    if initializer is None:
        return module
    return call(f"init.{initializer.name}", module, *initializer.arguments)


def stored(shape: tuple[int, ...], initializer: Initializer) -> Code:
    """`init.normal(torch.empty(1, 1, 384), 1e-06)`: a declared tensor that starts as told."""
    sizes = shape or ((),)  # without sizes, `torch.empty` asks for one
    return call(f"init.{initializer.name}", call("torch.empty", *sizes), *initializer.arguments)
