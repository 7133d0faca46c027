"""Parameters and MACs of the shipped specs, against numbers worked out by hand formulas."""

from __future__ import annotations

import pytest

from linvit_dsl.check import elaborate, find_spec, open_program
from linvit_dsl.graph.cost import cost


def count(spec: str, model: str, **statics: object) -> tuple[int, int]:
    """Parameters and MACs at batch 1."""
    program = open_program(find_spec(spec)[0])
    overrides = {name: str(value) for name, value in statics.items()}
    total = cost(elaborate(program, model, overrides).graph)
    return total.params, total.macs


def vit_params(
    *, d: int = 384, depth: int = 12, image: int = 32, patch: int = 4, classes: int = 100
) -> int:
    """The plain ViT with class token and final norm: stem, tokens, blocks, norm, head."""
    tokens = (image // patch) ** 2
    stem = 3 * patch**2 * d + d + d + (tokens + 1) * d
    return stem + depth * (12 * d**2 + 13 * d) + 2 * d + d * classes + classes


def vit_macs(
    *, d: int = 384, depth: int = 12, image: int = 32, patch: int = 4, classes: int = 100
) -> int:
    """Products of matrices only: stem, projections, scores and mixing, MLP, head."""
    tokens = (image // patch) ** 2
    n = tokens + 1
    return tokens * 3 * patch**2 * d + depth * (12 * n * d**2 + 2 * n**2 * d) + d * classes


def test_baseline() -> None:
    assert count("baseline", "BaselineViT") == (21_376_996, vit_macs())
    assert vit_params() == 21_376_996


def test_baseline_of_64_pixels_and_200_classes() -> None:
    expected = (21_489_224, vit_macs(image=64, classes=200))
    assert count("baseline", "BaselineViT64") == expected
    assert vit_params(image=64, classes=200) == 21_489_224


@pytest.mark.parametrize(
    ("image", "patch", "classes", "params"),
    [(64, 8, 200, 21_470_792), (224, 16, 100, 21_704_164), (224, 16, 1000, 22_050_664)],
)
def test_baseline_of_other_patches(image: int, patch: int, classes: int, params: int) -> None:
    """The last one is the published size of ViT-S/16 at 224 pixels."""
    settings = {"image": image, "patch": patch, "classes": classes}
    assert count("baseline", "BaselineViT", **settings) == (params, vit_macs(**settings))
    assert vit_params(**settings) == params


@pytest.mark.parametrize(("d", "heads"), [(192, 3), (256, 4), (512, 8)])
def test_baseline_of_other_widths(d: int, heads: int) -> None:
    assert count("baseline", "BaselineViT", d=d, heads=heads) == (vit_params(d=d), vit_macs(d=d))


@pytest.mark.parametrize("depth", [6, 9, 15])
def test_baseline_of_other_depths(depth: int) -> None:
    expected = (vit_params(depth=depth), vit_macs(depth=depth))
    assert count("baseline", "BaselineViT", depth=depth) == expected


@pytest.mark.parametrize(
    ("stages", "params"),
    [(1, 21_671_908), (2, 21_847_012), (3, 22_022_116), (4, 22_197_220), (5, 22_372_324)],
)
def test_ripple_stages(stages: int, params: int) -> None:
    assert count("ripplevit", "RippleViT", stages=stages)[0] == params


@pytest.mark.parametrize(
    ("settings", "macs"),
    [
        ({}, 1_014_130_176),
        ({"image": 64}, 3_989_203_968),
        ({"image": 224, "patch": 16}, 3_142_961_664),
    ],
)
def test_ripple_macs(settings: dict[str, int], macs: int) -> None:
    classes = 200 if settings.get("image") == 64 else 100
    assert count("ripplevit", "RippleViT", **settings, classes=classes)[1] == macs


@pytest.mark.parametrize(
    ("branches", "params"),
    [
        (1, 21_376_996),
        (2, 21_819_508),
        (4, 22_704_388),
        (6, 23_589_268),
        (8, 24_474_148),
    ],
)
def test_hydra_branches(branches: int, params: int) -> None:
    assert count("hydravit", "HydraViT", branches=branches)[0] == params


def test_hydra_macs() -> None:
    assert count("hydravit", "HydraViT")[1] == 1_659_360_768


def test_linear_attention_costs_four_n_d_e_per_layer() -> None:
    n, d, e = 65, 384, 64
    attention = vit_macs() - 12 * 2 * n**2 * d + 12 * 4 * n * d * e
    assert count("linear", "LinearViT") == (21_376_996, attention)


def test_hidden_48() -> None:
    assert count("vit_tiny_cifar10", "TinyViT")[0] == 119_194
    assert count("vit_tiny_cifar10", "TinyViTMerged") == count("vit_tiny_cifar10", "TinyViT")
    params, macs = count("vit_tiny_cifar10", "TinyViTBare")
    assert params == 119_098
    assert macs == vit_macs(d=48, depth=4, classes=10)
    assert macs == 8_958_816
