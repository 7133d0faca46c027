"""How weights start: one function for each initializer of the language.

Each takes a tensor, or a module that has a `weight` and perhaps a `bias`, fills it in place and
returns it, so that a constructor can be wrapped: `init.trunc_normal(nn.Linear(384, 1536), 0.02)`.
A module's weight starts as told and its bias at 0. The numbers come from torch's global generator.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import torch
from torch import Tensor, nn

Target = TypeVar("Target", Tensor, nn.Module)


def zeros(target: Target) -> Target:
    """Fill with 0."""
    return constant(target, 0.0)


def constant(target: Target, value: float) -> Target:
    """Fill with `value`."""
    return _fill(target, lambda weight: nn.init.constant_(weight, value))


def normal(target: Target, std: float) -> Target:
    """Draw from N(0, std^2)."""
    return _fill(target, lambda weight: nn.init.normal_(weight, std=std))


def trunc_normal(target: Target, std: float) -> Target:
    """Draw from N(0, std^2), cut off at -2 and 2 (not at two deviations), as torch and timm do."""
    return _fill(target, lambda weight: nn.init.trunc_normal_(weight, std=std))


def xavier(target: Target) -> Target:
    """Draw uniformly within sqrt(6 / (fan_in + fan_out)) (Glorot and Bengio 2010)."""
    return _fill(target, nn.init.xavier_uniform_)


def dirac(target: Target) -> Target:
    """Start as the identity: a convolution copies its channels, group by group; a matrix is I."""
    groups = target.groups if isinstance(target, nn.Conv2d) else 1

    def fill(weight: Tensor) -> Tensor:
        return nn.init.eye_(weight) if weight.ndim == 2 else nn.init.dirac_(weight, groups)

    return _fill(target, fill)


def _fill(target: Target, fill: Callable[[Tensor], Tensor]) -> Target:
    """Apply `fill` to a tensor or to a module's weight, and start the module's bias at 0."""
    if isinstance(target, Tensor):
        with torch.no_grad():
            fill(target)
        return target
    weight, bias = target.weight, getattr(target, "bias", None)
    assert isinstance(weight, Tensor), "a module with weights"
    fill(weight)
    if isinstance(bias, Tensor):
        nn.init.zeros_(bias)
    return target
