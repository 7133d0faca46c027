"""Linear attention by its definition: all N x L weights, in float64, without features or state.

For split_relu the weights need no feature map at all: phi(q).phi(k) = sum_c max(q_c k_c, 0).
"""

import math
from collections.abc import Callable, Iterable

import torch
from torch import Tensor

from linvit_runtime.kernels import FEATURE_MAPS

HALF_PRECISION = {
    torch.bfloat16: ("split_relu", "softmax"),
    torch.float16: ("elu_plus_one", "identity"),
}
"""Feature maps to be tried in half precision: a kernel loads and stores alike for all of them, and
takes seconds to compile."""

Shape = tuple[int, int, int, int, int, int]
Inputs = tuple[Tensor, Tensor, Tensor]


def weights(q: Tensor, k: Tensor, feature_map: str) -> Tensor:
    """Return A `[B, H, N, L]` with A_ij = phi(q_i).phi(k_j)."""
    q, k = q.double(), k.double()
    if feature_map == "split_relu":
        products = q[:, :, None] * k[:, None]  # [B, N, L, H, D]
        return products.relu().sum(-1).permute(0, 3, 1, 2)
    if feature_map == "relu":
        q, k = q.relu(), k.relu()
    if feature_map == "elu_plus_one":
        q, k = (torch.where(x > 0, x + 1, torch.exp(x)) for x in (q, k))
    if feature_map == "softmax":
        q, k = (x.exp() / x.exp().sum(-1, keepdim=True) for x in (q, k))
    return torch.einsum("bnhd,blhd->bhnl", q, k)


def attention(
    q: Tensor, k: Tensor, v: Tensor, feature_map: str = "split_relu", eps: float = 1e-6
) -> Tensor:
    """Return `[B, N, H*E]` float64, differentiable by autograd."""
    A = weights(q, k, feature_map)
    num = torch.einsum("bhnl,blhe->bnhe", A, v.double())
    den = A.sum(-1).permute(0, 2, 1).unsqueeze(-1)
    return (num / (den + eps)).flatten(2)


def maps_and_dtypes(dtypes: Iterable[torch.dtype]) -> list[tuple[str, torch.dtype]]:
    """Return every feature map with every dtype, in half precision with one of its own."""
    return [(name, dtype) for dtype in dtypes for name in HALF_PRECISION.get(dtype, FEATURE_MAPS)]


def relative_error(actual: Tensor, expected: Tensor) -> float:
    """Return |actual - expected| / |expected|: 0 where they are equal, infinite for a NaN."""
    difference = (actual.double() - expected).norm().item()
    if difference == 0:
        return 0.0
    return math.inf if math.isnan(difference) else difference / expected.norm().item()


# batch, queries, keys, heads, width of q and k, width of v: ragged, cross-attention, one of each
SHAPES: tuple[Shape, ...] = (
    (2, 5, 5, 3, 4, 4),
    (1, 1, 1, 1, 1, 1),
    (2, 7, 12, 2, 5, 3),
    (3, 33, 1, 1, 8, 14),
    (1, 65, 65, 2, 12, 12),
)


def random_inputs(shape: Shape, dtype: torch.dtype = torch.float64) -> Inputs:
    """Return q, k and v of that shape, the same ones in every run."""
    batch, num_queries, num_keys, num_heads, head_dim, value_dim = shape
    generator = torch.Generator().manual_seed(0)
    sizes = ((num_queries, head_dim), (num_keys, head_dim), (num_keys, value_dim))
    q, k, v = (
        torch.randn(batch, n, num_heads, d, generator=generator, dtype=torch.float64).to(dtype)
        for n, d in sizes
    )
    return q, k, v


def inputs_of(feature_map: str, shape: Shape, dtype: torch.dtype = torch.float64) -> Inputs:
    """Return `random_inputs` such as the map takes: features of the caller are not negative."""
    q, k, v = random_inputs(shape, dtype)
    return (q.abs(), k.abs(), v) if feature_map == "identity" else (q, k, v)


def each(change: Callable[[Tensor], Tensor], inputs: Iterable[Tensor]) -> Inputs:
    """Change q, k and v alike."""
    q, k, v = map(change, inputs)
    return q, k, v


def random_leaves(shape: Shape, dtype: torch.dtype = torch.float64) -> Inputs:
    """Return `random_inputs` that ask for gradients."""
    return each(Tensor.requires_grad_, random_inputs(shape, dtype))


def check_attention(
    attend: Callable[..., Tensor], feature_map: str, dtype: torch.dtype, tolerance: float
) -> None:
    """Compare `attend` and its gradients with the oracle, on every shape; AssertionError if off.

    A query of zeros (for identity, near zero) is among the inputs, so eps counts; its output and
    gradients must be finite.
    """
    for shape in SHAPES:
        inputs = inputs_of(feature_map, shape, dtype)
        if shape[1] > 1:
            # Where features are what is given, the slope at 0 is 1/eps: too steep for float16.
            inputs[0][:, 0] *= 0.01 if feature_map == "identity" else 0
        batch, num_queries, _, num_heads, _, value_dim = shape
        grad_out = torch.empty(batch, num_queries, num_heads * value_dim, dtype=dtype)
        grad_out.normal_(generator=torch.Generator().manual_seed(1))
        results: list[tuple[Tensor, Tensor]] = []
        for function in (attend, attention):
            leaves = each(lambda x: x.clone().requires_grad_(), inputs)
            out = function(*leaves, feature_map)
            gradients = torch.autograd.grad(out, leaves, grad_out.to(out.dtype))
            # In one vector: dq and dk can cancel to nothing beside dv, as they do for one key.
            results.append((out.detach(), torch.cat([x.double().flatten() for x in gradients])))
        for name, actual, expected in zip(("output", "gradient"), *results, strict=True):
            error = relative_error(actual, expected.double())
            assert error < tolerance, f"{feature_map} {shape}: {name} is off by {error:.1e}"
