"""How weights start: the words of kind `init`, and the code that applies them."""

from __future__ import annotations

from linvit_dsl.graph.ir import Initializer
from linvit_dsl.ops.code import Code, call
from linvit_dsl.ops.op import OpProblem

INITIALIZERS: dict[str, tuple[str, ...]] = {
    "zeros": (),
    "constant": ("value",),
    "normal": ("std",),
    "trunc_normal": ("std",),
    "xavier": (),
    "dirac": (),
    "segment_means": (),
    "orthogonal_features": ("redraw",),
}
"""Word -> its arguments. `linvit_runtime.init` has a function for each."""

_OPTIONAL = ("redraw",)
_DEVIATIONS = ("normal", "trunc_normal")
_AXES = {
    "xavier": (2, None),
    "dirac": (2, 5),
    "segment_means": (2, 2),
    "orthogonal_features": (2, 2),
}
"""Fewest and most axes of the weight: all look at its inputs and outputs, and torch's `dirac_` at
up to three axes of a kernel."""


def needed(name: str) -> int:
    """How many arguments an initialiser must be given."""
    return sum(argument not in _OPTIONAL for argument in INITIALIZERS[name])


def redraw_period(initializer: Initializer | None) -> int:
    """After how many training steps a tensor is drawn anew; 0: never."""
    if initializer is None or "redraw" not in INITIALIZERS[initializer.name]:
        return 0
    return int(initializer.arguments[0]) if initializer.arguments else 0


def check_initializer(
    initializer: Initializer | None, shape: tuple[int, ...], *, trained: bool = True
) -> None:
    """Demand that `initializer` can start a weight of `shape`, or a buffer if not `trained`.

    Raises:
        OpProblem: E0336: no argument where it needs one, a standard deviation that is not positive,
            too few or too many axes, more segments than tokens, or a redraw that is no number of
            steps or would throw away what was learned.
    """
    if initializer is None:
        return
    name, arguments = initializer.name, initializer.arguments
    if len(arguments) < needed(name):
        raise OpProblem("E0336", name=name, problem=f"needs a number: `{name}[0.02]`")
    if name in _DEVIATIONS and not arguments[0] > 0:
        problem = f"needs a standard deviation above 0, not {arguments[0]:g}"
        raise OpProblem("E0336", name=name, problem=problem)
    fewest, most = _AXES.get(name, (0, None))
    if len(shape) < fewest or (most is not None and len(shape) > most):
        axes = f"{fewest} to {most}" if most is not None else f"at least {fewest}"
        problem = f"needs a weight of {axes} axes, not {list(shape)}"
        raise OpProblem("E0336", name=name, problem=problem)
    if name == "segment_means" and shape[0] > shape[1]:
        problem = f"cannot make {shape[0]} segments of {shape[1]} tokens"
        raise OpProblem("E0336", name=name, problem=problem)
    if "redraw" in INITIALIZERS[name]:
        _check_redraw(name, arguments, trained=trained)


def _check_redraw(name: str, arguments: tuple[float, ...], *, trained: bool) -> None:
    period = arguments[0] if arguments else 0
    if period < 0 or period != int(period):
        problem = f"is drawn anew after a number of steps, 0 for never, not {period:g}"
        raise OpProblem("E0336", name=name, problem=problem)
    if trained and period:
        problem = "would draw a trained tensor anew and lose what it learned: make it a `buffer`"
        raise OpProblem("E0336", name=name, problem=problem)


def initialized(module: Code, initializer: Initializer | None) -> Code:
    """`init.trunc_normal(nn.Linear(...), 0.02)`: starts the weight as told and the bias at 0."""
    if initializer is None:
        return module
    return call(f"init.{initializer.name}", module, *_drawn_with(initializer))


def stored(shape: tuple[int, ...], initializer: Initializer) -> Code:
    """`init.normal(torch.empty(1, 1, 384), 1e-06)`: a declared tensor that starts as told."""
    sizes = shape or ((),)  # without sizes, `torch.empty` asks for one
    return call(f"init.{initializer.name}", call("torch.empty", *sizes), *_drawn_with(initializer))


def _drawn_with(initializer: Initializer) -> tuple[float, ...]:
    """The arguments of the draw itself: not when it is repeated."""
    names = INITIALIZERS[initializer.name]
    given = zip(names, initializer.arguments, strict=False)
    return tuple(value for name, value in given if name != "redraw")
