"""`layers.float32`: a function that computes in float32 whatever surrounds it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

import linvit_dsl
from linvit_runtime import layers


def product(x: Tensor, y: Tensor) -> Tensor:
    return x @ y


def both_orders(x: Tensor, y: Tensor) -> tuple[Tensor, ...]:
    return x @ y, y @ x


@pytest.fixture
def pair() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(8, 8, generator=generator), torch.randn(8, 8, generator=generator)


def test_autocast_is_off_inside(pair: tuple[Tensor, Tensor]) -> None:
    wide = layers.float32(product)
    with torch.autocast("cpu", torch.bfloat16):
        inside, control = wide(*pair), product(*pair)
    assert control.dtype == torch.bfloat16
    assert inside.dtype == torch.float32
    assert torch.equal(inside, product(*pair))


def test_half_precision_is_widened_and_comes_back(pair: tuple[Tensor, Tensor]) -> None:
    x, y = (t.bfloat16() for t in pair)
    results = layers.float32(both_orders)(x, y)
    for result, (a, b) in zip(results, ((x, y), (y, x)), strict=True):
        assert torch.equal(result, (a.float() @ b.float()).bfloat16())
    with torch.autocast("cpu", torch.bfloat16):
        assert layers.float32(product)(x, y).dtype == torch.float32


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_elsewhere_nothing_happens(pair: tuple[Tensor, Tensor], dtype: torch.dtype) -> None:
    x, y = (t.to(dtype) for t in pair)
    result = layers.float32(product)(x, y)
    assert result.dtype == dtype
    assert torch.equal(result, x @ y)


def test_it_can_be_compiled_and_exported(pair: tuple[Tensor, Tensor]) -> None:
    class Wide(torch.nn.Module):
        @layers.float32
        def forward(self, x: Tensor, y: Tensor) -> Tensor:
            return x @ y

    program = torch.export.export(Wide(), pair)
    assert torch.equal(program.module()(*pair), pair[0] @ pair[1])
    compiled = torch.compile(Wide(), backend="eager", fullgraph=True)
    with torch.autocast("cpu", torch.bfloat16):
        assert compiled(*pair).dtype == torch.float32


SHAPE = "[B, 2, 20, 8]"
QKV = f"(q: {SHAPE}, k: {SHAPE}, v: {SHAPE}, omega: [16, 8])"


def module_of(folder: Path, imports: str, body: str, result: str = SHAPE) -> torch.nn.Module:
    path = folder / "spec.vit"
    path.write_text(f"{imports}\nmodel M{QKV} -> {result} {{\n  {body}\n}}\n", encoding="utf-8")
    return linvit_dsl.load(path).M().eval()


@pytest.mark.parametrize(
    ("imports", "body"),
    [
        ("from std.performer import FavorAttend", "return FavorAttend(q, k, v, omega)"),
        (
            "from std.nystromformer import NystromAttend",
            "return NystromAttend[4, grid = [4, 5]](q, k, v)",
        ),
    ],
)
def test_the_library_sums_in_float32(tmp_path: Path, imports: str, body: str) -> None:
    generator = torch.Generator().manual_seed(0)
    inputs = [torch.randn(3, 2, 20, 8, generator=generator) for _ in range(3)]
    inputs.append(torch.randn(16, 8, generator=generator))
    module = module_of(tmp_path, imports, body)
    with torch.autocast("cpu", torch.bfloat16):
        result = module(*inputs)
    assert result.dtype == torch.float32
    assert torch.equal(result, module(*inputs))


def test_a_block_without_the_mark_does_not(tmp_path: Path) -> None:
    """The control: these products are narrow."""
    generator = torch.Generator().manual_seed(0)
    inputs = [torch.randn(3, 2, 20, 8, generator=generator) for _ in range(3)]
    inputs.append(torch.randn(16, 8, generator=generator))
    body = 'return FavorPlus["token"](q, omega)'
    result = "[B, 2, 20, 16]"
    module = module_of(tmp_path, "from std.performer import FavorPlus", body, result)
    with torch.autocast("cpu", torch.bfloat16):
        narrow = module(*inputs)
    assert (narrow.float() - module(*inputs)).abs().max() > 1e-3
