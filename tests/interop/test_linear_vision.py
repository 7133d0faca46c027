"""EfficientViT and XCiT against timm, weights copied: whole models and their attention alone."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from timm.models.efficientvit_mit import EfficientVit, LiteMLA
from timm.models.xcit import LPI, XCA
from torch import Tensor, nn

import linvit_dsl
from tests.models.references.build import built
from tests.models.references.compare import drawn


def copied(source: nn.Module, target: nn.Module) -> None:
    """Copy a state dict in order: both models build the same tensors in the same order."""
    theirs, ours = source.state_dict(), target.state_dict()
    assert [t.shape for t in theirs.values()] == [t.shape for t in ours.values()]
    assert len(theirs) == len(ours)
    target.load_state_dict(dict(zip(ours, theirs.values(), strict=True)))


def scattered(module: nn.Module) -> None:
    """Weights and running averages away from their start."""
    torch.manual_seed(0)
    with torch.no_grad():
        for key, tensor in module.state_dict().items():
            if key.endswith("running_var"):
                tensor.uniform_(0.5, 1.5)
            elif tensor.is_floating_point():
                tensor += 0.1 * torch.randn_like(tensor)


class Unrounded(LiteMLA):
    """timm's attention without its rounding to float32, so that float64 can be compared."""

    def _attn(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        out = q @ (k.transpose(-1, -2) @ v)
        return out[..., :-1] / (out[..., -1:] + self.eps)


@pytest.mark.parametrize("scales", [(), (5,), (3, 5)])
@pytest.mark.parametrize(("height", "width"), [(4, 4), (5, 7)])
def test_multi_scale_attention_is_lite_mla(
    tmp_path: Path, scales: tuple[int, ...], height: int, width: int
) -> None:
    shape = f"[B, 24, {height}, {width}]"
    ours = built(
        tmp_path,
        "std.efficientvit import MultiScaleAttention",
        f"(x: {shape}) -> {shape}",
        f"x |> MultiScaleAttention[8, scales = {list(scales)}]@attn",
    )
    theirs = Unrounded(24, 24, dim=8, scales=scales, eps=1e-15).double().eval()
    scattered(theirs)
    state = dict(theirs.state_dict())
    names = {"qkv.conv": "qkv", "proj.conv": "out.conv", "proj.norm": "out.norm"}
    for i in range(len(scales)):
        names |= {f"aggreg.{i}.0": f"filters.{i}", f"aggreg.{i}.1": f"mixers.{i}"}
    for theirs_name, name in names.items():
        for key in [key for key in state if key.startswith(f"{theirs_name}.")]:
            state[f"attn.{name}{key.removeprefix(theirs_name)}"] = state.pop(key)
    ours.load_state_dict(state)
    x = drawn(2, 24, height, width)
    torch.testing.assert_close(ours(x), theirs(x), rtol=1e-10, atol=1e-11)
    theirs.eps = 1.0
    assert (ours(x) - theirs(x)).abs().max() > 1e-4, "the comparison can fail"


def test_efficientvit_is_timms(monkeypatch: pytest.MonkeyPatch) -> None:
    """The whole of the b0: its parts and their order."""
    monkeypatch.setattr(LiteMLA, "_attn", Unrounded._attn)
    theirs = EfficientVit(
        widths=(8, 16, 32, 64, 128),
        depths=(1, 2, 2, 2, 2),
        head_dim=16,
        head_widths=(1024, 1280),
        num_classes=10,
    )
    theirs = theirs.double().eval()
    for part in theirs.modules():
        if isinstance(part, LiteMLA):
            part.eps = 1e-15
    scattered(theirs)
    ours = linvit_dsl.load("efficientvit").EfficientViT(classes=10, image=96, width=64)
    ours = ours.double().eval()
    copied(theirs, ours)
    images = drawn(2, 3, 96, 64)
    with torch.no_grad():
        expected = theirs(images)
        torch.testing.assert_close(ours(images), expected, rtol=1e-8, atol=1e-9)
        ours.get_buffer("stem.norm.running_var").add_(1)
        difference = ours(images) - expected
    assert difference.abs().max() > 1e-4, "the comparison can fail"


@pytest.mark.parametrize("tokens", [5, 35])
def test_cross_covariance_is_xca(tmp_path: Path, tokens: int) -> None:
    shape = f"[B, {tokens}, 24]"
    ours = built(
        tmp_path,
        "std.xcit import CrossCovariance",
        f"(x: {shape}) -> {shape}",
        "x |> CrossCovariance[4]@attn",
    )
    theirs = XCA(24, num_heads=4, qkv_bias=True).double().eval()
    theirs.fused_attn = False
    scattered(theirs)
    state: dict[str, Tensor] = {"attn.temperature": theirs.temperature}
    for kind in ("weight", "bias"):
        parts = theirs.state_dict()[f"qkv.{kind}"].chunk(3)
        state |= {f"attn.qkv.{name}.{kind}": part for name, part in zip("qkv", parts, strict=True)}
        state[f"attn.out.{kind}"] = theirs.state_dict()[f"proj.{kind}"]
    ours.load_state_dict(state)
    x = drawn(2, tokens, 24)
    torch.testing.assert_close(ours(x), theirs(x), rtol=1e-9, atol=1e-10)
    theirs.temperature.data += 1
    assert (ours(x) - theirs(x)).abs().max() > 1e-4, "the comparison can fail"


def test_local_patches_are_lpi(tmp_path: Path) -> None:
    shape = "[B, 35, 24]"
    ours = built(
        tmp_path,
        "std.xcit import LocalPatches",
        f"(x: {shape}) -> {shape}",
        "x |> LocalPatches[grid = [5, 7]]@local",
    )
    theirs = LPI(24).double().eval()
    scattered(theirs)
    copied(theirs, ours)
    x = drawn(2, 35, 24)
    torch.testing.assert_close(ours(x), theirs(x, 5, 7), rtol=1e-10, atol=1e-11)
    assert (ours(x) - theirs(x, 7, 5)).abs().max() > 1e-4, "the comparison can fail"
