"""Scores for every pixel against plain torch, and what a map allows that a class does not."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

import linvit_dsl
from tests.models.references.build import built
from tests.models.references.compare import drawn, expect_equal_gradients, scattered

SHAPES = [(3, 8, 10), (6, 4, 5), (12, 2, 3), (24, 1, 2)]
"""Channels, rows and columns of four maps."""


def stretched(x: Tensor, size: tuple[int, int]) -> Tensor:
    return F.interpolate(x, size, mode="bilinear", align_corners=False)


def pyramid(maps: list[Tensor], weights: dict[str, Tensor]) -> Tensor:
    """Lateral maps, then sums from the top down, then all levels at the finest size."""
    sides: list[Tensor] = []
    for i, x in enumerate(maps):
        scale, shift = (weights[f"neck.norms.{i}.norm.{part}"] for part in ("weight", "bias"))
        y = F.layer_norm(x.movedim(1, -1), x.shape[1:2], scale, shift, 1e-6).movedim(-1, 1)
        sides.append(F.conv2d(y, *convolution(weights, f"neck.sides.{i}")))
    for i in (2, 1, 0):
        sides[i] = sides[i] + stretched(sides[i + 1], SHAPES[i][1:])
    levels = [
        F.conv2d(sides[i], *convolution(weights, f"neck.smooth.{3 - i}"), padding=1)
        for i in range(4)
    ]
    return sum((stretched(level, SHAPES[0][1:]) for level in levels[1:]), levels[0])


def convolution(weights: dict[str, Tensor], name: str) -> tuple[Tensor, Tensor]:
    return weights[f"{name}.weight"], weights[f"{name}.bias"]


def test_a_feature_pyramid_is_its_definition(tmp_path: Path) -> None:
    inputs = ", ".join(f"x{i}: [B, {c}, {h}, {w}]" for i, (c, h, w) in enumerate(SHAPES))
    signature = f"({inputs}) -> [B, 4, 8, 10]"
    body = "FeaturePyramid[4](x0, x1, x2, x3)@neck"
    module = built(tmp_path, "std.dense import FeaturePyramid", signature, body)
    weights = scattered(module)
    maps = [drawn(2, *shape, seed=i) for i, shape in enumerate(SHAPES)]
    results = module(*maps), pyramid(maps, weights)
    torch.testing.assert_close(*results, rtol=1e-10, atol=1e-10)
    for result in results:
        (result * drawn(*result.shape, seed=9)).sum().backward()
    expect_equal_gradients(module, weights)
    # The control: levels smoothed by each other's filters.
    swapped = weights | {
        f"neck.smooth.{i}.{part}": weights[f"neck.smooth.{3 - i}.{part}"]
        for i in range(4)
        for part in ("weight", "bias")
    }
    assert (module(*maps) - pyramid(maps, swapped)).abs().max() > 1e-3


def test_a_linear_head_stretches_the_scores_of_tokens(tmp_path: Path) -> None:
    module = built(
        tmp_path,
        "std.dense import LinearHead",
        "(x: [B, 6, 4]) -> [B, 5, 7, 9]",
        "x |> LinearHead[5, [2, 3], [7, 9]]@head",
    )
    weights = scattered(module)
    x = drawn(2, 6, 4)
    scores = F.linear(x, weights["head.classify.weight"], weights["head.classify.bias"])
    maps = scores.transpose(1, 2).unflatten(2, (2, 3))
    torch.testing.assert_close(module(x), stretched(maps, (7, 9)), rtol=1e-12, atol=1e-12)
    across = scores.transpose(1, 2).unflatten(2, (3, 2)).transpose(2, 3)
    assert (module(x) - stretched(across, (7, 9))).abs().max() > 1e-2


def test_every_level_of_a_pyramid_reaches_the_scores() -> None:
    module = linvit_dsl.load("dense").SwinFpn(
        image=32, patch=2, window=4, d=8, heads=(1, 2, 4, 8), c=8, classes=3
    ).double().eval()  # fmt: skip
    scattered(module)
    images = drawn(1, 3, 32, 32)
    scores = module(images)
    assert scores.shape == (1, 3, 32, 32)
    for stage in range(4):
        norm = module.get_submodule(f"neck.norms.{stage}.norm")
        bias = norm.get_parameter("bias")
        bias.data += 1
        assert (module(images) - scores).abs().max() > 1e-6, stage
        bias.data -= 1
