"""QAViT: counts by hand formulas, outputs and gradients by a reference, and what has to hold."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import linvit_dsl
from linvit_dsl.api import ModelBuilder, Static
from tests.models.references.compare import drawn, expect_equal_gradients, scattered
from tests.models.references.qavit import Settings, qavit


def model(name: str = "QAViT") -> ModelBuilder:
    return getattr(linvit_dsl.load("qavit"), name)


# Counts, after the formulas of the design. d' = d / 4, r = m = d / 2, N = 196 tokens of 224 pixels.
CONFIGURATIONS = {
    "QAViT_Tiny": (256, 12),
    "QAViT_Small": (384, 16),
    "QAViT_Small_D12": (384, 12),
}


def parameters(d: int, depth: int, *, compress: str = "split", classes: int = 100) -> int:
    quarter, r, m, tokens, bank = d // 4, d // 2, d // 2, 196, 16
    stem = 768 * d + d + 2 * d + tokens * d
    bottleneck = d * r + r + r * d + d
    mlp = 2 * d * m + m + d + 10 * m
    branches = 12 * quarter**2 + 12 * quarter
    fusion = 8 * quarter + 4
    projections = {"split": 0, "shared": 1, "linear": 4}[compress] * (d * quarter + quarter)
    block = 4 * d + bottleneck + mlp + branches + fusion + projections
    gateway = 2 * d + d * quarter + quarter + 64 * tokens + 4 * (quarter**2 + quarter)
    gateway += 2 * quarter + quarter
    head = 2 * d + d * classes + classes
    return stem + bank * quarter + depth * block + gateway + head


def macs(d: int, depth: int, *, compress: str = "split", classes: int = 100) -> int:
    quarter, r, m, tokens, bank, k, group = d // 4, d // 2, d // 2, 196, 16, 64, d // 32
    block = tokens * (2 * d * r + 2 * d * m + 9 * m)
    block += 10 * tokens * quarter**2 + 2 * bank * quarter**2
    block += 2 * tokens * quarter * (49 + 9 + group + bank)
    block += {"split": 0, "shared": 1, "linear": 4}[compress] * tokens * d * quarter
    gateway = tokens * d * quarter + k * tokens * quarter
    gateway += 2 * bank * quarter**2 + 2 * k * quarter**2 + 2 * bank * k * quarter
    return 768 * tokens * d + depth * block + (depth - 1) * gateway + d * classes


@pytest.mark.parametrize(
    ("name", "statics", "expected"),
    [
        ("QAViT_Tiny", {}, 2_536_084),
        ("QAViT_Tiny", {"compress": "shared"}, 2_733_460),
        ("QAViT_Tiny", {"compress": "linear"}, 3_325_588),
        ("QAViT_Tiny", {"classes": 1000}, 2_767_384),
        ("QAViT_Small", {}, 7_092_516),
        ("QAViT_Small", {"compress": "shared"}, 7_683_876),
        ("QAViT_Small", {"compress": "linear"}, 9_457_956),
        ("QAViT_Small", {"classes": 1000}, 7_439_016),
        ("QAViT_Small_D12", {}, 5_444_372),
        ("QAViT_Small_D12", {"compress": "shared"}, 5_887_892),
        ("QAViT_Small_D12", {"compress": "linear"}, 7_218_452),
    ],
)
def test_parameters_and_macs(name: str, statics: dict[str, Any], expected: int) -> None:
    counted = model(name).cost(**statics)
    d, depth = CONFIGURATIONS[name]
    assert counted.params == expected == parameters(d, depth, **statics)
    assert counted.macs == macs(d, depth, **statics)


@pytest.mark.parametrize(
    ("name", "expected"), [("QAViT_Tiny", 524_954_624), ("QAViT_Small", 1_485_129_216)]
)
def test_macs_of_the_design(name: str, expected: int) -> None:
    assert model(name).cost().macs == expected == macs(*CONFIGURATIONS[name])


# Against the reference. Small, and every part is at work: two rates for three heads, odd grids that
# windows do not divide, a bank write that compresses (more than k tokens) or does not.
SMALL: dict[str, Static] = {"patch": 2, "channels": 2, "classes": 5, "d": 48, "depth": 3}
SMALL |= {"heads": 3, "groups": 4, "rates": [1, 2], "window": 3, "bank": 6, "k": 20}


def both(
    rows: int, columns: int, compress: str = "split", fusion_scale: float = 4.0
) -> tuple[nn.Module, dict[str, Tensor], Settings, Tensor]:
    """A generated module, copies of its weights, the reference's settings, and three images."""
    statics: dict[str, Static] = {"image": 2 * rows, "width": 2 * columns, "compress": compress}
    module = model()(**SMALL, **statics, fusion_scale=fusion_scale).double().eval()
    settings = Settings(
        (rows, columns),
        patch=2,
        depth=3,
        heads=3,
        window=3,
        rates=(1, 2),
        groups=4,
        compress=compress,
        fusion_scale=fusion_scale,
    )
    return module, scattered(module), settings, drawn(3, 2, 2 * rows, 2 * columns)


@pytest.mark.parametrize("compress", ["split", "shared", "linear"])
@pytest.mark.parametrize(("rows", "columns"), [(6, 6), (5, 7), (3, 8), (4, 4)])
def test_output_and_gradients_are_those_of_the_formulas(
    rows: int, columns: int, compress: str
) -> None:
    module, weights, settings, images = both(rows, columns, compress)
    ours, theirs = module(images), qavit(images, weights, settings)
    torch.testing.assert_close(ours, theirs, rtol=1e-11, atol=1e-11)
    for scores in (ours, theirs):
        scores.square().sum().backward()
    expect_equal_gradients(module, weights)


def test_the_published_fusion_has_scale_1() -> None:
    module, weights, settings, images = both(5, 7, fusion_scale=1.0)
    torch.testing.assert_close(
        module(images), qavit(images, weights, settings), rtol=1e-11, atol=1e-11
    )


@pytest.mark.parametrize(
    "wrong",
    [
        {"window": 2},
        {"rates": (2, 1)},
        {"groups": 2},
        {"fusion_scale": 1.0},
        {"heads": 6},
        {"depth": 2},
    ],
)
def test_other_settings_are_noticed(wrong: dict[str, Any]) -> None:
    """The control: the reference with one setting changed is another function."""
    module, weights, settings, images = both(5, 7)
    other = qavit(images, weights, replace(settings, **wrong))
    assert (module(images) - other).abs().max() > 1e-4


def test_the_bank_is_a_value_of_each_image() -> None:
    """Batch independence: nothing of one image reaches another, in float32."""
    module = model()(**SMALL, image=10, width=14).eval()
    scattered(module)
    images = drawn(4, 2, 10, 14).float()
    with torch.no_grad():
        together = module(images)
        alone = torch.cat([module(images[i : i + 1]) for i in range(4)])
    assert (together - alone).abs().max() <= 1e-6 * together.abs().max()


def test_a_bank_that_mixed_images_would_be_noticed() -> None:
    """The control: another image in the batch changes the answer once the bank is averaged."""
    module = model()(**SMALL, image=10, width=14).eval()
    scattered(module)
    write = module.write
    assert isinstance(write, nn.Module)
    write.register_forward_hook(lambda _module, _given, bank: bank.mean(0).expand_as(bank))
    images = drawn(4, 2, 10, 14).float()
    with torch.no_grad():
        difference = module(images)[:1] - module(images[:1])
    assert difference.abs().max() > 1e-4


def test_the_bank_is_read_and_written() -> None:
    """What a block writes reaches the output through the next block's cross-attention."""
    module = model()(**SMALL, image=10, width=14).double().eval()
    scattered(module)
    images = drawn(2, 2, 10, 14)
    before = module(images)
    with torch.no_grad():
        module.get_parameter("write.gate").fill_(-100.0)  # sigmoid(g) = 0: nothing is written
    assert (module(images) - before).abs().max() > 1e-6


def key_biases(module: nn.Module) -> set[str]:
    """Adding one vector to all keys adds one number to all scores of a query: softmax ignores it.

    Not so in the dilated branch, whose zeros beyond the border are keys without a bias, nor in the
    channel branch, where the softmax is over channels.
    """
    ends = ("window.qkv.k.bias", "bank.k.bias", "write.k.bias")
    return {name for name, _ in module.named_parameters() if name.endswith(ends)}


def test_gradients_reach_all_but_the_key_biases() -> None:
    module, _, _, images = both(5, 7)
    module.train()
    # In training no branch may be left out: the rates of dropout and drop path are 0 here.
    (module(images) * drawn(3, 5)).sum().backward()
    largest = {
        name: 0.0 if weight.grad is None else weight.grad.abs().max().item()
        for name, weight in module.named_parameters()
    }
    without = {name for name, size in largest.items() if size < 1e-12}
    assert without == key_biases(module)
    assert len(without) == 2 * 3 + 1


def test_every_part_learns_64_random_images_by_heart() -> None:
    torch.manual_seed(0)
    module = model()(image=32, patch=4, classes=10, d=64, depth=3, heads=4, k=32, window=4)
    images, labels = torch.randn(64, 3, 32, 32), torch.randint(10, (64,))
    optimizer = torch.optim.AdamW(module.parameters(), lr=3e-3, weight_decay=0.0)
    loss = torch.tensor(float("inf"))
    for _ in range(40):
        loss = nn.functional.cross_entropy(module(images), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.05


def test_a_single_block_needs_no_gateway() -> None:
    """The bank is not written after the last block, so a depth of 1 has no gateway at all."""
    names = {name for name, _ in model()(**SMALL | {"depth": 1}, image=8).named_parameters()}
    assert not any(name.startswith("write.") for name in names)
