"""Special cases in which two mechanisms are the same function, on generated modules."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import linvit_dsl

SMALL = {"d": 48, "depth": 2, "heads": 4, "classes": 10, "drop": 0}


def build(spec: str, model: str, **statics: object) -> nn.Module:
    """A small float64 model in evaluation mode, with weights away from the neutral start."""
    torch.manual_seed(0)
    module = getattr(linvit_dsl.load(spec), model)(**{**SMALL, **statics}).double().eval()
    for parameter in module.parameters():
        nn.init.normal_(parameter, std=0.2)
    return module


def copied(source: nn.Module, target: nn.Module, renames: dict[str, str]) -> nn.Module:
    """`target` with the weights of `source`; `renames` replaces parts of the keys."""
    weights: dict[str, Tensor] = {}
    for key, value in source.state_dict().items():
        for old, new in renames.items():
            key = key.replace(old, new)
        weights[key] = value
    target.load_state_dict(weights)
    return target


@pytest.fixture
def images() -> Tensor:
    return torch.randn(
        2, 3, 32, 32, dtype=torch.float64, generator=torch.Generator().manual_seed(1)
    )


def test_ripple_without_stages_and_ring_is_linear_attention(images: Tensor) -> None:
    linear = build("linear", "LinearViT", readout="mean")
    ripple = build("ripplevit", "RippleViT", stages=0, ring=0)
    copied(linear, ripple, {".attn.": ".attn.core."})
    assert torch.equal(ripple(images), linear(images))


def test_hydra_with_one_branch_is_linear_attention(images: Tensor) -> None:
    linear = build("linear", "LinearViT")
    hydra = build("hydravit", "HydraViT", branches=1)
    copied(linear, hydra, {".attn.qkv.": ".attn."})
    torch.testing.assert_close(hydra(images), linear(images), rtol=1e-12, atol=1e-12)


def test_hydra_whose_adapters_are_zero_is_linear_attention(images: Tensor) -> None:
    linear = build("linear", "LinearViT")
    hydra = build("hydravit", "HydraViT", branches=4)
    state = hydra.state_dict()
    for key, value in linear.state_dict().items():
        state[key.replace(".attn.qkv.", ".attn.")] = value
    for key in state:
        if ".adapters." in key and ".up." in key:
            state[key] = torch.zeros_like(state[key])
    hydra.load_state_dict(state)
    torch.testing.assert_close(hydra(images), linear(images), rtol=1e-12, atol=1e-12)


def test_adapters_that_are_not_zero_change_the_answer(images: Tensor) -> None:
    """The control of the test above."""
    linear = build("linear", "LinearViT")
    hydra = build("hydravit", "HydraViT", branches=4)
    state = hydra.state_dict()
    for key, value in linear.state_dict().items():
        state[key.replace(".attn.qkv.", ".attn.")] = value
    hydra.load_state_dict(state)
    assert (hydra(images) - linear(images)).abs().max() > 1e-3


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("settings", [{"d": 48, "heads": 4}, {"d": 384, "heads": 6, "depth": 2}])
def test_separate_and_merged_projections_agree_bit_for_bit(
    dtype: torch.dtype, settings: dict[str, int], images: Tensor
) -> None:
    separate = build("vit_tiny_cifar10", "TinyViT", **settings).to(dtype)
    merged = build("vit_tiny_cifar10", "TinyViTMerged", **settings).to(dtype)
    state = dict(separate.state_dict())
    for key in list(state):
        if ".qkv.q." in key:
            parts = [state.pop(key.replace(".q.", f".{part}.")) for part in "qkv"]
            state[key.replace(".q.", ".qkv.")] = torch.cat(parts)
    merged.load_state_dict(state)
    images = images.to(dtype)
    assert torch.equal(separate(images), merged(images))


def test_one_token_attends_to_itself(images: Tensor) -> None:
    """With one key every query gets its value: softmax and linear attention agree there."""
    softmax = build("baseline", "BaselineViT", image=4, cls=False)
    linear = build("linear", "LinearViT", image=4, cls=False)
    copied(softmax, linear, {})
    patch = images[:, :, :4, :4]
    torch.testing.assert_close(softmax(patch), linear(patch), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("spec", "model"),
    [
        ("baseline", "BaselineViT"),
        ("linear", "LinearViT"),
        ("ripplevit", "RippleViT"),
        ("hydravit", "HydraViT"),
    ],
)
@pytest.mark.parametrize(("height", "width"), [(32, 32), (28, 20), (36, 44)])
def test_every_image_of_a_batch_is_for_itself(
    spec: str, model: str, height: int, width: int
) -> None:
    """Batch independence, on square and odd grids (8x8, 7x5, 9x11 patches)."""
    module = build(spec, model, image=height, width=width)
    generator = torch.Generator().manual_seed(2)
    batch = torch.randn(3, 3, height, width, dtype=torch.float64, generator=generator)
    together = module(batch)
    for index in range(3):
        torch.testing.assert_close(
            together[index : index + 1], module(batch[index : index + 1]), rtol=1e-10, atol=1e-10
        )
