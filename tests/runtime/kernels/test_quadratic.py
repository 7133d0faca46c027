"""Linear attention with all pairs of tokens first: the same function as with the state first."""

import pytest
import torch
from torch import Tensor

from linvit_runtime.kernels import FEATURE_MAPS, linear_attention
from linvit_runtime.kernels.quadratic import attention_by_weights
from tests.runtime.kernels.oracle import check_attention, each, random_inputs, random_leaves

TOLERANCES = {torch.float64: 1e-13, torch.float32: 2e-6, torch.bfloat16: 1e-2}
SHAPE = (2, 7, 12, 2, 5, 3)


@pytest.mark.parametrize("feature_map", FEATURE_MAPS)
@pytest.mark.parametrize("dtype", TOLERANCES)
def test_it_is_the_definition(feature_map: str, dtype: torch.dtype) -> None:
    def quadratic(q: Tensor, k: Tensor, v: Tensor, feature_map: str) -> Tensor:
        return linear_attention(q, k, v, feature_map, order="quadratic")

    check_attention(quadratic, feature_map, dtype, TOLERANCES[dtype])


def test_the_check_fails_another_feature_map() -> None:
    with pytest.raises(AssertionError, match="is off by"):
        check_attention(
            lambda q, k, v, feature_map: attention_by_weights(q, k, v, "relu", 1e-6),
            "split_relu",
            torch.float64,
            1e-13,
        )


def test_it_is_float32_inside_under_autocast() -> None:
    q, k, v = random_inputs(SHAPE, torch.float32)
    narrow = each(Tensor.bfloat16, (q, k, v))
    expected = linear_attention(*narrow, order="quadratic")
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out = linear_attention(q, k, v, order="quadratic")
    assert out.dtype == torch.bfloat16
    assert torch.equal(out, expected)


def test_it_is_differentiated_twice() -> None:
    q, k, v = random_leaves(SHAPE)

    def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return attention_by_weights(q, k, v, "elu_plus_one", 1e-6)

    assert torch.autograd.gradgradcheck(attend, (q, k, v))


def test_another_order_is_refused() -> None:
    q, k, v = random_inputs(SHAPE)
    with pytest.raises(ValueError, match="order is 'cubic'; it must be linear or quadratic"):
        linear_attention(q, k, v, order="cubic")
