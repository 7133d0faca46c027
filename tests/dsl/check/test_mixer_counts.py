"""Parameters and MACs of Linformer, Performer, Nystromformer and Hybrid, by hand formulas.

Legend: d channels, h heads of e = d / h, N patches, n = N + 1 tokens with the class token. A MAC is
one multiply-add of a product of matrices or a convolution.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import ceil

import pytest

from linvit_dsl.check import elaborate, find_spec, open_program
from linvit_dsl.graph.cost import cost


@dataclass(frozen=True)
class Size:
    """A ViT with class token and final norm, and four times as wide an MLP."""

    d: int = 384
    h: int = 6
    depth: int = 12
    image: int = 32
    patch: int = 4
    classes: int = 100

    @property
    def side(self) -> int:
        """Patches in a row."""
        return self.image // self.patch

    @property
    def N(self) -> int:  # noqa: N802
        """Patches."""
        return self.side**2

    @property
    def n(self) -> int:
        """Tokens."""
        return self.N + 1


SMALL = Size()
IMAGENET = Size(image=224, patch=16)
TINY = Size(d=48, h=4, depth=4, classes=10)
Formula = Callable[[Size], int]


def count(spec: str, model: str) -> tuple[int, int]:
    """Parameters and MACs at batch 1."""
    total = cost(elaborate(open_program(find_spec(spec)[0]), model).graph)
    return total.params, total.macs


def params(size: Size, extra: int = 0) -> int:
    """Of the plain ViT, and `extra` ones in each layer."""
    d = size.d
    stem = 3 * size.patch**2 * d + d + d + size.n * d
    head = 2 * d + d * size.classes + size.classes
    return stem + size.depth * (12 * d**2 + 13 * d + extra) + head


def macs(size: Size, mixing: int) -> int:
    """Of a ViT whose mixers take `mixing` besides the four projections d -> d."""
    d = size.d
    layer = 12 * size.n * d**2 + mixing
    return size.N * 3 * size.patch**2 * d + size.depth * layer + d * size.classes


def linformer_params(size: Size, k: int = 64) -> int:
    return params(size, 2 * (size.n * k + k))


def linformer_macs(size: Size, k: int = 64) -> int:
    """Project keys and values along the tokens, then scores and values against k of them."""
    return macs(size, 4 * size.n * k * size.d)


def performer_params(size: Size) -> int:
    return params(size)


def performer_macs(size: Size, m: int = 64) -> int:
    """Features of queries and of keys, the state, and reading it."""
    return macs(size, 4 * size.n * m * size.d)


def nystrom_params(size: Size) -> int:
    return params(size, 33 * size.h)


def nystrom_macs(size: Size, landmarks: int = 32, iterations: int = 6) -> int:
    d, n, h, m = size.d, size.n, size.h, landmarks + 1
    inverse = 4 * iterations * h * m**3
    return macs(size, 4 * n * m * d + m**2 * d + h * n * m**2 + inverse + 33 * n * d)


def hybrid_params(size: Size) -> int:
    return params(size, 3 * (size.d + 1))


def hybrid_macs(size: Size, window: int = 4, rates: tuple[int, ...] = (1, 2)) -> int:
    """Windows on the padded grid, linear attention over all tokens, and the gate."""
    d = size.d
    padded = [(ceil(size.side / (window * rate)) * window * rate) ** 2 for rate in rates]
    windows = sum(2 * places * window**2 * d for places in padded)
    return macs(size, windows + 4 * size.n * d * d // size.h + size.N * d * (len(rates) + 1))


@pytest.mark.parametrize("size", [SMALL, IMAGENET, TINY], ids=["32 px", "224 px", "hidden 48"])
@pytest.mark.parametrize(
    ("spec", "model", "parameters", "formula"),
    [
        ("linformer", "LinformerViT", linformer_params, linformer_macs),
        ("performer", "PerformerViT", performer_params, performer_macs),
        ("nystromformer", "NystromformerViT", nystrom_params, nystrom_macs),
        ("hybrid", "HybridViT", hybrid_params, hybrid_macs),
    ],
)
def test_costs_are_those_of_the_formulas(
    spec: str, model: str, parameters: Formula, formula: Formula, size: Size
) -> None:
    name = model + {SMALL: "", IMAGENET: "224", TINY: "Tiny"}[size]
    if spec == "hybrid" and size == IMAGENET:
        assert count(spec, name) == (parameters(size), hybrid_macs(size, window=7))
        assert formula(size) != hybrid_macs(size, window=7), "the control: another window"
    else:
        assert count(spec, name) == (parameters(size), formula(size))


@pytest.mark.parametrize(
    ("spec", "model", "expected"),
    [
        ("linformer", "LinformerViT", 21_478_372),
        ("performer", "PerformerViT", 21_376_996),
        ("nystromformer", "NystromformerViT", 21_379_372),
        ("hybrid", "HybridViT", 21_390_856),
        ("linear", "LinearViTTiny", 119_194),
        ("performer", "PerformerViTTiny", 119_194),
        ("linformer", "LinformerViTTiny", 152_986),
        # One E and its bias, for all layers and for keys and values: 65 * 64 + 64.
        ("linformer", "LinformerViTLayerwise", 21_376_996 + 4_224),
        ("nystromformer", "NystromformerViTTiny", 119_722),
        ("hybrid", "HybridViTTiny", 119_782),
        ("ripplevit", "RippleViTTiny", 146_074),
        ("hydravit", "HydraViTTiny", 126_170),
    ],
)
def test_parameters(spec: str, model: str, expected: int) -> None:
    assert count(spec, model)[0] == expected


@pytest.mark.parametrize(
    ("spec", "model", "gflop"),
    [
        ("performer", "PerformerViT", "2.916"),
        ("hybrid", "HybridViT", "2.956"),
        ("hybrid", "HybridViT224", "9.306"),
    ],
)
def test_gflop_round_as_published_in_the_design(spec: str, model: str, gflop: str) -> None:
    assert f"{2 * count(spec, model)[1] / 1e9:.3f}" == gflop


def test_nystrom_is_dearer_than_softmax_where_models_are_tiny() -> None:
    assert round(2 * count("nystromformer", "NystromformerViTTiny")[1] / 1e6) == 49
    assert round(2 * count("vit_tiny_cifar10", "TinyViT")[1] / 1e6) == 18


def test_linformer_grows_by_the_same_for_every_row() -> None:
    program = open_program(find_spec("linformer")[0])
    totals = [
        cost(elaborate(program, "LinformerViT", {"k": str(k)}).graph).params for k in (8, 9, 10)
    ]
    assert totals[1] - totals[0] == totals[2] - totals[1] == 12 * 2 * (65 + 1)
    shared = cost(elaborate(program, "LinformerViT", {"share": '"kv"'}).graph).params
    assert shared == params(SMALL, 65 * 64 + 64)
