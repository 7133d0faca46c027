"""Swin is timm's: the same count of parameters, and the same logits with its weights."""

from __future__ import annotations

from typing import Any

import pytest
import timm
import torch
from timm.models.swin_transformer import SwinTransformer
from torch import nn

import linvit_dsl
from tests.interop.weights import Parts, filled, images, scattered, translated

DEPTHS, HEADS, WIDTH = (2, 2, 2, 2), (1, 2, 4, 8), 8
# Sides, patch, window. 56 pixels: grids of 14, 7, 4 and 2, of which the first is cut into windows,
# the others fit into one, and 7 is odd where it is merged. 56 x 28: one side shifts alone.
SIZES = [((56, 56), 4, 7), ((56, 28), 4, 7), ((32, 32), 2, 4)]
Table = list[tuple[str, str | Parts]]


def names() -> Table:
    """Names of timm -> names of ours."""
    table: Table = [
        ("patch_embed.proj", "pyramid.embed.proj"),
        ("patch_embed.norm", "pyramid.embed_norm"),
        ("norm", "norm"),
        ("head.fc", "head"),
    ]
    for stage, depth in enumerate(DEPTHS):
        table.append((f"layers.{stage}.downsample", f"pyramid.merging.{stage - 1}"))
        for i in range(depth):
            theirs, ours = f"layers.{stage}.blocks.{i}", f"pyramid.stages.{stage}.layers.{i}"
            table += [
                (f"{theirs}.attn.qkv", tuple(f"{ours}.attn.{x}" for x in "qkv")),
                (f"{theirs}.attn.proj", f"{ours}.attn.out"),
                (f"{theirs}.attn.relative_position_bias_table", f"{ours}.attn.relative_bias"),
                (theirs, ours),
            ]
    return table


def peer(size: tuple[int, int], patch: int, window: int) -> nn.Module:
    return scattered(
        SwinTransformer(
            img_size=size,
            patch_size=patch,
            window_size=window,
            embed_dim=WIDTH,
            depths=DEPTHS,
            num_heads=HEADS,
            num_classes=10,
        )
    )


def ours(size: tuple[int, int], patch: int, window: int) -> nn.Module:
    return linvit_dsl.load("swin").SwinTiny(
        image=size[0], width=size[1], patch=patch, window=window, d=WIDTH, depths=DEPTHS,
        heads=HEADS, classes=10,
    )  # fmt: skip


def difference(module: nn.Module, other: nn.Module, size: tuple[int, int]) -> float:
    x = images(2, 3, *size)
    with torch.no_grad():
        return (module(x) - other(x)).abs().max().item()


def test_swin_tiny_has_the_parameters_of_timm() -> None:
    with torch.device("meta"):
        theirs = timm.create_model("swin_tiny_patch4_window7_224")
    assert sum(p.numel() for p in theirs.parameters()) == 28_288_354
    assert linvit_dsl.load("swin").SwinTiny.cost().params == 28_288_354


@pytest.mark.parametrize(("size", "patch", "window"), SIZES)
def test_swin_gives_the_logits_of_timm(size: tuple[int, int], patch: int, window: int) -> None:
    theirs = peer(size, patch, window)
    module = filled(ours(size, patch, window), translated(theirs.state_dict(), names()))
    assert difference(module, theirs, size) < 1e-11


@pytest.mark.parametrize("change", ["mask", "shift", "table"])
def test_another_swin_is_noticed(change: str) -> None:
    """The control: a peer that does not mask what wraps around, does not shift, or reads the table
    of biases backwards."""
    size, patch, window = SIZES[0]
    theirs = peer(size, patch, window)
    weights = translated(theirs.state_dict(), names())
    block: Any = theirs.get_submodule("layers.0.blocks.1")
    if change == "mask":
        block.attn_mask = None
    elif change == "shift":
        block.shift_size, block.attn_mask = (0, 0), None
    else:
        key = "pyramid.stages.0.layers.0.attn.relative_bias"
        weights[key] = weights[key].flip(0)
    assert difference(filled(ours(size, patch, window), weights), theirs, size) > 1e-5
