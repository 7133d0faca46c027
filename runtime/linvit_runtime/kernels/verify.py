"""Every kernel against the definition in float64, on the device that it is for.

The expected results come from the weights of all pairs of tokens, differentiated by autograd: a
formula that no kernel uses.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from linvit_runtime.kernels import dispatch
from linvit_runtime.kernels.attention import linear_attention
from linvit_runtime.kernels.feature_maps import FEATURE_MAPS
from linvit_runtime.kernels.quadratic import attention_by_weights

TOLERANCES = {"float32": 1e-5, "bfloat16": 2e-2, "float16": 4e-3}
"""Dtype -> the largest relative error, in the Euclidean norm, of the output and each gradient."""

REFERENCE_TOLERANCE = 1e-11
"""The same for float64."""

# Batch, queries, keys, heads, D, E: an image of 14 x 14 patches, one query, lengths that fill no
# tile, the widths of small and wide heads, and few heads of many tokens, which are split.
SHAPES = (
    (2, 197, 197, 3, 64, 64),
    (1, 1, 3, 1, 64, 64),
    (2, 50, 33, 2, 32, 32),
    (1, 65, 130, 2, 16, 48),
    (1, 100, 100, 2, 128, 128),
    (1, 31, 17, 1, 12, 20),
    (1, 2048, 2048, 2, 64, 64),
)

HALF_SHAPES = ((1, 70, 33, 1, 16, 16), (1, 40, 65, 1, 48, 48), (1, 65, 40, 1, 96, 96))
"""Shapes for half precision alone: the other widths that tensor cores take."""

MORE_SHAPES = {"identity": ((1, 65, 65, 2, 266, 64),)}
"""Feature map -> shapes for it alone: FAVOR+ usually makes 266 features of heads 64 wide."""

EPS = 1e-3
"""Large enough to show in every dtype when a kernel forgets it."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """How one feature map, dtype and shape fared.

    Attributes:
        feature_map: The name of the feature map.
        dtype: The name of the dtype.
        shape: B, N, L, H, D and E.
        forward: The backend that ran the forward pass.
        backward: The backend that ran the backward pass.
        errors: Relative errors of the output and of the gradients of q, k and v.
        passed: Whether none is above the tolerance, or not a number.
    """

    feature_map: str
    dtype: str
    shape: tuple[int, ...]
    forward: str
    backward: str
    errors: tuple[float, ...]
    passed: bool


def verify(device: str) -> Iterator[Verdict]:
    """Run every feature map, dtype and shape on `device`, forward and backward."""
    for dtype in TOLERANCES:
        for feature_map in FEATURE_MAPS:
            half = HALF_SHAPES if dtype in ("bfloat16", "float16") else ()
            for shape in (*SHAPES, *half, *MORE_SHAPES.get(feature_map, ())):
                yield judge(feature_map, dtype, shape, device)


def judge(feature_map: str, dtype: str, shape: tuple[int, ...], device: str) -> Verdict:
    """Run one case, forward and backward, and compare it with the definition in float64.

    Raises:
        Exception: The implementation fails, in whatever way it does.
    """
    kind = getattr(torch, dtype)
    *inputs, grad_out = _random(shape, kind)
    if feature_map == "identity":  # whose features are the caller's, and not negative
        inputs = [inputs[0].abs(), inputs[1].abs(), inputs[2]]
    wide = q, k, v = [x.double().requires_grad_() for x in inputs]
    expected = _results(attention_by_weights(q, k, v, feature_map, EPS), wide, grad_out.double())
    placed = q, k, v = [x.to(device).requires_grad_() for x in inputs]
    with dispatch.recording() as used:
        out = linear_attention(q, k, v, feature_map, EPS)
        found = _results(out, placed, grad_out.to(device))
        forward, backward = ("+".join(used[name]) for name in ("forward", "backward"))
    errors = tuple(_relative_error(*pair) for pair in zip(found, expected, strict=True))
    tolerance = TOLERANCES.get(dtype, REFERENCE_TOLERANCE)
    passed = all(error <= tolerance for error in errors)  # false for a NaN
    return Verdict(feature_map, dtype, shape, forward, backward, errors, passed)


def _random(shape: tuple[int, ...], dtype: torch.dtype) -> list[Tensor]:
    """q, k and v as views of wider buffers, and a gradient of the output."""
    batch, queries, keys, heads, head_dim, value_dim = shape
    draw = torch.Generator().manual_seed(0)
    sizes = ((queries, head_dim), (keys, head_dim), (keys, value_dim), (queries, value_dim))
    *inputs, grad_out = (
        torch.randn(batch, tokens, 2, heads, width, generator=draw).to(dtype)[:, :, 1]
        for tokens, width in sizes
    )
    return [*inputs, grad_out.flatten(2)]


def _results(out: Tensor, inputs: list[Tensor], grad_out: Tensor) -> list[Tensor]:
    return [out.detach(), *torch.autograd.grad(out, inputs, grad_out)]


def _relative_error(found: Tensor, expected: Tensor) -> float:
    """||found - expected|| / ||expected||, in float64; of zeros that are expected, ||found||."""
    norm = expected.norm().item()
    return (found.cpu().double() - expected).norm().item() / (norm or 1.0)
