"""How the operator behaves in torch: opcheck, compile, export, autocast, FLOPs, refused inputs."""

import os
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from linvit_runtime.kernels import FEATURE_MAPS, library, linear_attention
from tests.runtime.kernels import oracle
from tests.runtime.kernels.oracle import Shape, each, random_inputs, random_leaves

# torch's own tracer instantiates autograd.Function and warns itself about it.
tracing = pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")


@tracing
@pytest.mark.parametrize("feature_map", FEATURE_MAPS)
def test_opcheck(feature_map: str) -> None:
    inputs = random_inputs((2, 5, 7, 3, 4, 6), torch.float32)
    options = (feature_map, 1e-6)
    torch.library.opcheck(library.linear_attention_op, (*inputs, *options))
    torch.library.opcheck(library.linear_attention_train_op, (*inputs, *options))
    out, *state = library.linear_attention_train_op(*inputs, *options)
    arguments = (torch.randn_like(out), *inputs, *state, *options)
    torch.library.opcheck(library.linear_attention_backward_op, arguments)


@pytest.mark.parametrize("shape", [(2, 5, 7, 3, 4, 6), (2, 1, 1, 1, 4, 4), (1, 5, 1, 1, 4, 1)])
@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
def test_fake_tensors_look_like_the_real_ones(dtype: torch.dtype, shape: Shape) -> None:
    def results(device: str) -> tuple[Tensor, ...]:
        inputs = each(lambda x: x.to(device), random_inputs(shape, dtype))
        out, S, z = library.linear_attention_train_op(*inputs, "split_relu", 1e-6)
        backward = library.linear_attention_backward_op
        return out, S, z, *backward(out, *inputs, S, z, "split_relu", 1e-6)

    for real, fake in zip(results("cpu"), results("meta"), strict=True):
        assert (real.shape, real.stride(), real.dtype) == (fake.shape, fake.stride(), fake.dtype)


@tracing
@pytest.mark.parametrize("dynamic", [False, True])
def test_compile_without_graph_breaks(dynamic: bool) -> None:
    def block(x: Tensor) -> Tensor:  # reads views of one buffer, as generated code does
        q, k, v = (2 * x).unbind(2)
        return linear_attention(q, k, v)

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
        def forward(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
            return linear_attention(q, k, v)

    inputs = random_inputs((2, 5, 7, 3, 4, 6), torch.float32)
    program = torch.export.export(Attention(), inputs)
    calls = [node.target for node in program.graph.nodes if node.op == "call_function"]
    assert calls == [library.linear_attention_op]
    assert torch.equal(program.module()(*inputs), linear_attention(*inputs))


class TestAutocast:
    """Inputs are cast, sums are not."""

    def test_sums_stay_in_float32(self) -> None:
        # In bfloat16 the sum of 4096 ones would stop at 256, and the average of the values with it.
        q = k = torch.ones(1, 4096, 1, 1)
        v = torch.arange(4096.0).view(1, 4096, 1, 1)
        with torch.autocast("cpu", torch.bfloat16):
            out = linear_attention(q, k, v.bfloat16())
        assert out.dtype == torch.bfloat16
        expected = v.bfloat16().double().mean()
        assert oracle.relative_error(out, expected.expand_as(out)) < 4e-3

    def test_it_equals_the_operator_on_cast_inputs(self) -> None:
        leaves = random_leaves((2, 5, 7, 2, 8, 8), torch.float32)
        with torch.autocast("cpu", torch.bfloat16):
            out = linear_attention(*leaves)
            # Under autocast as well: the products of the backward pass must not be cast either.
            gradients = torch.autograd.grad(out.float().square().sum(), leaves)
        cast = each(lambda x: x.detach().bfloat16().requires_grad_(), leaves)
        expected = linear_attention(*cast)
        assert torch.equal(out, expected)
        for actual, leaf in zip(
            gradients, torch.autograd.grad(expected.float().square().sum(), cast), strict=True
        ):
            assert actual.dtype == torch.float32
            assert torch.equal(actual, leaf.float())

    def test_mixed_inputs_are_welcome(self) -> None:
        q, k, v = random_inputs((2, 5, 7, 2, 8, 8), torch.float32)
        with torch.autocast("cpu", torch.bfloat16):
            assert linear_attention(q.bfloat16(), k, v).dtype == torch.bfloat16

    def test_float64_is_left_alone(self) -> None:
        inputs = random_inputs((2, 5, 7, 2, 8, 8))
        with torch.autocast("cpu", torch.bfloat16):
            assert torch.equal(linear_attention(*inputs), linear_attention(*inputs))
            assert linear_attention(*inputs).dtype == torch.float64


class TestFlops:
    """FlopCounterMode counts what a hand-written version counts, and on the meta device too."""

    shape: Shape = (2, 5, 7, 3, 4, 6)

    def count(
        self, attend: Callable[..., Tensor], device: str = "cpu", *, backward: bool = True
    ) -> int:
        inputs = random_inputs(self.shape, torch.float32)
        leaves = each(lambda x: x.to(device).requires_grad_(), inputs)
        with FlopCounterMode(display=False) as counter:
            out = attend(*leaves)
            if backward:
                out.sum().backward()
        return counter.get_total_flops()

    @staticmethod
    def by_hand(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        q, k = (torch.cat([x.relu(), (-x).relu()], dim=-1) for x in (q, k))
        S = torch.einsum("blhf,blhe->bhfe", k, v)
        den = (q * k.sum(1, keepdim=True)).sum(-1, keepdim=True) + 1e-6
        return (torch.einsum("bnhf,bhfe->bnhe", q, S) / den).flatten(2)

    @pytest.mark.parametrize("backward", [False, True])
    @pytest.mark.parametrize("device", ["cpu", "meta"])
    def test_the_count_is_that_of_the_matrix_products(self, backward: bool, device: str) -> None:
        counted = self.count(linear_attention, device, backward=backward)
        assert counted == self.count(self.by_hand, backward=backward)
        B, N, L, H, D, E = self.shape
        forward_macs = B * H * (L * 2 * D * E + N * 2 * D * E)
        assert counted == 2 * forward_macs * (3 if backward else 1)

    def test_one_feature_per_channel_is_half_as_much(self) -> None:
        def with_relu(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
            return linear_attention(q, k, v, "relu")

        assert 2 * self.count(with_relu) == self.count(linear_attention)

    def test_the_first_call_of_a_process_is_counted(self) -> None:
        script = (
            "import torch; from linvit_runtime import kernels\n"
            "from torch.utils.flop_counter import FlopCounterMode\n"
            "qkv = torch.empty(1, 5, 3, 2, 4, device='meta')\n"
            "with FlopCounterMode(display=False) as counter:\n"
            "    kernels.linear_attention(*qkv.unbind(2))\n"
            "print(counter.get_total_flops())"
        )
        run = subprocess.run(
            [sys.executable, "-c", script],
            check=True,
            capture_output=True,
            text=True,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        )
        assert int(run.stdout) == 2 * (2 * 5 * 2 * (2 * 4) * 4)  # two products, two heads, F = 2 D


def inputs_with(**replacements: object) -> dict[str, Any]:
    q, k, v = random_inputs((2, 5, 5, 3, 4, 4), torch.float32)
    return {"q": q, "k": k, "v": v} | replacements


@pytest.mark.parametrize(
    ("replacements", "message"),
    [
        ({"q": torch.ones(2, 5, 12)}, r"q has shape \[2, 5, 12\]; it must have four axes"),
        ({"q": torch.ones(2, 5, 3, 0)}, r"q has shape \[2, 5, 3, 0\]; it needs at least one head"),
        ({"k": torch.ones(1, 5, 3, 4)}, r"q is \[2, 5, 3, 4\] and k is \[1, 5, 3, 4\]: the batch"),
        ({"k": torch.ones(2, 5, 2, 4)}, r"the number of heads \(axis 2\) must agree, but 3 != 2"),
        ({"k": torch.ones(2, 5, 3, 8)}, r"the head width \(axis 3\) must agree, but 4 != 8"),
        ({"v": torch.ones(2, 6, 3, 4)}, r"k is .* and v is .*: the number of tokens .* 5 != 6"),
        ({"v": torch.ones(2, 5, 3, 4).half()}, r"q is torch.float32 and v is torch.float16"),
        ({"k": torch.ones(2, 5, 3, 4, device="meta")}, r"q is on cpu and k is on meta"),
        ({"q": torch.ones(2, 5, 3, 4).long()}, r"q is torch.int64; .* floating-point"),
        ({"eps": -1e-6}, r"eps is -1e-06; it must be finite and at least 0"),
        ({"eps": float("nan")}, r"eps is nan"),
        ({"feature_map": "split_rleu"}, r"unknown feature map 'split_rleu'; did you mean 'split_r"),
        (
            {"feature_map": "gaussian"},
            r"'gaussian' \(there are split_relu, relu, elu_plus_one, softmax, identity and",
        ),
    ],
)
def test_a_misfit_is_named_with_both_sides(replacements: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        linear_attention(**inputs_with(**replacements))
