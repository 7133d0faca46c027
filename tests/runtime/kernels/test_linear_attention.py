"""What linear attention computes: against the O(N L) definition in float64, and by its laws."""

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.autograd import forward_ad

from linvit_runtime.kernels import (
    FEATURE_MAPS,
    linear_attention,
    linear_attention_qkvpacked,
)
from tests.runtime.kernels import oracle
from tests.runtime.kernels.oracle import (
    Inputs,
    Shape,
    check_attention,
    each,
    inputs_of,
    maps_and_dtypes,
    random_inputs,
    random_leaves,
)

TOLERANCES = {  # of the relative error; half precision is the rounding of inputs and outputs
    torch.float64: 1e-13,
    torch.float32: 2e-6,
    torch.bfloat16: 1e-2,
    torch.float16: 2e-3,
}


@pytest.mark.parametrize(("feature_map", "dtype"), maps_and_dtypes(TOLERANCES), ids=str)
def test_it_is_the_definition(feature_map: str, dtype: torch.dtype) -> None:
    check_attention(linear_attention, feature_map, dtype, TOLERANCES[dtype])


def eager(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    feature_map: str,
    *,
    negative: float = 1.0,
    eps: float = 1e-6,
    mix_heads: bool = False,
    detach: bool = False,
) -> Tensor:
    """Compute split-relu attention as one would by hand, with room for mistakes."""
    features_q, features_k = (torch.cat([x.relu(), negative * (-x).relu()], dim=-1) for x in (q, k))
    S = torch.einsum("blhf,blhe->bhfe", features_k, v)
    z = features_k.sum(1).detach() if detach else features_k.sum(1)
    den = torch.einsum("bnhf,bhf->bnh", features_q, z).unsqueeze(-1) + eps
    out = torch.einsum("bnhf,bhfe->bnhe", features_q, S) / den
    return out.transpose(2, 3).flatten(2) if mix_heads else out.flatten(2)


def test_the_check_passes_a_correct_one() -> None:
    check_attention(eager, "split_relu", torch.float64, 1e-13)


@pytest.mark.parametrize(
    "mistake",
    [
        {"negative": 0.0},
        {"negative": 0.999},
        {"eps": 0.0},
        {"eps": 2e-6},
        {"mix_heads": True},
        {"detach": True},
    ],
)
def test_the_check_fails_a_broken_one(mistake: dict[str, Any]) -> None:
    with pytest.raises(AssertionError, match="is off by"):
        check_attention(
            lambda q, k, v, feature_map: eager(q, k, v, feature_map, **mistake),
            "split_relu",
            torch.float64,
            1e-13,
        )


@pytest.mark.parametrize("feature_map", FEATURE_MAPS)
def test_gradcheck(feature_map: str) -> None:
    inputs = each(Tensor.requires_grad_, inputs_of(feature_map, (2, 5, 7, 2, 4, 3)))

    def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return linear_attention(q, k, v, feature_map)

    assert torch.autograd.gradcheck(attend, inputs)


class TestLaws:
    """architectures.md 2.2, in float64."""

    def setup_method(self) -> None:
        self.q, self.k, self.v = random_inputs((2, 9, 13, 3, 8, 8))

    def attend(
        self,
        q: Tensor | None = None,
        k: Tensor | None = None,
        v: Tensor | None = None,
        eps: float = 0.0,
    ) -> Tensor:
        q = self.q if q is None else q
        k = self.k if k is None else k
        v = self.v if v is None else v
        return linear_attention(q, k, v, eps=eps)

    def close(self, actual: Tensor, expected: Tensor) -> None:
        torch.testing.assert_close(actual, expected, rtol=1e-12, atol=1e-13)

    def test_the_scale_of_a_query_does_not_matter(self) -> None:
        factor = torch.rand(2, 9, 3, 1, dtype=torch.float64) + 0.1
        self.close(self.attend(q=factor * self.q), self.attend())

    def test_the_scale_of_all_keys_does_not_matter(self) -> None:
        self.close(self.attend(k=3.7 * self.k), self.attend())

    def test_the_order_of_keys_does_not_matter(self) -> None:
        order = torch.randperm(13)
        self.close(self.attend(k=self.k[:, order], v=self.v[:, order]), self.attend())

    def test_queries_are_answered_one_by_one(self) -> None:
        order = torch.randperm(9)
        self.close(self.attend(q=self.q[:, order]), self.attend()[:, order])

    def test_the_output_is_an_average_of_the_values(self) -> None:
        out = self.attend().unflatten(2, (3, 8))
        smallest, largest = self.v.amin(1, keepdim=True), self.v.amax(1, keepdim=True)
        assert (out >= smallest - 1e-12).all()
        assert (out <= largest + 1e-12).all()

    def test_a_constant_value_comes_back_but_for_eps(self) -> None:
        eps = 0.5
        out = self.attend(v=torch.full_like(self.v, 3.0), eps=eps).unflatten(2, (3, 8))
        den = oracle.weights(self.q, self.k, "split_relu").sum(-1).transpose(1, 2)
        self.close(out, (3.0 * den / (den + eps)).unsqueeze(-1).expand_as(out))

    def test_a_query_of_zeros_gives_zero(self) -> None:
        q = self.q.clone()
        q[:, 4] = 0
        out = self.attend(q=q, eps=1e-6)
        assert torch.equal(out[:, 4], torch.zeros_like(out[:, 4]))
        assert out.isfinite().all()

    def test_one_key_answers_every_query(self) -> None:
        q, k = self.q.clone(), self.k[:, :1].clone()
        q[..., 0], k[..., 0] = q[..., 0].abs(), k[..., 0].abs()  # signs meet in one channel
        out = self.attend(q=q, k=k, v=self.v[:, :1])
        self.close(out, self.v[:, :1].flatten(2).expand_as(out))

    def test_the_rank_is_at_most_the_number_of_features(self) -> None:
        q, k, _ = random_inputs((1, 40, 40, 1, 4, 4))
        identity = torch.eye(40, dtype=torch.float64).view(1, 40, 1, 40)
        weights = linear_attention(q, k, identity, eps=1e-12)[0]  # row i: the weights of query i
        assert torch.linalg.matrix_rank(weights) <= 8


def views(shape: Shape, dtype: torch.dtype) -> Iterator[Inputs]:
    """Yield the same q, k and v in one contiguous and four other layouts."""
    contiguous = random_inputs(shape, dtype)
    yield contiguous
    yield each(lambda x: x, torch.stack(contiguous, dim=2).unbind(2))  # [B, N, 3, H, D]
    yield each(lambda x: x.transpose(1, 2).contiguous().transpose(1, 2), contiguous)
    yield each(lambda x: x.mT.contiguous().mT, contiguous)  # channels apart
    yield each(lambda x: torch.cat([x, x], dim=3)[..., : x.shape[3]], contiguous)


@pytest.mark.parametrize("feature_map", FEATURE_MAPS)
def test_the_layout_of_the_inputs_does_not_matter(feature_map: str) -> None:
    results: list[tuple[Tensor, ...]] = []
    for inputs in views((2, 9, 9, 3, 8, 8), torch.float32):
        assert inputs[0].is_contiguous() == (not results)
        leaves = each(lambda x: x.detach().requires_grad_(), inputs)
        out = linear_attention(*leaves, feature_map)
        assert out.is_contiguous()
        results.append((out, *torch.autograd.grad(out.square().sum(), leaves)))
    for other in results[1:]:
        for actual, expected in zip(other, results[0], strict=True):
            assert torch.equal(actual, expected)


def test_the_layout_of_the_output_gradient_does_not_matter() -> None:
    leaves = random_leaves((2, 9, 9, 3, 8, 8), torch.float32)
    out = linear_attention(*leaves)
    constant = torch.autograd.grad(out.sum(), leaves, retain_graph=True)  # a stride of zero
    ones = torch.autograd.grad(out, leaves, torch.ones_like(out))
    assert all(map(torch.equal, constant, ones))


def test_half_precision_stays_finite_over_many_tokens() -> None:
    # Unscaled, phi(q).z is near N D / pi = 330,000 here, and float16 ends at 65,504.
    leaves = random_leaves((1, 16384, 16384, 1, 64, 64), torch.float16)
    out = linear_attention(*leaves)
    gradients = torch.autograd.grad(out, leaves, torch.ones_like(out))
    assert all(x.isfinite().all() for x in (out, *gradients))
    q, k, v = leaves
    expected = oracle.attention(q[:, :8].detach(), k.detach(), v.detach())
    assert oracle.relative_error(out[:, :8].detach(), expected) < 2e-3


def test_an_image_does_not_depend_on_its_batch() -> None:
    q, k, v = random_inputs((4, 17, 17, 2, 16, 16), torch.float32)
    together = linear_attention(q, k, v)
    images = [each(lambda x, i=i: x[i : i + 1], (q, k, v)) for i in range(4)]
    alone = torch.cat([linear_attention(*image) for image in images])
    torch.testing.assert_close(together, alone, rtol=1e-6, atol=1e-6)
    poisoned = each(lambda x: torch.cat([x[:1], torch.full_like(x[1:], torch.nan)]), (q, k, v))
    assert torch.equal(linear_attention(*poisoned)[:1], together[:1])


def test_it_is_deterministic() -> None:
    leaves = random_leaves((4, 17, 17, 2, 16, 16), torch.float32)
    runs = []
    for _ in range(3):
        out = linear_attention(*leaves)
        runs.append((out, *torch.autograd.grad(out.square().sum(), leaves)))
    assert all(all(map(torch.equal, run, runs[0])) for run in runs)


@pytest.mark.parametrize("feature_map", FEATURE_MAPS)
def test_a_nan_is_not_swallowed(feature_map: str) -> None:
    q, k, v = random_inputs((2, 5, 5, 2, 4, 4), torch.float32)
    k[0, 2, 1, 3] = torch.nan
    out = linear_attention(q, k, v, feature_map).unflatten(2, (2, 4))
    assert out[0, :, 1].isnan().all()
    assert out[1].isfinite().all()
    assert out[0, :, 0].isfinite().all()


@pytest.mark.parametrize("shape", [(0, 5, 5, 2, 4, 4), (2, 0, 5, 2, 4, 4), (2, 5, 0, 2, 4, 4)])
def test_nothing_in_nothing_out(shape: Shape) -> None:
    leaves = random_leaves(shape, torch.float32)
    out = linear_attention(*leaves)
    assert out.shape == (shape[0], shape[1], 8)
    assert torch.equal(out, torch.zeros_like(out))
    gradients = torch.autograd.grad(out.sum(), leaves)
    assert all(torch.equal(x, torch.zeros_like(x)) for x in gradients)


def test_only_inputs_and_state_are_saved_for_backward() -> None:
    q, k, v = random_leaves((2, 50, 60, 3, 8, 5), torch.float32)
    saved = []
    with torch.autograd.graph.saved_tensors_hooks(lambda x: saved.append(x) or x, lambda x: x):
        linear_attention(q, k, v)
    inputs, state = saved[:3], saved[3:]
    assert [x.data_ptr() for x in inputs] == [x.data_ptr() for x in (q, k, v)]
    assert [x.shape for x in state] == [(2, 3, 16, 5), (2, 3, 16)]


@pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated")  # torch's own use of it
@pytest.mark.parametrize("packed", [False, True])
def test_a_forward_mode_derivative_is_refused(packed: bool) -> None:
    """It would be zero, silently: the operators have no rule for tangents."""
    q, k, v = oracle.random_inputs((1, 5, 5, 2, 4, 4))
    qkv = torch.stack((q, k, v), 2)

    def attend(qkv: Tensor) -> Tensor:
        if packed:
            return linear_attention_qkvpacked(qkv)
        q, k, v = qkv.unbind(2)
        return linear_attention(q, k, v)

    with forward_ad.dual_level():
        assert attend(qkv).isfinite().all()  # not a tangent in sight
        with pytest.raises(NotImplementedError, match="no forward-mode derivative"):
            attend(forward_ad.make_dual(qkv, qkv))


def test_what_is_no_tensor_is_refused() -> None:
    q, k, v = oracle.random_inputs((1, 5, 5, 2, 4, 4))
    wrong: Any = v.numpy()
    with pytest.raises(TypeError, match=r"v is a ndarray; it must be a torch\.Tensor"):
        linear_attention(q, k, wrong)
    with pytest.raises(TypeError, match=r"qkv is a ndarray; it must be a torch\.Tensor"):
        linear_attention_qkvpacked(wrong)


def test_a_second_derivative_is_refused() -> None:
    leaves = random_leaves((1, 3, 3, 1, 2, 2))
    out = linear_attention(*leaves).sum()
    with pytest.raises(RuntimeError, match="no second derivative"):
        torch.autograd.grad(out, leaves, create_graph=True)
