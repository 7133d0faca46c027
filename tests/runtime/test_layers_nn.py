"""The pieces that generated code calls: attention with masks, stochastic depth, constants."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from linvit_runtime import layers

torch.set_num_threads(1)


def by_definition(
    q: Tensor, k: Tensor, v: Tensor, keep: Tensor | None, scale: float | None
) -> Tensor:
    """softmax(scale q k^T) v over the keys that are kept, one query at a time."""
    factor = q.shape[-1] ** -0.5 if scale is None else scale
    leading, (n, l) = q.shape[:-2], (q.shape[-2], k.shape[-2])  # noqa: E741 keys are l in the papers
    mask = torch.ones(*leading, n, l) if keep is None else keep.expand(*leading, n, l)
    out = q.new_zeros(*leading, n, v.shape[-1])
    for index in torch.cartesian_prod(*(torch.arange(size) for size in (*leading, n))).tolist():
        head, query = tuple(index[:-1]), index[-1]
        seen = [j for j in range(l) if mask[(*head, query, j)] != 0]
        if not seen:
            continue
        weights = torch.stack([(q[(*head, query)] @ k[(*head, j)]) * factor for j in seen])
        weights = weights.exp() / weights.exp().sum()
        out[(*head, query)] = sum(
            (weight * v[(*head, j)] for weight, j in zip(weights, seen, strict=True)),
            q.new_zeros(v.shape[-1]),
        )
    return out


@pytest.mark.parametrize("scale", [None, 0.3])
@pytest.mark.parametrize(
    ("leading", "mask"),
    [
        ((2,), None),
        ((2, 3), None),
        ((2, 2, 3), None),
        ((1, 2, 2, 3), None),
        ((2,), (2, 4, 5)),
        ((2, 3), (4, 5)),
        ((2, 3), (1, 1, 4, 5)),
        ((2, 3), (2, 1, 1, 5)),
        ((2, 3), (2, 3, 4, 1)),
        ((2, 2, 3), (1, 1, 3, 1, 5)),
        ((2, 2, 3), (2, 2, 3, 4, 5)),
    ],
)
def test_attend_is_its_definition(
    leading: tuple[int, ...], mask: tuple[int, ...] | None, scale: float | None
) -> None:
    torch.manual_seed(0)
    q, k, v = (
        torch.randn(*leading, count, width, dtype=torch.float64)
        for count, width in ((4, 6), (5, 6), (5, 3))
    )
    keep = None if mask is None else (torch.rand(mask) < 0.6).double()
    expected = by_definition(q, k, v, keep, scale)
    result = layers.attend(q, k, v, keep=keep, scale=scale)
    torch.testing.assert_close(result, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("with_keep", [False, True])
@pytest.mark.parametrize(
    ("leading", "added"),
    [
        ((2,), (4, 5)),
        ((2, 3), (3, 4, 5)),
        ((2, 3), (2, 1, 1, 5)),
        ((2, 2, 3), (2, 1, 4, 5)),
        ((2, 2, 3), (2, 1, 3, 4, 5)),
    ],
)
def test_a_bias_is_added_to_the_scores(
    leading: tuple[int, ...], added: tuple[int, ...], with_keep: bool
) -> None:
    torch.manual_seed(0)
    q, k, v = (
        torch.randn(*leading, count, width, dtype=torch.float64)
        for count, width in ((4, 6), (5, 6), (5, 3))
    )
    bias = torch.randn(added, dtype=torch.float64, requires_grad=True)
    keep = (torch.rand(4, 5) < 0.6).double() if with_keep else None
    result = layers.attend(q, k, v, keep=keep, bias=bias, scale=0.4)
    scores = 0.4 * q @ k.transpose(-1, -2) + bias
    if keep is not None:
        scores = scores.masked_fill(keep == 0, -torch.inf)
    expected = scores.softmax(-1).nan_to_num() @ v
    torch.testing.assert_close(result, expected, rtol=1e-12, atol=1e-12)
    (gradient,) = torch.autograd.grad(result.square().sum(), bias)
    assert gradient.isfinite().all()
    assert gradient.any()
    assert not torch.allclose(result, layers.attend(q, k, v, keep=keep, scale=0.4))


def test_a_query_that_sees_nothing_gives_zero_and_no_nan() -> None:
    q, k, v = (torch.randn(1, 2, 3, 4, requires_grad=True) for _ in range(3))
    keep = torch.ones(1, 2, 3, 3)
    keep[0, 1, 2] = 0
    out = layers.attend(q, k, v, keep=keep)
    assert not out[0, 1, 2].any()
    assert out[0, 1, 1].all()
    out.square().sum().backward()
    for x in (q, k, v):
        assert x.grad is not None
        assert torch.isfinite(x.grad).all()
    assert q.grad is not None
    assert not q.grad[0, 1, 2].any()


def test_what_is_not_kept_does_not_matter() -> None:
    q, k, v = (torch.randn(1, 2, 3, 4) for _ in range(3))
    keep = torch.tensor([1.0, 0.0, 1.0]).expand(1, 1, 3, 3)
    before = layers.attend(q, k, v, keep=keep)
    k[..., 1, :], v[..., 1, :] = 1e3, 1e3
    assert torch.equal(layers.attend(q, k, v, keep=keep), before)
    assert not torch.equal(layers.attend(q, k, v), before)


@pytest.mark.parametrize("shape", [(64, 1), (64, 3, 5)])
def test_drop_path_keeps_or_drops_whole_images(shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    layer = layers.DropPath(0.25)
    x = torch.rand(shape) + 1
    y = layer(x)
    kept = y.flatten(1).any(1)
    assert 0 < kept.sum() < len(x)
    torch.testing.assert_close(y[kept], x[kept] / 0.75)
    assert not y[~kept].any()


def test_drop_path_keeps_the_mean_and_rests_in_evaluation() -> None:
    torch.manual_seed(0)
    layer = layers.DropPath(0.3)
    assert layer(torch.ones(20_000, 1)).mean().item() == pytest.approx(1, abs=0.02)
    x = torch.randn(4, 3)
    assert layer.eval()(x) is x
    assert layers.DropPath(0)(x) is x


@pytest.mark.parametrize("rate", [-0.1, 1, 1.5])
def test_drop_path_refuses_what_is_no_rate(rate: float) -> None:
    with pytest.raises(ValueError, match=r"rate is a probability below 1, not"):
        layers.DropPath(rate)


def test_a_constant_follows_its_module_and_is_not_saved() -> None:
    block = nn.ModuleDict({"one": layers.Constant(torch.eye(3))})
    assert block.state_dict() == {}
    assert block.double()["one"]().dtype == torch.float64
    assert block.to("meta")["one"]().device.type == "meta"
    assert list(block.parameters()) == []


class Masked(nn.Module):
    """Attention over windows whose mask is a constant, as the library writes it."""

    def __init__(self) -> None:
        super().__init__()
        self.mask = layers.Constant(torch.ones(1, 1, 4, 1, 5))

    def forward(self, q: Tensor, k: Tensor) -> Tensor:
        return layers.attend(q, k, k, keep=self.mask())


def test_masked_attention_exports_with_a_batch_of_any_size() -> None:
    q, k = torch.randn(3, 2, 4, 6, 8), torch.randn(3, 2, 4, 5, 8)
    batch = torch.export.Dim("batch", min=1, max=64)
    module = Masked().eval()
    program = torch.export.export(module, (q, k), dynamic_shapes=({0: batch}, {0: batch}))
    for count in (1, 3, 7):
        q, k = torch.randn(count, 2, 4, 6, 8), torch.randn(count, 2, 4, 5, 8)
        torch.testing.assert_close(program.module()(q, k), module(q, k))
