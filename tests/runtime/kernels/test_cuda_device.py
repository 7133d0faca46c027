"""The CUDA path on a real device: what the simulator and the compile gate cannot see."""

from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch import Tensor

from linvit_runtime.kernels import dispatch, linear_attention, linear_attention_qkvpacked
from linvit_runtime.kernels.cuda.launch import CaptureProblem
from linvit_runtime.kernels.cuda.plan import SIMT_FEATURE_MAPS
from linvit_runtime.kernels.cuda.tensor_plan import TENSOR_FEATURE_MAPS, TENSOR_HEAD_DIMS
from tests.runtime.kernels import oracle
from tests.runtime.kernels.oracle import check_attention, each, inputs_of, random_inputs

pytestmark = pytest.mark.gpu


def on_device(q: Tensor, k: Tensor, v: Tensor, feature_map: str) -> Tensor:
    return linear_attention(q.cuda(), k.cuda(), v.cuda(), feature_map).cpu()


@pytest.mark.parametrize("feature_map", SIMT_FEATURE_MAPS)
@pytest.mark.parametrize(
    ("dtype", "tolerance"),
    [(torch.float32, 2e-6), (torch.bfloat16, 1e-2), (torch.float16, 2e-3)],
)
def test_it_is_the_definition(feature_map: str, dtype: torch.dtype, tolerance: float) -> None:
    with dispatch.recording() as used:
        check_attention(on_device, feature_map, dtype, tolerance)
        for names in used.values():
            assert names
            assert all(backend.startswith("numba-cuda-") for backend in names)


@pytest.mark.parametrize("width", [12, 32, 48, 64, 96, 128])
def test_image_sized_inputs_as_views_of_one_buffer(width: int) -> None:
    q, k, v = random_inputs((8, 197, 197, 6, width, width), torch.float32)
    views = each(lambda x: x, torch.stack([q, k, v], dim=2).cuda().unbind(2))
    expected = linear_attention(q.double(), k.double(), v.double())
    first = linear_attention(*views)
    assert oracle.relative_error(first.cpu(), expected) < 2e-6
    assert all(torch.equal(linear_attention(*views), first) for _ in range(3))


@pytest.mark.parametrize("feature_map", TENSOR_FEATURE_MAPS)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("width", TENSOR_HEAD_DIMS)
def test_tensor_cores_give_the_gradient_of_one_buffer(
    width: int, dtype: torch.dtype, feature_map: str
) -> None:
    inputs = inputs_of(feature_map, (2, 197, 197, 3, width, width), dtype)
    wide = each(lambda x: x.double().requires_grad_(), inputs)
    expected = oracle.attention(*wide, feature_map)
    right = torch.stack(torch.autograd.grad(expected.square().sum(), wide), 2)
    qkv = torch.stack(inputs, 2).cuda().requires_grad_()
    found: list[Tensor] = []
    with dispatch.recording() as used:
        for _ in range(2):
            out = linear_attention_qkvpacked(qkv, feature_map)
            found += torch.autograd.grad(out, qkv, 2 * out.detach())
        assert all(list(names) == ["numba-cuda-tensor"] for names in used.values())
    assert torch.equal(*found)
    tolerance = 3e-2 if dtype is torch.bfloat16 else 4e-3
    assert oracle.relative_error(found[0].cpu(), right) < tolerance


@pytest.mark.parametrize("width", [266, 352])  # 266 is the usual number of features of FAVOR+
def test_features_of_the_caller_may_be_many(width: int) -> None:
    inputs = inputs_of("identity", (2, 100, 70, 3, width, 64), torch.float32)
    leaves = each(Tensor.requires_grad_, inputs)
    wide = each(lambda x: x.detach().double().requires_grad_(), inputs)
    expected = oracle.attention(*wide, "identity")
    with dispatch.recording() as used:
        out = on_device(*leaves, "identity")
        gradients = torch.autograd.grad(out.sum(), leaves)
        assert all(list(names) == ["numba-cuda-simt"] for names in used.values())
    assert oracle.relative_error(out, expected) < 2e-6
    for found, right in zip(gradients, torch.autograd.grad(expected.sum(), wide), strict=True):
        assert oracle.relative_error(found, right) < 1e-5


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


def test_it_is_captured_in_a_graph() -> None:
    q, k, v = each(lambda x: x.cuda(), random_inputs((4, 64, 64, 6, 64, 64), torch.float32))
    linear_attention(q, k, v)  # compiles and loads
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        out = linear_attention(q, k, v)
    q.copy_(torch.randn_like(q))
    graph.replay()
    assert torch.equal(out, linear_attention(q, k, v))


def test_a_kernel_that_is_first_needed_during_a_capture_says_so() -> None:
    inputs = random_inputs((1, 5, 5, 1, 20, 28), torch.float32)  # sizes that nothing else uses
    q, k, v = each(lambda x: x.cuda(), inputs)
    torch.cuda.synchronize()
    with (
        pytest.raises(CaptureProblem, match="run the model once with the same shapes"),
        torch.cuda.graph(torch.cuda.CUDAGraph()),
    ):
        linear_attention(q, k, v)


def test_a_thread_that_never_used_the_device_may_launch() -> None:
    q, k, v = each(lambda x: x.cuda(), random_inputs((2, 9, 9, 2, 32, 32), torch.float32))
    expected = linear_attention(q, k, v)
    with ThreadPoolExecutor(1) as pool:
        out = pool.submit(linear_attention, q, k, v).result()
    assert torch.equal(out, expected)
