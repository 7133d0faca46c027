"""The CUDA path on a real device: what the simulator and the compile gate cannot see."""

import pytest
import torch
from torch import Tensor

from linvit_runtime.kernels import FEATURE_MAPS, backends_used, linear_attention
from tests.runtime.kernels import oracle
from tests.runtime.kernels.oracle import check_attention, each, random_inputs

pytestmark = pytest.mark.gpu


def on_device(q: Tensor, k: Tensor, v: Tensor, feature_map: str) -> Tensor:
    return linear_attention(q.cuda(), k.cuda(), v.cuda(), feature_map).cpu()


@pytest.mark.parametrize("feature_map", FEATURE_MAPS)
@pytest.mark.parametrize(
    ("dtype", "tolerance"),
    [(torch.float32, 2e-6), (torch.bfloat16, 1e-2), (torch.float16, 2e-3)],
)
def test_it_is_the_definition(feature_map: str, dtype: torch.dtype, tolerance: float) -> None:
    check_attention(on_device, feature_map, dtype, tolerance)
    assert "numba-cuda-simt" in backends_used()["forward"]


@pytest.mark.parametrize("width", [12, 32, 48, 64, 96, 128])
def test_image_sized_inputs_as_views_of_one_buffer(width: int) -> None:
    q, k, v = random_inputs((8, 197, 197, 6, width, width), torch.float32)
    views = each(lambda x: x, torch.stack([q, k, v], dim=2).cuda().unbind(2))
    expected = linear_attention(q.double(), k.double(), v.double())
    first = linear_attention(*views)
    assert oracle.relative_error(first.cpu(), expected) < 2e-6
    assert all(torch.equal(linear_attention(*views), first) for _ in range(3))


def test_it_follows_the_current_stream() -> None:
    q, k, v = each(lambda x: x.cuda(), random_inputs((4, 64, 64, 6, 64, 64), torch.float32))
    expected = linear_attention(q, k, v)
    torch.cuda.synchronize()
    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):
        late = torch.empty_like(q)
        torch.cuda._sleep(100_000_000)  # the copy below waits for this, and the kernel for the copy
        late.copy_(q)
        out = linear_attention(late, k, v)
    stream.synchronize()
    assert torch.equal(out, expected)
