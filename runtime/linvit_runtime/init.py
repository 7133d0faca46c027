"""How weights start: one function for each initializer of the language.

Each takes a tensor, or a module that has a `weight` and perhaps a `bias`, fills it in place and
returns it, so that a constructor can be wrapped: `init.trunc_normal(nn.Linear(384, 1536), 0.02)`.
A module's weight starts as told and its bias at 0. The numbers come from torch's global generator.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import torch
from torch import Generator, Tensor, nn

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


def segment_means(target: Target) -> Target:
    """Make every row of a `[k, n]` weight the mean of its segment of n tokens.

    Segments are as equal as can be, the shorter ones first, as the landmarks of Nystromformer are.
    A weight of more axes is seen as `[k, n]` with all but the first joined.
    """

    def fill(weight: Tensor) -> Tensor:
        rows = weight.zero_().view(len(weight), -1)
        count, tokens = rows.shape
        size, longer = divmod(tokens, count)
        sizes = [size] * (count - longer) + [size + 1] * longer
        start = 0
        for row, length in zip(rows, sizes, strict=True):
            row[start : start + length] = 1 / max(length, 1)
            start += length
        return weight

    return _fill(target, fill)


def orthogonal_features(target: Target) -> Target:
    """Draw random directions, as `orthogonal_rows`; all axes of a weight but the first are joined.

    The period of their redraws is no matter of the first draw: see `layers.redraw_every`.
    """

    def fill(weight: Tensor) -> Tensor:
        rows = weight.view(len(weight), -1)
        return rows.copy_(orthogonal_rows(len(rows), rows.shape[1]))

    return _fill(target, fill)


def orthogonal_rows(count: int, width: int, generator: Generator | None = None) -> Tensor:
    """Draw vectors that are each distributed as N(0, I) and orthogonal within blocks.

    Every `width` of them in turn are the rows of a random orthogonal matrix, each times the length
    of a Gaussian vector of its own (Choromanski et al., ICLR 2021, section 2.4). They spread more
    evenly than independent draws, so that what is estimated with them varies less.

    Args:
        count: Number of rows.
        width: Their length; the rows beyond the last multiple of it are a part of one more block.
        generator: Of the CPU; None: torch's global one.

    Returns:
        `[count, width]` float64 on the CPU, so that any device gets the same numbers.
    """
    size = (-(-count // width), width, width)
    q, r = torch.linalg.qr(torch.randn(size, dtype=torch.float64, generator=generator))
    # QR fixes signs by convention; undone, q is uniform over all rotations and reflections.
    directions = (q * r.diagonal(dim1=1, dim2=2).sign().unsqueeze(1)).mT.reshape(-1, width)
    lengths = torch.randn(count, width, dtype=torch.float64, generator=generator).norm(dim=1)
    return directions[:count] * lengths.unsqueeze(1)


def _fill(target: Target, fill: Callable[[Tensor], Tensor]) -> Target:
    """Apply `fill` to a tensor or to a module's weight, and start the module's bias at 0."""
    if isinstance(target, Tensor):
        with torch.no_grad():
            fill(target)
        return target
    weight, bias = target.weight, getattr(target, "bias", None)
    assert isinstance(weight, Tensor), "a module with weights"
    with torch.no_grad():
        fill(weight)
    if isinstance(bias, Tensor):
        nn.init.zeros_(bias)
    return target
