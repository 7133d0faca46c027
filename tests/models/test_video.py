"""Clips against plain torch: a 3-D convolution, loops over frames and places."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import linvit_dsl
from tests.models.references import video
from tests.models.references.compare import drawn, expect_equal_gradients, scattered

SMALL = {"heads": 2, "frames": 6, "image": 8, "tubelet": 3, "patch": 4, "classes": 5, "d": 8}
MODELS: dict[str, Callable[..., Tensor]] = {
    "VideoViT": video.factorised,
    "JointVideoViT": video.joint,
}


def model(name: str) -> nn.Module:
    return getattr(linvit_dsl.load("video"), name)(**SMALL, depth=2).double().eval()


@pytest.mark.parametrize("name", MODELS)
def test_clips_are_classified_as_by_plain_torch(name: str) -> None:
    module, clip = model(name), drawn(2, 3, 6, 8, 8)
    weights = scattered(module)
    settings: dict[str, Any] = {"size": (3, 4, 4), "depth": 2, "heads": 2}
    results = module(clip), MODELS[name](clip, weights, **settings)
    torch.testing.assert_close(*results, rtol=1e-10, atol=1e-10)
    for result in results:
        (result * drawn(2, 5, seed=1)).sum().backward()
    expect_equal_gradients(module, weights)
    # The control: the other model, where the names fit, and another number of heads.
    assert (
        module(clip) - MODELS[name](clip, weights, **settings | {"heads": 4})
    ).abs().max() > 1e-3


def test_space_and_time_are_told_apart() -> None:
    """A layer mixes frames only in its second step: without it, other frames have no effect."""
    module, clip = model("VideoViT"), drawn(1, 3, 6, 8, 8)
    scattered(module)
    other = clip.clone()
    other[:, :, 3:] += 1  # the second of two tubelets in time
    seen: list[Tensor] = []
    module.get_submodule("norm").register_forward_hook(lambda *call: seen.append(call[2]))
    for tensor in (clip, other):
        module(tensor)
    assert (seen[0] - seen[1])[:, 0].abs().max() > 1e-6
    for i in range(2):
        nn.init.zeros_(module.get_parameter(f"layers.{i}.time.out.weight"))
    for tensor in (clip, other):
        module(tensor)
    assert torch.equal(seen[2][:, 0], seen[3][:, 0])
