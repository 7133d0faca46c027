"""Models past the sources: counts by hand formulas, gradients, independent images, learning.

What each computes is compared elsewhere: with timm (tests/interop), and with plain torch beside
this file.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

import linvit_dsl
from linvit_dsl.api import ModelBuilder
from tests.models.references.compare import drawn, scattered


def model(spec: str, name: str) -> ModelBuilder:
    return getattr(linvit_dsl.load(spec), name)


# Parameters and multiply-adds, after formulas. Legend: d channels, L layers, n tokens, C classes.


def swin(
    d: int, depths: tuple[int, ...], heads: tuple[int, ...], window: int, patch: int, classes: int
) -> int:
    """Stem with norm, four stages, merging between them, norm and head."""
    total = 3 * patch**2 * d + d + 2 * d
    for depth, h in zip(depths, heads, strict=True):
        total += depth * (12 * d**2 + 13 * d + (2 * window - 1) ** 2 * h)
        total += 8 * d + 8 * d**2  # the merging behind it
        d *= 2
    d //= 2
    return total - 8 * d - 8 * d**2 + 2 * d + d * classes + classes


def deit3(mlp: int, norm: int, extra: int, registers: int) -> int:
    """At d 384, 12 layers, 196 patches, 1000 classes. `norm`: of one norm; `extra`: of a layer."""
    d = 384
    stem = 768 * d + d + d + registers * d + 196 * d
    return stem + 12 * (4 * d**2 + 4 * d + mlp + 2 * norm + 2 * d + extra) + norm + d * 1000 + 1000


def vit(d: int, depth: int, patch: int, positions: int, classes: int) -> int:
    """The plain skeleton with `positions` learned vectors beside the patches' map."""
    return (
        3 * patch**2 * d
        + d
        + positions * d
        + depth * (12 * d**2 + 13 * d)
        + 2 * d
        + (d + 1) * classes
    )


D = 384
PYRAMID = swin(96, (2, 2, 6, 2), (3, 6, 12, 24), 7, 4, 0) - 2 * 768
VIDEO = 2 * 3 * 256 * D + D + (8 + 49) * D + 2 * D + (D + 1) * 400
NECK = 2 * (96 + 192 + 384 + 768) + (96 + 192 + 384 + 768) * 128 + 4 * 128 + 4 * (9 * 128**2 + 128)
COUNTS: list[tuple[str, str, int]] = [
    ("swin", "SwinTiny", swin(96, (2, 2, 6, 2), (3, 6, 12, 24), 7, 4, 1000)),
    ("deit3", "DeiT3Small", deit3(8 * D**2 + 5 * D, 2 * D, 0, 0)),
    ("deit3", "DeiT3SmallModern", deit3(3 * 1024 * D + 2 * 1024 + D, D, 2 * 64, 4)),
    # Rotary positions have no parameters: one class token, 65 learned positions beside them.
    ("rope", "RopeViT", vit(D, 12, 4, 66, 100)),
    ("rope", "RopeLinearViT", vit(D, 12, 4, 66, 100)),
    ("dense", "DenseViT", vit(D, 12, 8, 28**2, 21)),
    ("dense", "SwinFpn", PYRAMID + NECK + 129 * 21),
    ("video", "VideoViT", VIDEO + 8 * (16 * D**2 + 19 * D)),
    ("video", "JointVideoViT", VIDEO + 8 * (12 * D**2 + 13 * D)),
]


@pytest.mark.parametrize(("spec", "name", "expected"), COUNTS, ids=[name for _, name, _ in COUNTS])
def test_parameters(spec: str, name: str, expected: int) -> None:
    assert model(spec, name).cost().params == expected


def test_published_counts() -> None:
    """Swin's paper: 28.3M parameters and 4.5G multiply-adds; DeiT III's: 22M and 4.6G."""
    for spec, name, millions, billions in (
        ("swin", "SwinTiny", 28.3, 4.5),
        ("deit3", "DeiT3Small", 22.1, 4.6),
    ):
        cost = model(spec, name).cost()
        assert (round(cost.params / 1e6, 1), round(cost.macs / 1e9, 1)) == (millions, billions)


def test_multiply_adds_of_attention() -> None:
    """Beside 12 d^2 per token, the stem and the head: attention itself."""
    windows = sum(
        depth * 2 * 49 * side**2 * width
        for depth, side, width in ((2, 56, 96), (2, 28, 192), (6, 14, 384), (2, 7, 768))
    )
    layers = sum(
        depth * 12 * side**2 * width**2
        for depth, side, width in ((2, 56, 96), (2, 28, 192), (6, 14, 384), (2, 7, 768))
    )
    merging = sum(side**2 * 8 * d**2 for side, d in ((28, 96), (14, 192), (7, 384)))
    stem = 56**2 * 48 * 96 + 768 * 1000
    assert model("swin", "SwinTiny").cost().macs == windows + layers + merging + stem
    tokens, head = 8 * 49, D * 400
    maps = tokens * 1536 * D + head
    space_time = 8 * tokens * (16 * D**2 + 2 * D * (49 + 8))
    assert model("video", "VideoViT").cost().macs == maps + space_time
    joint = 8 * tokens * (12 * D**2 + 4 * D * 64)
    assert model("video", "JointVideoViT").cost().macs == maps + joint


# What has to hold of every model, at small sizes.
VIT = {"image": 14, "width": 10, "channels": 2, "patch": 2, "classes": 5, "depth": 2}
PYRAMIDS = {"depths": (2, 2, 1, 1), "heads": (1, 2, 2, 4), "window": 2, "d": 8}
CLIPS = {"heads": 2, "frames": 4, "image": 8, "patch": 4, "d": 16, "depth": 2, "classes": 5}
SMALL: list[tuple[str, str, dict[str, Any], tuple[int, ...]]] = [
    ("swin", "SwinTiny", PYRAMIDS | {"image": 24, "width": 20, "channels": 2, "patch": 1}
     | {"classes": 5}, (2, 24, 20)),
    ("deit3", "DeiT3Cifar", VIT | {"d": 24, "start": 0.1}, (2, 14, 10)),
    ("deit3", "DeiT3Digits", VIT | {"d": 24}, (2, 14, 10)),
    ("rope", "RopeViT", VIT | {"d": 24, "heads": 2, "drop": 0}, (2, 14, 10)),
    ("rope", "RopeLinearViT", VIT | {"d": 24, "heads": 3, "drop": 0}, (2, 14, 10)),
    ("dense", "DenseViT", {"image": 12, "width": 16, "patch": 4, "d": 16, "heads": 2, "depth": 2,
                           "classes": 5}, (3, 12, 16)),
    ("dense", "SwinFpn", PYRAMIDS | {"image": 24, "width": 32, "patch": 1, "c": 8, "classes": 5},
     (3, 24, 32)),
    ("video", "VideoViT", CLIPS, (3, 4, 8, 8)),
    ("video", "JointVideoViT", CLIPS, (3, 4, 8, 8)),
]  # fmt: skip
IDS = [name for _, name, _, _ in SMALL]
Case = tuple[str, str, dict[str, Any], tuple[int, ...]]


def small(case: Case) -> nn.Module:
    """A model in float64, in evaluation mode, with weights away from their neutral start."""
    spec, name, statics, _ = case
    torch.manual_seed(0)
    module = model(spec, name)(**statics).double().eval()
    scattered(module)
    return module


def without_gradient(name: str, module: nn.Module) -> set[str]:
    """Biases of keys: each adds one number to all scores that a softmax over keys compares.

    Not where keys are turned by their place or normed first.
    """
    keys = [key for key, _ in module.named_parameters()]
    if name in ("SwinTiny", "SwinFpn", "DeiT3Cifar", "VideoViT"):
        return {key for key in keys if key.endswith(".k.bias")}
    return set()


@pytest.mark.parametrize("case", SMALL, ids=IDS)
def test_gradients_reach_every_parameter(case: Case) -> None:
    module = small(case)
    scores = module(drawn(2, *case[3]))
    (scores * drawn(*scores.shape, seed=1)).sum().backward()
    unreached = {
        key
        for key, weight in module.named_parameters()
        if weight.grad is None or weight.grad.abs().max() < 1e-12
    }
    assert unreached == without_gradient(case[1], module)


def test_a_dead_parameter_would_be_noticed() -> None:
    """The control: a stage of one token attends to itself, whatever its queries and keys are."""
    statics = PYRAMIDS | {"image": 8, "channels": 2, "patch": 1, "classes": 5}
    module = small(("swin", "SwinTiny", statics, (2, 8, 8)))
    module(drawn(2, 2, 8, 8)).square().sum().backward()
    gradient = module.get_parameter("pyramid.stages.3.layers.0.attn.q.weight").grad
    assert gradient is not None
    assert gradient.abs().max() < 1e-12


@pytest.mark.parametrize("case", SMALL, ids=IDS)
def test_every_image_of_a_batch_is_for_itself(case: Case) -> None:
    module, images = small(case), drawn(3, *case[3])
    with torch.no_grad():
        together = module(images)
        alone = torch.cat([module(images[i : i + 1]) for i in range(3)])
        other = torch.cat([module(images[i : i + 1]) for i in (0, 2, 1)])
    torch.testing.assert_close(together, alone, rtol=1e-9, atol=1e-10)
    assert (together - other).abs().max() > 1e-3, "the control: another order is told apart"


def overfit(module: nn.Module, shape: tuple[int, ...], steps: int) -> float:
    """The loss of 64 random images of 5 random classes after so many steps, or at 0.1."""
    torch.manual_seed(0)
    images, labels = torch.randn(64, *shape), torch.randint(5, (64,))
    optimizer = torch.optim.AdamW(module.parameters(), lr=3e-3, weight_decay=0.0)
    loss = float("inf")
    for _ in range(steps):
        result = nn.functional.cross_entropy(module(images), labels)
        loss = result.item()
        if loss < 0.1:
            break
        optimizer.zero_grad()
        result.backward()
        optimizer.step()
    return loss


LEARNERS: list[Case] = [
    ("swin", "SwinTiny", PYRAMIDS | {"image": 16, "channels": 2, "patch": 1, "classes": 5, "d": 16,
                                     "drop_path": 0}, (2, 16, 16)),
    ("deit3", "DeiT3Digits", VIT | {"image": 8, "width": 8, "d": 48}, (2, 8, 8)),
    ("rope", "RopeViT", VIT | {"image": 8, "width": 8, "d": 48, "heads": 4, "drop": 0}, (2, 8, 8)),
    ("rope", "RopeLinearViT", VIT | {"image": 8, "width": 8, "d": 48, "heads": 4, "drop": 0},
     (2, 8, 8)),
    ("video", "VideoViT", CLIPS | {"d": 48}, (3, 4, 8, 8)),
    ("video", "JointVideoViT", CLIPS | {"d": 48}, (3, 4, 8, 8)),
]  # fmt: skip


@pytest.mark.parametrize("case", LEARNERS, ids=[name for _, name, _, _ in LEARNERS])
def test_64_random_images_are_learned_by_heart(case: Case) -> None:
    spec, name, statics, shape = case
    torch.manual_seed(0)
    assert overfit(model(spec, name)(**statics), shape, steps=120) < 0.1


def test_random_images_are_not_learned_by_a_head_alone() -> None:
    """The control: with everything but the head fixed, as many steps do not suffice."""
    spec, name, statics, shape = LEARNERS[3]
    torch.manual_seed(0)
    module = model(spec, name)(**statics)
    for key, weight in module.named_parameters():
        weight.requires_grad_(key.startswith("head."))
    assert overfit(module, shape, steps=120) > 0.5
