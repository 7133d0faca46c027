"""DeiT III is timm's, with its options: the same count of parameters, and the same logits."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
import timm
import torch
from timm.layers.mlp import SwiGLU
from timm.layers.norm import RmsNorm
from timm.models.vision_transformer import VisionTransformer
from torch import nn

import linvit_dsl
from tests.interop.weights import Parts, filled, images, scattered, translated

DEPTH = 3
SMALL = {"image": 32, "patch": 8, "classes": 10, "d": 48, "depth": DEPTH}
OPTIONS: dict[str, dict[str, Any]] = {
    "DeiT3Small": {},
    "DeiT3SmallModern": {
        "norm_layer": partial(RmsNorm, eps=1e-6),
        "qk_norm": True,
        "mlp_layer": SwiGLU,
        "act_layer": nn.SiLU,
        "mlp_ratio": 8 / 3,
        "reg_tokens": 4,
    },
}
"""By model of the spec: what makes timm's the same."""


def names(model: str) -> list[tuple[str, str | Parts]]:
    """Names of timm -> names of ours."""
    table: list[tuple[str, str | Parts]] = [
        ("patch_embed.proj", "embed.proj"),
        ("reg_token", "register_tokens"),
        ("pos_embed", "pos"),
        *((word, word) for word in ("cls_token", "norm", "head")),
    ]
    for i in range(DEPTH):
        theirs, ours = f"blocks.{i}", f"layers.{i}"
        table += [
            (f"{theirs}.attn.qkv", tuple(f"{ours}.attn.qkv.{x}" for x in "qkv")),
            (f"{theirs}.attn.proj", f"{ours}.attn.out"),
            (f"{theirs}.ls1", f"{ours}.scale1"),
            (f"{theirs}.ls2", f"{ours}.scale2"),
        ]
        if model == "DeiT3SmallModern":
            mlp = {"fc1_g": "gate", "fc1_x": "value", "fc2": "out"}
            table += [(f"{theirs}.mlp.{a}", f"{ours}.mlp.{b}") for a, b in mlp.items()]
        table.append((theirs, ours))
    return table


def peer(model: str, **changes: Any) -> nn.Module:
    settings: dict[str, Any] = {
        "img_size": 32,
        "patch_size": 8,
        "num_classes": 10,
        "embed_dim": 48,
        "depth": DEPTH,
        "num_heads": 6,
        "no_embed_class": True,
        "init_values": 1e-6,
    }
    return scattered(VisionTransformer(**(settings | OPTIONS[model] | changes)))


def difference(model: str, theirs: nn.Module) -> float:
    """Of the logits of two images, after the weights were copied."""
    module = getattr(linvit_dsl.load("deit3"), model)(**SMALL)
    filled(module, translated(theirs.state_dict(), names(model)))
    x = images(2, 3, 32, 32)
    with torch.no_grad():
        return (module(x) - theirs(x)).abs().max().item()


def test_deit3_small_has_the_parameters_of_timm() -> None:
    with torch.device("meta"):
        theirs = timm.create_model("deit3_small_patch16_224")
    assert sum(p.numel() for p in theirs.parameters()) == 22_059_496
    assert linvit_dsl.load("deit3").DeiT3Small.cost().params == 22_059_496


@pytest.mark.parametrize("model", OPTIONS)
def test_deit3_gives_the_logits_of_timm(model: str) -> None:
    assert difference(model, peer(model)) < 1e-12


@pytest.mark.parametrize(
    "change",
    [
        {"norm_layer": partial(RmsNorm, eps=1e-2)},
        {"act_layer": nn.GELU},
        {"num_heads": 4, "qk_norm": False},
    ],
)
def test_another_setting_is_noticed(change: dict[str, Any]) -> None:
    """The control: with another eps or gate the logits differ, without normed queries the names."""
    theirs = peer("DeiT3SmallModern", **change)
    if "qk_norm" in change:
        with pytest.raises(RuntimeError, match=r"Missing key\(s\).*q_norm"):
            difference("DeiT3SmallModern", theirs)
    else:
        assert difference("DeiT3SmallModern", theirs) > 1e-6


def test_a_layer_scale_starts_small() -> None:
    """At the start a layer is almost the identity, and the model its head on the class token."""
    module: Any = linvit_dsl.load("deit3").DeiT3Small(**SMALL).double().eval()
    x = images(2, 3, 32, 32)
    module.cls_token.data = images(1, 1, 48)
    bare = module.head(module.norm(module.cls_token[:, 0]))
    assert (module(x) - bare).abs().max() < 1e-3 * bare.abs().max()
    for name, parameter in module.named_parameters():
        if name.endswith("gamma"):
            parameter.data.fill_(1.0)
    assert (module(x) - bare).abs().max() > 1e-2 * bare.abs().max()
