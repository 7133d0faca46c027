"""Feature maps and the mechanisms beyond the sources against references.

References share no code with the compiler (tests/models/references); weights are copied, and
results and gradients compared in float64.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.models.references import variants
from tests.models.references.build import built
from tests.models.references.compare import drawn, expect_equal_gradients, scattered

CHANNELS, HEADS = 24, 4
PLACES = [((4, 4), 1), ((7, 5), 0), ((3, 8), 5)]
"""Grids, and tokens outside them."""
Reference = Callable[[Tensor, dict[str, Tensor]], Tensor]


def mixer(
    folder: Path, module: str, block: str, statics: str, tokens: int, imports: str = ""
) -> tuple[nn.Module, dict[str, Tensor], Tensor]:
    """A mixer, copies of its weights, and tokens to mix."""
    shape = f"[B, {tokens}, {CHANNELS}]"
    names = f"std.{module} import {block}{imports}"
    body = f"x |> {block}[{statics}]@attn" if statics else f"x |> {block}@attn"
    torch.manual_seed(0)
    model = built(folder, names, f"(x: {shape}) -> {shape}", body)
    weights = {key.removeprefix("attn."): value for key, value in scattered(model).items()}
    return model, weights, drawn(2, tokens, CHANNELS, seed=1)


def expect_reference(
    module: nn.Module, weights: dict[str, Tensor], x: Tensor, reference: Reference
) -> None:
    """Demand the same result, and the same gradients of the input and of every weight."""
    mine, theirs = x.clone().requires_grad_(), x.clone().requires_grad_()
    results = module(mine), reference(theirs, weights)
    torch.testing.assert_close(*results, rtol=1e-9, atol=1e-10)
    for result in results:
        (result * drawn(*result.shape, seed=2)).sum().backward()
    assert mine.grad is not None
    assert theirs.grad is not None
    torch.testing.assert_close(mine.grad, theirs.grad, rtol=1e-8, atol=1e-9)
    expect_equal_gradients(module, {f"attn.{key}": value for key, value in weights.items()})


def differs(module: nn.Module, x: Tensor, wrong: Tensor) -> bool:
    """Whether a reference of another setting is told apart."""
    return (module(x) - wrong).abs().max().item() > 1e-4


# Feature maps

IMPORTS = {"EluPlusOne": ", EluPlusOne", "Focused": "\nfrom std.feature_maps import Focused"}


def with_features(folder: Path, phi: str) -> tuple[nn.Module, dict[str, Tensor], Tensor]:
    imports = IMPORTS.get(phi.partition("[")[0], "")
    return mixer(folder, "linear_attention", "LinearAttention", f"{HEADS}, {phi}", 13, imports)


@pytest.mark.parametrize("phi", variants.FEATURES)
def test_linear_attention_with_any_features_is_the_matrix_of_pairs(
    tmp_path: Path, phi: str
) -> None:
    module, weights, x = with_features(tmp_path, phi)
    expect_reference(
        module,
        weights,
        x,
        lambda x, w: variants.linear_mixer(x, w, HEADS, variants.FEATURES[phi]),
    )


def test_other_features_are_noticed(tmp_path: Path) -> None:
    """The control: no two feature maps are the same function."""
    for phi in variants.FEATURES:
        module, weights, x = with_features(tmp_path, phi)
        for name, pairs in variants.FEATURES.items():
            wrong = variants.linear_mixer(x, weights, HEADS, pairs)
            assert differs(module, x, wrong) == (name != phi), (phi, name)


def focused_features(folder: Path) -> nn.Module:
    """The map alone, of rows of 6 channels."""
    signature = "(x: [B, 5, 6]) -> [B, 5, 6]"
    return built(folder, "std.feature_maps import Focused", signature, "Focused(x)")


def test_focused_features_keep_their_length_and_are_zero_at_zero(tmp_path: Path) -> None:
    """Also in float32, with rows of no, of tiny and of huge channels; and gradients are finite."""
    focused = focused_features(tmp_path).float()
    x = drawn(3, 5, 6).float()
    x[0, 0] = -x[0, 0].abs()
    x[0, 1] = 0
    x[1] *= 1e-4
    x[2] *= 1e10
    x.requires_grad_()
    y = focused(x)
    lengths = x.clamp(min=0).norm(dim=-1)
    torch.testing.assert_close(y.norm(dim=-1), lengths, rtol=2e-3, atol=1e-12)
    assert not y[0, :2].any()
    (y * drawn(3, 5, 6).float()).sum().backward()
    assert x.grad is not None
    assert x.grad.isfinite().all()
    assert not x.grad[0, :2].any()
    assert x.grad[1].any()


def test_the_plain_formula_would_not_have_a_gradient_at_zero() -> None:
    """The control: without what is added, a row without positive channels gives NaN."""
    x = torch.zeros(1, 6, requires_grad=True)
    r = x.clamp(min=0) ** 3
    (r / r.norm(dim=-1, keepdim=True)).sum().backward()
    assert x.grad is not None
    assert x.grad.isnan().any()


def test_efficient_attention(tmp_path: Path) -> None:
    module, weights, x = mixer(tmp_path, "feature_maps", "EfficientAttention", f"{HEADS}", 13)
    expect_reference(module, weights, x, lambda x, w: variants.efficient_attention(x, w, HEADS))
    # It is not linear attention with a softmax for features of both: the keys' is over tokens.
    other = variants.linear_mixer(x, weights, HEADS, variants.FEATURES["softmax[-1]"])
    assert differs(module, x, other)


# Mixers

Case = tuple[str, str, str, Callable[..., Tensor], dict[str, Any], tuple[dict[str, Any], ...]]
"""Module, block, its static arguments but grid and prefix, the reference and its arguments, and
changes of them that must be noticed."""
ON_A_GRID: list[Case] = [
    (
        "flatten",
        "FocusedAttention",
        f"{HEADS}",
        variants.flatten,
        {"heads": HEADS},
        ({"power": 2}, {"power": 1}),
    ),
    (
        "reduction",
        "SpatialReductionAttention",
        f"{HEADS}, 2",
        variants.spatial_reduction,
        {"heads": HEADS, "reduction": 2},
        ({"reduction": 1}, {"heads": 2}),
    ),
    (
        "reduction",
        "SpatialReductionAttention",
        f"{HEADS}, 3",
        variants.spatial_reduction,
        {"heads": HEADS, "reduction": 3},
        ({"heads": 2},),
    ),
    (
        "agent",
        "AgentAttention",
        f"{HEADS}, [2, 3]",
        variants.agent,
        {"heads": HEADS, "agents": (2, 3)},
        ({"agents": (3, 2)}, {"agents": (1, 6)}),
    ),
    (
        "agent",
        "AgentAttention",
        f"{HEADS}, [7, 7]",
        variants.agent,
        {"heads": HEADS, "agents": (7, 7)},
        (),
    ),
    (
        "ripple",
        "RippleAttention",
        f'{HEADS}, 2, query = "full"',
        variants.full_query_ripple,
        {"heads": HEADS, "stages": 2},
        ({"stages": 1}, {"heads": 2}),
    ),
]


def on_a_grid(
    folder: Path, case: Case, grid: tuple[int, int], prefix: int
) -> tuple[nn.Module, dict[str, Tensor], Tensor]:
    module, block, statics, *_ = case
    place = f"{statics}, grid = {list(grid)}, prefix = {prefix}"
    return mixer(folder, module, block, place, grid[0] * grid[1] + prefix)


@pytest.mark.parametrize(("grid", "prefix"), PLACES)
@pytest.mark.parametrize("case", ON_A_GRID, ids=lambda case: f"{case[1]}-{case[2]}")
def test_a_mixer_on_a_grid(tmp_path: Path, case: Case, grid: tuple[int, int], prefix: int) -> None:
    _, _, _, reference, settings, _ = case
    module, weights, x = on_a_grid(tmp_path, case, grid, prefix)
    expect_reference(
        module, weights, x, lambda x, w: reference(x, w, grid=grid, prefix=prefix, **settings)
    )


@pytest.mark.parametrize("case", ON_A_GRID, ids=lambda case: f"{case[1]}-{case[2]}")
def test_other_settings_of_a_mixer_are_noticed(tmp_path: Path, case: Case) -> None:
    """The control: the reference with one setting changed is another function."""
    grid, prefix = (5, 7), 1
    _, _, _, reference, settings, changes = case
    module, weights, x = on_a_grid(tmp_path, case, grid, prefix)
    right = reference(x, weights, grid=grid, prefix=prefix, **settings)
    assert not differs(module, x, right)
    for change in (*changes, {"grid": (7, 5)}):
        wrong = reference(x, weights, **{"grid": grid, "prefix": prefix, **settings, **change})
        assert differs(module, x, wrong), change


@pytest.mark.parametrize("tokens", [1, 13])
def test_hydra_cosine(tmp_path: Path, tokens: int) -> None:
    module, weights, x = mixer(tmp_path, "hydra_cos", "HydraCosine", "", tokens)
    expect_reference(module, weights, x, variants.hydra_cosine)
    swapped = weights | {"k.weight": weights["q.weight"]}
    assert differs(module, x, variants.hydra_cosine(x, swapped))


@pytest.mark.parametrize("kv_heads", [1, 2, 4])
def test_grouped_queries(tmp_path: Path, kv_heads: int) -> None:
    statics = f"{HEADS}, {kv_heads}"
    module, weights, x = mixer(tmp_path, "grouped_query", "GroupedQueryAttention", statics, 13)
    expect_reference(module, weights, x, lambda x, w: variants.grouped_query(x, w, HEADS, kv_heads))
    module, weights, x = mixer(
        tmp_path, "grouped_query", "GroupedQueryLinearAttention", f"{statics}, relu", 13
    )
    pairs = variants.FEATURES["relu"]
    expect_reference(
        module, weights, x, lambda x, w: variants.grouped_query(x, w, HEADS, kv_heads, pairs)
    )
    assert differs(module, x, variants.grouped_query(x, weights, HEADS, kv_heads))


@pytest.mark.parametrize("branches", [2, 3])
def test_hydra_that_concatenates_its_branches(tmp_path: Path, branches: int) -> None:
    statics = f'{HEADS}, {branches}, fusion = "concat"'
    module, weights, x = mixer(tmp_path, "hydra", "HydraAttention", statics, 13)
    expect_reference(
        module, weights, x, lambda x, w: variants.concatenated_hydra(x, w, HEADS, branches)
    )
    swapped = weights | {"fuse.weight": weights["fuse.weight"].flip(1)}
    assert differs(module, x, variants.concatenated_hydra(x, swapped, HEADS, branches))


@pytest.mark.parametrize("tokens", [5, 16])
def test_cross_covariance(tmp_path: Path, tokens: int) -> None:
    """Fewer tokens than channels of a head, and more."""
    module, weights, x = mixer(tmp_path, "xcit", "CrossCovariance", f"{HEADS}", tokens)
    expect_reference(module, weights, x, lambda x, w: variants.cross_covariance(x, w, HEADS))
    hotter = weights | {"temperature": 2 * weights["temperature"]}
    assert differs(module, x, variants.cross_covariance(x, hotter, HEADS))


# EfficientViT


def multi_scale(folder: Path, scales: list[int]) -> tuple[nn.Module, dict[str, Tensor], Tensor]:
    """The attention of a 5x7 map of 16 channels in heads of 4, and its whole state dict."""
    shape = "[B, 16, 5, 7]"
    torch.manual_seed(0)
    module = built(
        folder,
        "std.efficientvit import MultiScaleAttention",
        f"(x: {shape}) -> {shape}",
        f"x |> MultiScaleAttention[4, scales = {scales}]@attn",
    )
    weights = scattered(module)
    for name, average in module.named_buffers():
        average.copy_(drawn(*average.shape).abs() + 0.5)
        weights[name] = average.clone()
    weights = {name.removeprefix("attn."): weight for name, weight in weights.items()}
    return module, weights, drawn(2, 16, 5, 7, seed=1)


@pytest.mark.parametrize("scales", [[], [5], [3, 5]])
def test_multi_scale_attention(tmp_path: Path, scales: list[int]) -> None:
    module, weights, x = multi_scale(tmp_path, scales)
    expect_reference(module, weights, x, lambda x, w: variants.multi_scale(x, w, 4, tuple(scales)))


def test_other_multi_scale_attention_is_noticed(tmp_path: Path) -> None:
    """The control: heads of another width, a larger eps, one scale for another."""
    module, weights, x = multi_scale(tmp_path, [3, 5])
    assert differs(module, x, variants.multi_scale(x, weights, 4, (3, 5), eps=1.0))
    kernels = ("filters.0.weight", "filters.1.weight")
    swapped = weights | dict(zip(kernels, [weights[k] for k in reversed(kernels)], strict=True))
    assert differs(module, x, variants.multi_scale(x, swapped, 4, (3, 5)))


def test_multi_scale_attention_without_scales_is_linear_attention(tmp_path: Path) -> None:
    """Rows of the 1x1 filter are q, k and v of one head after the other."""
    module, weights, x = multi_scale(tmp_path, [])
    rows = weights["qkv.weight"].flatten(1).reshape(4, 3, 4, 16)
    q, k, v = (torch.einsum("bcn,hec->bhne", x.flatten(2), rows[:, i]) for i in range(3))
    y = variants.kernel_attention(q, k, v, variants.FEATURES["relu"], eps=1e-15)
    y = variants.as_map(torch.cat(list(y.unbind(1)), -1), (5, 7))
    out = module.get_submodule("attn.out")
    torch.testing.assert_close(module(x), out(y), rtol=1e-9, atol=1e-10)


def test_focused_features_are_float32_under_bfloat16(tmp_path: Path) -> None:
    """Their powers and sums lose nothing beyond the rounding of what comes in."""
    focused = focused_features(tmp_path).float()
    x = drawn(3, 5, 6).bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        rounded = focused(x)
    torch.testing.assert_close(rounded.float(), focused(x.float()), rtol=1e-6, atol=1e-6)
    bare = variants.focused(x)  # the formula in bfloat16: the control
    assert (bare.float() - focused(x.float())).abs().max() > 1e-3
