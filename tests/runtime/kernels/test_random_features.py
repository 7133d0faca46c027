"""FAVOR+: what the library's text says, what it estimates, and that it is stable."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from linvit_dsl.check import elaborate, open_program
from linvit_runtime.kernels import backends_used, favor_features, linear_attention
from tests.codegen.interpreter import interpret
from tests.runtime.kernels.oracle import each, random_inputs, random_leaves, relative_error

SHAPE = (2, 9, 13, 3, 4, 5)


def directions(num_features: int, width: int) -> Tensor:
    generator = torch.Generator().manual_seed(7)
    return torch.randn(num_features, width, generator=generator, dtype=torch.float64)


def favor(
    q: Tensor, k: Tensor, v: Tensor, projection: Tensor, eps: float = 0.0, order: str = "linear"
) -> Tensor:
    return linear_attention(q, k, v, "favor", eps, order, projection)


@pytest.mark.parametrize("order", ["linear", "quadratic"])
def test_it_is_what_the_library_says(order: str, tmp_path: Path) -> None:
    path = tmp_path / "favor.vit"
    path.write_text("""
from std.performer import FavorAttend
model Favor(
  q: [B, 3, 9, 4], k: [B, 3, 13, 4], v: [B, 3, 13, 5], omega: [11, 4],
) -> [B, 3, 9, 5] {
  return FavorAttend(q, k, v, omega)
}
""")
    graph = elaborate(open_program(path), None, {}).graph
    leaves = random_leaves(SHAPE)
    omega = directions(11, 4).requires_grad_()
    heads_first = [x.transpose(1, 2) for x in leaves]
    expected = interpret(graph, [*heads_first, omega], {})[0].transpose(1, 2).flatten(2)
    out = favor(*leaves, omega, order=order)
    pairs = [(out, expected)]
    gradients = [torch.autograd.grad(x.cos().sum(), (*leaves, omega)) for x in (out, expected)]
    pairs += zip(*gradients, strict=True)
    for actual, reference in pairs:
        assert relative_error(actual.detach(), reference.detach()) < 1e-12
    # Control: an eps is felt, and so is one peak for queries and keys.
    assert relative_error(favor(*leaves, omega, eps=1e-6).detach(), expected.detach()) > 1e-8
    fq, fk = (favor_features(x, omega, "head") for x in leaves[:2])
    wrong = linear_attention(fq, fk, leaves[2], "identity", 0.0)
    assert relative_error(wrong.detach(), expected.detach()) > 1e-6


def test_it_estimates_softmax_attention() -> None:
    # The floor is felt where features are small: where tokens are long, or directions very many.
    q, k, v = random_inputs((1, 9, 9, 2, 8, 8))
    q, k = q / 2, k / 2
    weights = torch.einsum("bnhd,blhd->bhnl", q, k).div(8**0.5).softmax(-1)
    expected = torch.einsum("bhnl,blhe->bnhe", weights, v).flatten(2)
    few, many = (favor(q, k, v, directions(number, 8)) for number in (8, 20_000))
    assert relative_error(many, expected) < 0.03
    assert relative_error(few, expected) > 0.2


def test_images_do_not_touch_each_other_and_large_numbers_fit() -> None:
    q, k, v = random_inputs((2, 9, 9, 2, 8, 8), torch.float32)
    q[1], k[1] = 100 * q[1], 100 * k[1]
    out = favor(q, k, v, directions(16, 8))
    assert out.isfinite().all()
    alone = favor(*each(lambda x: x[:1], (q, k, v)), directions(16, 8))
    torch.testing.assert_close(out[:1], alone, rtol=1e-6, atol=1e-6)


def test_features_for_heads_of_64_channels_take_the_kernel() -> None:
    num_features = 266  # 64 ln(64), as the paper proposes
    inputs = random_inputs((1, 20, 20, 1, 64, 64), torch.float32)
    omega = directions(num_features, 64)
    expected = favor(*each(Tensor.double, inputs), omega)
    out = favor(*inputs, omega)
    assert relative_error(out, expected) < 5e-6
    assert "numba-cpu" in backends_used()["forward"]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_features_are_single_precision_under_autocast(dtype: torch.dtype) -> None:
    inputs = random_inputs(SHAPE, torch.float32)
    narrow = each(lambda x: x.to(dtype), inputs)
    omega = directions(11, 4).float()
    expected = favor(*each(Tensor.float, narrow), omega).to(dtype)
    assert torch.equal(favor(*narrow, omega), expected)
    with torch.autocast("cpu", dtype):
        out = favor(*inputs, omega)
        fq, fk = (favor_features(x, omega, "head") for x in narrow[:2])
        wide = linear_attention(fq, fk, narrow[2], "identity")
    assert torch.equal(out, expected)
    assert wide.dtype == torch.float32


@pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")
def test_it_compiles_without_graph_breaks() -> None:
    torch._dynamo.reset()
    compiled = torch.compile(favor, fullgraph=True, backend="aot_eager")
    leaves = random_leaves(SHAPE, torch.float32)
    outs = [function(*leaves, directions(11, 4)) for function in (favor, compiled)]
    gradients = [torch.autograd.grad(out.square().sum(), leaves) for out in outs]
    assert torch.equal(*outs)
    assert all(map(torch.equal, *gradients))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"feature_map": "favor"}, r"needs projection=, random directions \[M, 4\]"),
        ({"projection": directions(3, 4)}, "'split_relu' takes no projection; 'favor' does"),
        (
            {"feature_map": "favor", "projection": directions(3, 5)},
            r"projection is \[3, 5\] and q is \[2, 9, 3, 4\]: .* as wide as a head, \[M, 4\]",
        ),
        (
            {"feature_map": "favor", "projection": directions(3, 4).to("meta")},
            "q is on cpu and projection is on meta; move one",
        ),
    ],
)
def test_a_projection_belongs_to_favor_and_fits(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        linear_attention(*random_inputs(SHAPE), **options)
