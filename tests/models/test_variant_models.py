"""Models beyond the sources: counts by hand formulas, gradients, independent images, learning."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

import linvit_dsl
from linvit_dsl.api import ModelBuilder
from linvit_dsl.errors import SpecError
from tests.models.references.compare import drawn, scattered


def model(spec: str, name: str) -> ModelBuilder:
    return getattr(linvit_dsl.load(spec), name)


# Parameters, after formulas. Legend: d channels, h heads of e = d / h, L layers, N patches of a
# grid, n tokens with the class token, C classes.


def vit(mixer: int, d: int = 384, layers: int = 12, patches: int = 64, classes: int = 100) -> int:
    """The skeleton: stem, tokens, two norms and an MLP per layer, norm, head; `mixer` per layer."""
    stem = 48 * d + d + d + (patches + 1) * d
    return stem + layers * (8 * d**2 + 9 * d + mixer) + 2 * d + d * classes + classes


def pvt(
    widths: list[int], depths: list[int], ratios: list[int], reductions: list[int], classes: int
) -> int:
    """PVT at 224 pixels: grids of 56, 28, 14 and 7."""
    total, c = 0, 3
    stages = zip(widths, depths, ratios, reductions, (4, 2, 2, 2), (56, 28, 14, 7), strict=True)
    for d, depth, ratio, reduction, patch, side in stages:
        reduced = reduction**2 * d**2 + d + 2 * d if reduction > 1 else 0
        layer = 4 * d + 4 * d**2 + 4 * d + reduced + 2 * ratio * d**2 + ratio * d + d
        total += patch**2 * c * d + d + 2 * d + side**2 * d + depth * layer
        c = d
    return total + 2 * c + c * classes + classes


def efficientvit(
    widths: list[int], depths: list[int], channels: int, head: tuple[int, int], classes: int
) -> int:
    """The b series: a convolution without bias and its norm have c d k^2 + 2 d parameters."""

    def bottleneck(c: int, d: int, *, norm: bool = True) -> int:
        m = 4 * c
        return c * m + 9 * m + (4 * m if norm else 2 * m) + m * d + 2 * d

    w = widths[0]
    total = 27 * w + 2 * w + depths[0] * (9 * w + 2 * w + w**2 + 2 * w)
    for i in range(1, len(widths)):
        c, d = widths[i - 1], widths[i]
        if i < len(widths) - 2:
            total += bottleneck(c, d) + (depths[i] - 1) * bottleneck(d, d)
            continue
        m = 3 * d
        attention = d * m + 25 * m + m * channels + 2 * d * d + 2 * d
        layer = attention + bottleneck(d, d, norm=False)
        total += bottleneck(c, d, norm=False) + depths[i] * layer
    last = widths[-1]
    total += last * head[0] + 2 * head[0] + head[0] * head[1] + 2 * head[1]
    return total + head[1] * classes + classes


D, E, H = 384, 64, 6
PLAIN = 4 * D**2 + 4 * D
XCIT = 12 * (12 * D**2 + 9 * D + 3 * D + 6 * D + 8 + 20 * D + 2 * D)
COUNTS: list[tuple[str, str, dict[str, Any], int]] = [
    *(
        ("feature_maps", name, {}, vit(PLAIN))
        for name in ("ReluViT", "EluViT", "ExpViT", "SoftmaxFeatureViT", "FocusedViT")
    ),
    ("feature_maps", "EfficientAttentionViT", {}, vit(PLAIN)),
    ("flatten", "FlattenViT", {}, vit(PLAIN + 26 * E)),
    ("hydra_cos", "HydraCosineViT", {}, vit(PLAIN)),
    ("grouped_query", "GroupedQueryViT", {}, vit(2 * D**2 + 2 * D + 2 * (D + 1) * E)),
    (
        "grouped_query",
        "GroupedQueryLinearViT",
        {"kv_heads": 2},
        vit(2 * D**2 + 2 * D + 2 * (D + 1) * 2 * E),
    ),
    ("agent", "AgentViT", {}, vit(PLAIN + 2 * H * 49 * 65 + 10 * D)),
    *(
        ("ripplevit", "RippleViTFullQuery", {"stages": s}, vit(PLAIN + (27 * s + 26) * D))
        for s in (1, 3, 5)
    ),
    (
        "hydravit",
        "HydraViT",
        {"fusion": "concat"},
        vit(PLAIN + 2 * D * (D // 8) * 3 + 4 * D**2),
    ),
    ("hydravit", "HydraViT", {"query": "full"}, 26_699_524),
    ("xcit", "XCiT", {}, 49 * D + 64 * D + XCIT + 2 * D + 100 * D + 100),
    ("pvt", "PVT", {}, pvt([64, 128, 320, 512], [2] * 4, [8, 8, 4, 4], [8, 4, 2, 1], 1000)),
    (
        "efficientvit",
        "EfficientViT",
        {},
        efficientvit([8, 16, 32, 64, 128], [1, 2, 2, 2, 2], 16, (1024, 1280), 1000),
    ),
    (
        "efficientvit",
        "EfficientViTB1",
        {"classes": 10},
        efficientvit([16, 32, 64, 128, 256], [1, 2, 3, 3, 4], 16, (1536, 1600), 10),
    ),
]


@pytest.mark.parametrize(("spec", "name", "statics", "expected"), COUNTS)
def test_parameters(spec: str, name: str, statics: dict[str, Any], expected: int) -> None:
    assert model(spec, name).cost(**statics).params == expected


def test_published_counts() -> None:
    """The tables of the PVT and EfficientViT papers: millions of parameters, billions of MACs."""
    found = {
        name: round(model(spec, name).cost().params / 1e6, 1)
        for spec, name in (("pvt", "PVT"), ("pvt", "PVTSmall"), ("efficientvit", "EfficientViTB1"))
    }
    assert found == {"PVT": 13.2, "PVTSmall": 24.5, "EfficientViTB1": 9.1}
    macs = [model(*m).cost().macs for m in (("pvt", "PVT"), ("efficientvit", "EfficientViTB1"))]
    assert [round(count / 1e9, 2) for count in macs] == [1.93, 0.52]


@pytest.mark.parametrize(
    ("spec", "name", "macs"),
    [
        # 4 n d e per layer, as split-relu features are 2 e wide; others are e wide: half of it.
        ("feature_maps", "ReluViT", 12 * 2 * 65 * D * E),
        ("feature_maps", "EfficientAttentionViT", 12 * 2 * 65 * D * E),
        ("flatten", "FlattenViT", 12 * (2 * 65 * D * E + 25 * 64 * D)),
        ("hydra_cos", "HydraCosineViT", 0),
        ("agent", "AgentViT", 12 * (4 * 65 * 49 * D + 9 * 64 * D)),
    ],
)
def test_macs_beside_the_projections(spec: str, name: str, macs: int) -> None:
    skeleton = 64 * 48 * D + 12 * 12 * 65 * D**2 + D * 100
    assert model(spec, name).cost().macs == skeleton + macs


# What has to hold of every model, at small sizes and odd grids.
VIT = {"image": 14, "width": 10, "channels": 2, "patch": 2, "classes": 5, "d": 24, "depth": 2}
HEADED = VIT | {"heads": 4, "drop": 0}
PYRAMID = {"image": 14, "width": 10, "channels": 2, "classes": 5}
SMALL: list[tuple[str, str, dict[str, Any]]] = [
    *(
        ("feature_maps", name, HEADED)
        for name in (
            "ReluViT",
            "EluViT",
            "ExpViT",
            "SoftmaxFeatureViT",
            "FocusedViT",
            "EfficientAttentionViT",
        )
    ),
    ("flatten", "FlattenViT", HEADED),
    ("hydra_cos", "HydraCosineViT", VIT | {"drop": 0}),
    ("grouped_query", "GroupedQueryViT", HEADED),
    ("grouped_query", "GroupedQueryLinearViT", HEADED | {"kv_heads": 2}),
    ("agent", "AgentViT", HEADED | {"agents": [3, 2]}),
    ("ripplevit", "RippleViTFullQuery", HEADED | {"stages": 2}),
    ("hydravit", "HydraViT", HEADED | {"fusion": "concat"}),
    ("xcit", "XCiT", HEADED),
    (
        "pvt",
        "PVT",
        PYRAMID
        | {"widths": [16, 24], "depths": [2, 1], "heads": [2, 3], "ratios": [2, 2]}
        | {"reductions": [2, 1], "patches": [2, 1]},
    ),
    (
        "efficientvit",
        "EfficientViT",
        PYRAMID
        | {"stem_stride": 1, "widths": [8, 16, 16], "depths": [1, 2, 1], "attending": 1}
        | {"head_channels": 8, "head_widths": [24, 20]},
    ),
]
IDS = [name for _, name, _ in SMALL]


def small(case: tuple[str, str, dict[str, Any]]) -> nn.Module:
    """A model in float64, in evaluation mode, with weights away from their neutral start."""
    spec, name, statics = case
    torch.manual_seed(0)
    module = model(spec, name)(**statics).double().eval()
    scattered(module)
    for key, average in module.named_buffers():
        if key.endswith("running_var"):
            average += drawn(*average.shape).abs()
    return module


def without_gradient(name: str, module: nn.Module) -> set[str]:
    """Biases of keys: each adds one number to all scores that a softmax over keys compares."""
    softmax_over_keys = ("GroupedQueryViT", "AgentViT", "PVT", "EfficientAttentionViT")
    keys = [key for key, _ in module.named_parameters()]
    return {k for k in keys if k.endswith(".k.bias") and name in softmax_over_keys}


@pytest.mark.parametrize("case", SMALL, ids=IDS)
def test_gradients_reach_every_parameter(case: tuple[str, str, dict[str, Any]]) -> None:
    # Not in training: there batch norm takes away whatever the bias of an earlier one adds.
    module = small(case)
    (module(drawn(3, 2, 14, 10)) * drawn(3, 5, seed=1)).sum().backward()
    unreached = {
        key
        for key, weight in module.named_parameters()
        if weight.grad is None or weight.grad.abs().max() < 1e-12
    }
    assert unreached == without_gradient(case[1], module)


def test_a_dead_parameter_would_be_noticed() -> None:
    """The control: what only patches see is unreached where the last layer is read by its class
    token alone."""
    module = small(("flatten", "FlattenViT", HEADED | {"readout": "cls"}))
    module(drawn(3, 2, 14, 10)).sum().backward()
    grads = {key: weight.grad for key, weight in module.named_parameters()}
    last = grads["layers.1.attn.local.dw.weight"]
    assert last is not None
    assert not last.any()


@pytest.mark.parametrize("case", SMALL, ids=IDS)
def test_every_image_of_a_batch_is_for_itself(case: tuple[str, str, dict[str, Any]]) -> None:
    module, images = small(case), drawn(3, 2, 14, 10)
    with torch.no_grad():
        together = module(images)
        alone = torch.cat([module(images[i : i + 1]) for i in range(3)])
    torch.testing.assert_close(together, alone, rtol=1e-9, atol=1e-10)


def test_images_are_not_for_themselves_while_batch_norm_trains() -> None:
    """The control: batch statistics make the images of a batch depend on each other."""
    module, images = small(SMALL[-1]), drawn(3, 2, 14, 10)
    before = {key: average.clone() for key, average in module.named_buffers()}
    module.train()
    with torch.no_grad():
        difference = module(images)[:1] - module(images[:1])
    assert difference.abs().max() > 1e-4
    assert all((average != before[key]).any() for key, average in module.named_buffers())


@pytest.mark.parametrize(
    ("spec", "name", "statics", "code", "words"),
    [
        ("grouped_query", "GroupedQueryViT", {"kv_heads": 4}, "E0300", "6 heads of queries do not"),
        ("hydravit", "HydraViT", {"fusion": "sum"}, "E0300", "fusion is mix or concat, not sum"),
        ("ripplevit", "RippleViTFullQuery", {"stages": 6}, "E0300", "stages <= 5 here"),
        ("efficientvit", "EfficientViT", {"head_channels": 80}, "E0300", "a head of 80 channels"),
        ("pvt", "PVT", {"image": 200}, "E0301", ""),
        ("pvt", "PVT", {"depths": [2, 2, 2]}, "E0308", ""),
        ("xcit", "XCiT", {"heads": 7}, "E0301", ""),
        ("agent", "AgentViT", {"agents": [7]}, "E0306", ""),
    ],
)
def test_what_does_not_fit_is_refused(
    spec: str, name: str, statics: dict[str, Any], code: str, words: str
) -> None:
    with pytest.raises(SpecError, match=code) as refused:
        model(spec, name).cost(**statics)
    assert words in str(refused.value)


@pytest.mark.parametrize("case", SMALL, ids=IDS)
def test_64_random_images_are_learned_by_heart(case: tuple[str, str, dict[str, Any]]) -> None:
    spec, name, statics = case
    torch.manual_seed(0)
    sizes = {"image": 8, "width": 8} | ({"d": 48} if "d" in statics else {})
    module = model(spec, name)(**statics | sizes)
    images, labels = torch.randn(64, 2, 8, 8), torch.randint(5, (64,))
    optimizer = torch.optim.AdamW(module.parameters(), lr=3e-3, weight_decay=0.0)
    loss = torch.tensor(float("inf"))
    for _ in range(90):
        loss = nn.functional.cross_entropy(module(images), labels)
        if loss.item() < 0.1:
            break
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.1


def test_random_images_are_not_learned_without_a_gradient() -> None:
    """The control: the labels are random, so a model that is left as it is stays at chance."""
    torch.manual_seed(0)
    module = model("feature_maps", "ReluViT")(**HEADED | {"image": 8, "width": 8})
    images, labels = torch.randn(64, 2, 8, 8), torch.randint(5, (64,))
    assert nn.functional.cross_entropy(module(images), labels).item() > 1
