"""`linear_attention_qkvpacked`: against the definition, and how its operator behaves in torch."""

from collections.abc import Callable
from typing import Any
from unittest import mock

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from linvit_runtime.kernels import (
    FEATURE_MAPS,
    backends_used,
    dispatch,
    library,
    linear_attention,
    linear_attention_qkvpacked,
)
from linvit_runtime.kernels.cuda.choose import Call
from linvit_runtime.kernels.cuda.plan import choose_backward_plan
from tests.runtime.kernels import oracle
from tests.runtime.kernels.test_linear_attention import TOLERANCES
from tests.runtime.kernels.test_operator import tracing

Attend = Callable[..., Tensor]
Shape = tuple[int, int, int, int, int]

SHAPES: tuple[Shape, ...] = ((2, 5, 3, 3, 4), (1, 1, 3, 1, 1), (2, 65, 3, 2, 12))


def random_qkv(
    shape: Shape, dtype: torch.dtype = torch.float64, feature_map: str = "split_relu"
) -> Tensor:
    qkv = torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    if feature_map == "identity":
        qkv[:, :, :2].abs_()  # features are not negative
    return qkv.to(dtype)


def by_definition(qkv: Tensor, feature_map: str = "split_relu") -> Tensor:
    q, k, v = qkv.unbind(2)
    return oracle.attention(q, k, v, feature_map)


def unpacked(qkv: Tensor, feature_map: str = "split_relu") -> Tensor:
    q, k, v = qkv.unbind(2)
    return linear_attention(q, k, v, feature_map)


def check(attend: Attend, feature_map: str, dtype: torch.dtype, tolerance: float) -> None:
    """Compare output and gradient with the definition in float64; AssertionError if off."""
    for shape in SHAPES:
        leaf = random_qkv(shape, dtype, feature_map).requires_grad_()
        exact = leaf.detach().double().requires_grad_()
        out, expected = attend(leaf, feature_map), by_definition(exact, feature_map)
        grad_out = torch.randn(out.shape, generator=torch.Generator().manual_seed(1)).to(dtype)
        (gradient,) = torch.autograd.grad(out, leaf, grad_out)
        (expected_gradient,) = torch.autograd.grad(expected, exact, grad_out.double())
        assert gradient.dtype == dtype
        assert gradient.is_contiguous()
        for name, actual, right in (
            ("output", out.detach(), expected.detach()),
            ("gradient", gradient, expected_gradient),
        ):
            error = oracle.relative_error(actual, right)
            assert error < tolerance, f"{feature_map} {shape}: {name} is off by {error:.1e}"


@pytest.mark.parametrize(("feature_map", "dtype"), oracle.maps_and_dtypes(TOLERANCES), ids=str)
def test_it_is_the_definition(feature_map: str, dtype: torch.dtype) -> None:
    torch.use_deterministic_algorithms(True)  # what is allocated starts as NaN
    try:
        check(linear_attention_qkvpacked, feature_map, dtype, TOLERANCES[dtype])
    finally:
        torch.use_deterministic_algorithms(False)


def reordered(*order: int) -> Callable[..., Tensor]:
    """What writes the three gradients in another order."""

    def backward(grad_out: Tensor, qkv: Tensor, *options: Any) -> Tensor:
        right = dispatch.qkvpacked(dispatch.backward)(grad_out, qkv, *options)
        return right[:, :, list(order)]

    return backward


@pytest.mark.parametrize("order", [(1, 0, 2), (0, 2, 1), (2, 1, 0)])
def test_the_check_fails_gradients_in_the_wrong_place(order: tuple[int, int, int]) -> None:
    name = "linvit_runtime.kernels.packed.linear_attention_qkvpacked_backward_op"
    with mock.patch(name, reordered(0, 1, 2)):
        check(linear_attention_qkvpacked, "relu", torch.float64, 1e-13)
    with mock.patch(name, reordered(*order)), pytest.raises(AssertionError, match="gradient is"):
        check(linear_attention_qkvpacked, "relu", torch.float64, 1e-13)


@pytest.mark.parametrize("feature_map", FEATURE_MAPS)
def test_gradcheck(feature_map: str) -> None:
    qkv = random_qkv((2, 5, 3, 2, 3), feature_map=feature_map).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: linear_attention_qkvpacked(x, feature_map), (qkv,))


LAYOUTS: dict[str, Callable[[Tensor], Tensor]] = {
    "contiguous": torch.Tensor.contiguous,
    "heads first": lambda x: x.permute(2, 0, 3, 1, 4).contiguous().permute(1, 3, 0, 2, 4),
    "channels apart": lambda x: x.transpose(1, 4).contiguous().transpose(1, 4),
    "a slice": lambda x: torch.cat([x, x], dim=4)[..., : x.shape[4]],
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_it_gives_the_bits_of_linear_attention(layout: str, dtype: torch.dtype) -> None:
    qkv = LAYOUTS[layout](random_qkv((2, 33, 3, 4, 12), dtype))
    results: list[list[Tensor]] = []
    for attend in (linear_attention_qkvpacked, unpacked):
        leaf = qkv.detach().requires_grad_()
        out = attend(leaf)
        results.append([out, *torch.autograd.grad(out.float().square().sum(), leaf)])
        with torch.no_grad():
            assert torch.equal(attend(leaf), out)
    assert all(map(torch.equal, *results))


def test_the_kernels_of_the_cpu_run_both_passes() -> None:
    with dispatch.recording():
        linear_attention_qkvpacked(
            random_qkv(SHAPES[0], torch.float32).requires_grad_()
        ).sum().backward()
        assert backends_used() == {"forward": ("numba-cpu",), "backward": ("numba-cpu",)}


def test_the_gradient_is_written_once() -> None:
    leaf = random_qkv((2, 33, 3, 4, 12), torch.float32).requires_grad_()
    out = linear_attention_qkvpacked(leaf)
    names: list[str] = []

    class Recorder(TorchDispatchMode):
        def __torch_dispatch__(
            self, func: Any, types: Any, args: Any = (), kwargs: Any = None
        ) -> Any:
            names.append(str(func))
            return func(*args, **(kwargs or {}))

    with Recorder():
        torch.autograd.grad(out, leaf, torch.ones_like(out))
    assert "linvit.linear_attention_qkvpacked_backward.default" in names
    assert not [name for name in names if "stack" in name or "copy" in name or "add" in name]


def test_a_pass_on_cuda_writes_into_the_gradient_it_is_given() -> None:
    """Launches that write 1, 2 and 3 for dq, dk and dv, in float32."""
    passes = pytest.importorskip("linvit_runtime.kernels.cuda.passes")
    results = iter(((4,), (), (4, 5)))  # which tensors the three launches write
    values = iter((1, 2, 3))

    def prepare(_kernel: object, _device: int) -> Callable[..., None]:
        mine = next(results)

        def run(_grid: object, tensors: tuple[Tensor, ...], _numbers: object) -> None:
            for place in mine:
                tensors[place].fill_(next(values))

        return run

    plan = choose_backward_plan("relu", 16, 16)
    call = Call("backward", "relu", "bfloat16", 2, 7, 7, 3, 16, 16)
    with mock.patch(f"{passes.SimtBackward.__module__}.prepare", prepare):
        backward = passes.SimtBackward(call, plan, -1)

    def through_dispatch(*arguments: Any) -> Any:
        *tensors, _feature_map, eps, into = arguments
        return backward(*tensors, eps, into)

    qkv = torch.zeros(2, 7, 3, 3, 16, dtype=torch.bfloat16)
    state = torch.zeros(2, 3, 16, 16)
    gradient = dispatch.qkvpacked(through_dispatch)(
        torch.zeros(2, 7, 48), qkv, state, state[..., 0], "relu", 1e-6
    )
    assert gradient.dtype == torch.bfloat16
    expected = torch.tensor([1.0, 2, 3]).view(3, 1, 1).expand_as(gradient)
    assert torch.equal(gradient.float(), expected)


@tracing
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_opcheck(dtype: torch.dtype) -> None:
    qkv = random_qkv((2, 5, 3, 3, 4), dtype)
    out, S, z = library.linear_attention_train_op(*qkv.unbind(2), "split_relu", 1e-6)
    for grad_out in (torch.randn_like(out), torch.ones((), dtype=dtype).expand_as(out)):
        arguments = (grad_out, qkv, S, z, "split_relu", 1e-6)
        torch.library.opcheck(library.linear_attention_qkvpacked_backward_op, arguments)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_fake_tensors_look_like_the_real_ones(layout: str) -> None:
    def gradient(device: str) -> Tensor:
        qkv = LAYOUTS[layout](random_qkv((2, 5, 3, 3, 4), torch.float16)).to(device)
        leaf = qkv.requires_grad_()
        (found,) = torch.autograd.grad(linear_attention_qkvpacked(leaf, "elu_plus_one").sum(), leaf)
        return found

    real, fake = gradient("cpu"), gradient("meta")
    assert (real.shape, real.stride(), real.dtype) == (fake.shape, fake.stride(), fake.dtype)


@tracing
@pytest.mark.parametrize("dynamic", [False, True])
def test_compile_without_graph_breaks(dynamic: bool) -> None:
    def block(x: Tensor) -> Tensor:
        return linear_attention_qkvpacked(2 * x)

    torch._dynamo.reset()
    compiled = torch.compile(block, fullgraph=True, backend="aot_eager", dynamic=dynamic)
    for tokens in (5, 9):
        x = torch.randn(2, tokens, 3, 4, 8, requires_grad=True)
        outs = [function(x) for function in (block, compiled)]
        gradients = [torch.autograd.grad(out.square().sum(), x)[0] for out in outs]
        assert torch.equal(*outs)
        assert torch.equal(*gradients)


@tracing
def test_export_keeps_the_operator() -> None:
    class Attention(torch.nn.Module):
        def forward(self, qkv: Tensor) -> Tensor:
            return linear_attention_qkvpacked(qkv)

    qkv = random_qkv((2, 5, 3, 3, 4), torch.float32)
    program = torch.export.export(Attention(), (qkv,))
    calls = [node.target for node in program.graph.nodes if node.op == "call_function"]
    assert library.linear_attention_op in calls
    assert torch.equal(program.module()(qkv), linear_attention_qkvpacked(qkv))


@pytest.mark.parametrize("feature_map", ["split_relu", "identity"])
def test_autocast_is_that_of_linear_attention(feature_map: str) -> None:
    leaf = random_qkv((2, 5, 3, 2, 12), torch.float32, feature_map).requires_grad_()
    results: list[list[Tensor]] = []
    for attend in (linear_attention_qkvpacked, unpacked):
        with torch.autocast("cpu", torch.bfloat16):
            out = attend(leaf, feature_map)
            results.append([out, *torch.autograd.grad(out.float().square().sum(), leaf)])
    (out, gradient), expected = results
    assert out.dtype == (torch.float32 if feature_map == "identity" else torch.bfloat16)
    assert gradient.dtype == torch.float32
    assert torch.equal(out, expected[0])
    assert torch.equal(gradient, expected[1])
    with torch.autocast("cpu", torch.bfloat16):
        assert linear_attention_qkvpacked(leaf.double()).dtype == torch.float64


@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_flops_are_those_of_linear_attention(device: str) -> None:
    counts: list[int] = []
    for attend in (linear_attention_qkvpacked, unpacked):
        leaf = torch.zeros(2, 5, 3, 3, 4, device=device, requires_grad=True)
        with FlopCounterMode(display=False) as counter:
            attend(leaf).sum().backward()
        counts.append(counter.get_total_flops())
    assert counts[0] == counts[1] == 3 * 2 * 2 * 3 * (5 + 5) * 8 * 4


@pytest.mark.parametrize("shape", [(0, 5, 3, 2, 4), (2, 0, 3, 2, 4)])
def test_nothing_in_nothing_out(shape: Shape) -> None:
    leaf = torch.zeros(shape, requires_grad=True)
    out = linear_attention_qkvpacked(leaf)
    assert out.shape == (*shape[:2], 8)
    (gradient,) = torch.autograd.grad(out.sum(), leaf)
    assert gradient.shape == shape


def test_only_the_input_and_the_state_are_saved_for_backward() -> None:
    qkv = random_qkv((2, 50, 3, 3, 12), torch.float32).requires_grad_()
    saved: list[Tensor] = []
    with torch.autograd.graph.saved_tensors_hooks(lambda x: saved.append(x) or x, lambda x: x):
        linear_attention_qkvpacked(qkv)
    assert saved[0].data_ptr() == qkv.data_ptr()
    assert [x.shape for x in saved] == [qkv.shape, (2, 3, 24, 12), (2, 3, 24)]


def test_a_second_derivative_is_refused() -> None:
    qkv = random_qkv((1, 3, 3, 1, 2)).requires_grad_()
    with pytest.raises(RuntimeError, match="qkvpacked has no second derivative"):
        torch.autograd.grad(linear_attention_qkvpacked(qkv).sum(), qkv, create_graph=True)


@pytest.mark.parametrize(
    ("qkv", "options", "message"),
    [
        (torch.ones(2, 5, 36), {}, r"qkv has shape \[2, 5, 36\]; it must have five axes"),
        (torch.ones(2, 3, 5, 3, 4), {}, r"axis 2 must hold q, k and v, but 5 != 3"),
        (torch.ones(2, 5, 3, 0, 4), {}, r"\[2, 5, 3, 0, 4\]; it needs at least one head"),
        (torch.ones(2, 5, 3, 3, 4).int(), {}, r"qkv is torch.int32; it must be a floating-point"),
        (torch.ones(2, 5, 3, 3, 4), {"eps": -1.0}, r"eps is -1.0; it must be finite and at least"),
        (torch.ones(2, 5, 3, 3, 4), {"eps": float("nan")}, r"eps is nan"),
        (torch.ones(2, 5, 3, 3, 4), {"feature_map": "rleu"}, r"'rleu'; did you mean 'relu'"),
        (torch.ones(2, 5, 3, 3, 4), {"feature_map": "favor"}, r"call linear_attention\(q, k, v, "),
    ],
)
def test_a_misfit_is_named(qkv: Tensor, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        linear_attention_qkvpacked(qkv, **options)
