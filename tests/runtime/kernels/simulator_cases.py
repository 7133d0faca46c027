"""Run the CUDA kernels in numba-cuda's simulator and print the errors as JSON.

A program of its own, because the simulator is chosen by NUMBA_ENABLE_CUDASIM=1 before numba is
imported, and for a whole process. `test_cuda_simulator.py` runs it and reads what it prints.
"""

import json
import math
import os
import random
import sys
from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager
from types import ModuleType
from unittest import mock

import torch
from torch import Tensor

from linvit_runtime.kernels import dispatch
from linvit_runtime.kernels.cuda import (
    choose,
    simt_backward,
    simt_features,
    simt_forward,
    simt_gradient_steps,
    simt_passes,
)
from linvit_runtime.kernels.cuda.choose import Call
from linvit_runtime.kernels.cuda.plan import (
    SIMT_FEATURE_MAPS,
    SimtBackwardPlan,
    SimtPlan,
    choose_backward_plan,
    choose_plan,
)
from linvit_runtime.kernels.cuda.simt_passes import SimtBackward, SimtForward
from tests.runtime.kernels import oracle
from tests.runtime.kernels.kernel_mutants import (
    BACKWARD_MUTANTS,
    MUTANTS,
    NOTICED,
    Mutants,
    load_mutant,
    sources_of,
    with_mistake,
    without_barriers,
)

# Name: feature map, then batch, queries, keys, heads, D, E. The sizes are odd on purpose: one
# token, tiles that are not full, widths that are no multiple of 16, several blocks of columns.
CASES: dict[str, tuple[str, oracle.Shape]] = {
    "one token": ("split_relu", (1, 1, 1, 1, 16, 16)),
    "ragged tiles": ("split_relu", (1, 33, 33, 1, 16, 16)),
    "two heads, two images": ("relu", (2, 5, 5, 2, 16, 16)),
    "cross-attention": ("elu_plus_one", (1, 5, 33, 1, 32, 32)),
    "padded widths": ("split_relu", (1, 5, 17, 1, 12, 20)),
    "two tiles": ("elu_plus_one", (1, 65, 70, 1, 16, 16)),
    "the widest single block": ("split_relu", (1, 5, 17, 1, 64, 64)),
    "softmax": ("softmax", (1, 5, 70, 1, 12, 20)),
    "blocks of columns": ("identity", (1, 3, 5, 1, 266, 20)),
}

# Name: feature map, sizes, and whether few threads run it instead of those of a device.
BACKWARD_CASES: dict[str, tuple[str, oracle.Shape, bool]] = {
    "one token": ("elu_plus_one", (1, 1, 1, 1, 1, 1), True),
    "no queries": ("relu", (1, 0, 3, 1, 2, 2), True),
    "two heads, two images": ("split_relu", (2, 3, 5, 2, 3, 3), True),
    "padded features": ("relu", (1, 7, 5, 1, 5, 7), True),
    "cross-attention": ("elu_plus_one", (2, 3, 9, 1, 3, 5), True),
    "as shipped": ("split_relu", (1, 3, 65, 1, 8, 20), False),
    "softmax": ("softmax", (2, 7, 5, 1, 5, 7), True),
    "softmax as shipped": ("softmax", (1, 3, 65, 1, 8, 20), False),
    "features of the caller": ("identity", (1, 5, 9, 2, 3, 5), True),
}


def features(k: Tensor, feature_map: str) -> Tensor:
    """phi(k) in float64, `[B, L, H, F]`."""
    k = k.double()
    if feature_map == "elu_plus_one":
        return torch.where(k > 0, k + 1, k.exp())
    if feature_map == "softmax":
        return k.exp() / k.exp().sum(-1, keepdim=True)
    if feature_map == "identity":
        return k
    halves = [k, -k] if feature_map == "split_relu" else [k]
    return torch.cat(halves, dim=-1).relu()


def state(k: Tensor, v: Tensor, feature_map: str) -> tuple[Tensor, Tensor]:
    """Return S and z in float64, by their definition."""
    phi, scale = features(k, feature_map), 2.0 ** math.floor(-math.log2(k.shape[1]))
    S = scale * torch.einsum("blhf,blhe->bhfe", phi, v.double())
    return S, scale * phi.sum(1)


def random_views(feature_map: str, shape: oracle.Shape) -> oracle.Inputs:
    """Return q, k and v as views of one buffer, such as tell the feature maps apart.

    Features of the caller are positive but for those of one channel, whose products are positive.
    A softmax is the same for keys that are larger or smaller by a number whose exponential is no
    float32.
    """
    q, k, v = oracle.inputs_of(feature_map, shape, torch.float32)
    if feature_map == "identity":
        q[..., 0] *= -1
        k[..., 0] *= -1
    if feature_map == "softmax":
        k[:, 0::3] += 100
        k[:, 1::3] -= 110
    return oracle.each(lambda x: torch.stack([x, -x, x], dim=2)[:, :, 2], (q, k, v))


def forward_pass(q: Tensor, v: Tensor, plan: SimtPlan) -> SimtForward:
    """Return the forward pass for such queries and values by the kernel of `plan`."""
    batch, queries, heads, _ = q.shape
    sizes = (batch, queries, v.shape[1], heads, plan.head_dim, plan.value_dim)
    return SimtForward(Call("forward", plan.feature_map, "float32", *sizes), plan, -1)


def errors(feature_map: str, shape: oracle.Shape, plan: SimtPlan) -> list[float]:
    """Launch on NaN-filled results and views of one buffer; return the errors of out, S and z."""
    q, k, v = random_views(feature_map, shape)
    if shape[1] > 1:
        q[:, -1] = 0  # a query of zeros, so that eps counts
    expected = (oracle.attention(q, k, v, feature_map), *state(k, v, feature_map))
    results = [torch.full(x.shape, torch.nan, dtype=torch.float32) for x in expected]
    out, S, z = results
    forward_pass(q, v, plan).into(q, k, v, out, S, z, 1e-6)
    return [oracle.relative_error(*pair) for pair in zip(results, expected, strict=True)]


def shipped_errors(feature_map: str, shape: oracle.Shape) -> list[float]:
    """Return the errors of the kernel that a call of this shape runs."""
    plan = choose_plan(feature_map, shape[4], shape[5], save_state=True)
    assert plan is not None
    return errors(feature_map, shape, plan)


def small_plan(feature_map: str) -> SimtPlan:
    """Return a plan of 16 threads for D = 5 and E = 4: in the simulator, threads cost the time."""
    return SimtPlan(feature_map, 5, 4, 4, 4, True, thread_rows=4, thread_columns=4)


# In the order in which they import each other.
_FORWARD = (simt_features, simt_forward)
_BACKWARD = (simt_features, simt_gradient_steps, simt_backward)


def mutant_error(feature_map: str, sources: dict[str, str]) -> float:
    """Return the largest error of the forward kernel that these texts make."""
    mutant = load_mutant(sources)
    with mock.patch.object(simt_passes, "forward_kernel", mutant.forward_kernel):
        return max(errors(feature_map, (1, 5, 10, 2, 5, 4), small_plan(feature_map)))


def small_backward_plan(feature_map: str, head_dim: int, value_dim: int) -> SimtBackwardPlan:
    """Return a plan of 4 threads, with tiles of 4 tokens and blocks of 2 columns."""
    tiles = SimtPlan(feature_map, head_dim, value_dim, 2, 4, False, thread_rows=2, thread_columns=2)
    return SimtBackwardPlan(tiles, tiles)


def joined(grads: Iterable[Tensor]) -> Tensor:
    """Return dq, dk and dv as one: dq and dk can cancel to nothing beside dv, as for one key."""
    return torch.cat([x.flatten() for x in grads])


def backward_error(feature_map: str, shape: oracle.Shape, small: bool) -> float:
    """Differentiate views of one buffer on NaN-filled memory; return the error of all gradients."""
    q, k, v = random_views(feature_map, shape)
    batch, queries, _, heads, head_dim, value_dim = shape
    grad_out = torch.randn(
        1, queries, heads * value_dim, generator=torch.Generator().manual_seed(1)
    ).expand(batch, -1, -1)
    leaves = oracle.each(lambda x: x.double().requires_grad_(), (q, k, v))
    out = oracle.attention(*leaves, feature_map, eps=0.5)
    expected = torch.autograd.grad(out, leaves, grad_out.double())

    shipped = choose_backward_plan(feature_map, head_dim, value_dim)
    plan = small_backward_plan(feature_map, head_dim, value_dim) if small else shipped
    assert plan is not None
    run = SimtBackward(Call("backward", feature_map, "float32", *shape), plan, -1)
    S, z = (x.float() for x in state(k, v, feature_map))
    return oracle.relative_error(joined(run(grad_out, q, k, v, S, z, 0.5)), joined(expected))


def backward_mutant_error(feature_map: str, sources: dict[str, str]) -> float:
    """Return the error of the backward kernels that these texts make."""
    mutant = load_mutant(sources)
    width = 1 if feature_map == "split_relu" else 3
    with mock.patch.object(simt_passes, "backward_kernels", mutant.backward_kernels):
        return backward_error(feature_map, (1, 5, 3, 2, width, 3), small=True)


def views_and_dtypes() -> dict[str, float]:
    """Go in through the dispatcher, with channels far apart, in half precision, without state."""
    found: dict[str, float] = {}
    for dtype in (torch.float32, torch.float16, torch.bfloat16):
        inputs = oracle.random_inputs((1, 5, 7, 1, 8, 8), dtype)
        inputs = oracle.each(lambda x: x.mT.contiguous().mT, inputs)
        out = dispatch.cuda_forward_without_state(*inputs, "split_relu", 1e-6)
        assert out.dtype == dtype
        found[str(dtype)] = oracle.relative_error(out, oracle.attention(*inputs))
    assert dispatch.backends_used()["forward"] == ("numba-cuda-simt",)
    return found


def nan_spreads() -> list[list[bool]]:
    """Return which images of two have a NaN in their output when a key of the first has one."""
    q, k, v = oracle.random_inputs((2, 3, 5, 1, 5, 4), torch.float32)
    k[0, 2, 0, 1] = torch.nan
    outs = [forward_pass(q, v, small_plan(name))(q, k, v, 1e-6)[0] for name in SIMT_FEATURE_MAPS]
    return [[bool(image.isnan().all()) for image in out] for out in outs]


def backward_nan_spreads() -> list[list[bool]]:
    """Return which images of two have NaNs in dq, dk and dv when a query of the first has one."""
    q, k, v = oracle.random_inputs((2, 3, 2, 1, 2, 2), torch.float32)
    grad_out = torch.ones(2, 3, 2)
    q[0, 1, 0, 1] = torch.nan
    spreads: list[list[bool]] = []
    for name in SIMT_FEATURE_MAPS:
        plan = small_backward_plan(name, 2, 2)
        run = SimtBackward(Call("backward", name, "float32", 2, 3, 2, 1, 2, 2), plan, -1)
        S = torch.ones(2, 1, plan.sums.num_features, 2)
        grads = run(grad_out, q, k, v, S, S[..., 0], 1e-6)
        spreads.append([bool(image.isnan().any()) for grad in grads for image in grad])
    return spreads


def backward_dtypes() -> dict[str, float]:
    """Go in through the dispatcher, in every dtype."""
    found: dict[str, float] = {}
    for dtype in (torch.float32, torch.float16, torch.bfloat16):
        q, k, v = oracle.random_inputs((1, 2, 3, 1, 4, 4), dtype)
        leaves = oracle.each(lambda x: x.double().requires_grad_(), (q, k, v))
        out = oracle.attention(*leaves)
        grad_out = torch.ones(out.shape, dtype=dtype)
        expected = torch.autograd.grad(out, leaves, grad_out.double())
        S, z = (x.float() for x in state(k, v, "split_relu"))
        with mock.patch.object(choose, "choose_backward_plan", small_backward_plan):
            grads = dispatch.cuda_backward(grad_out, q, k, v, S, z, "split_relu", 1e-6)
        assert all(x.dtype == dtype for x in grads)
        found[str(dtype)] = oracle.relative_error(joined(grads), joined(expected))
    assert dispatch.backends_used()["backward"] == ("numba-cuda-simt",)
    return found


def try_mutants(
    mutants: Mutants,
    modules: tuple[ModuleType, ...],
    error: Callable[[str, dict[str, str]], float],
) -> dict[str, dict[str, float]]:
    """Return the errors of all mutants and, as a control, of the kernels as they are."""
    sources = sources_of(modules)
    return {
        feature_map: {
            name: error(feature_map, with_mistake(sources, *change))
            for name, change in changes.items()
        }
        | {"control": error(feature_map, sources)}
        for feature_map, changes in mutants.items()
    }


def try_without_barriers(
    modules: tuple[ModuleType, ...], error: Callable[[str, dict[str, str]], float]
) -> dict[str, float]:
    """Return for each barrier the error without it: softmax needs all of them.

    A thread of the simulator mostly runs up to its next barrier before others do, so that it reads
    what they have yet to write; but nothing promises that, and a race may be tried again.
    """
    return {
        place: next(
            (found for _ in range(5) if (found := error("softmax", sources)) > NOTICED), 0.0
        )
        for place, sources in without_barriers(modules)
    }


@contextmanager
def fast_turns() -> Generator[None]:
    """Let a waiting thread have its turn after half a millisecond.

    That is what kernels of few threads take. Those of many are faster with Python's 5 ms.
    """
    interval = sys.getswitchinterval()
    sys.setswitchinterval(0.0005)
    try:
        yield
    finally:
        sys.setswitchinterval(interval)


def main() -> None:
    # The simulator's threads take turns: on one core they do so in two thirds of the time.
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {random.choice(sorted(os.sched_getaffinity(0)))})
    report: dict[str, object] = {
        "cases": {name: shipped_errors(*case) for name, case in CASES.items()},
        "dtypes": views_and_dtypes(),
    }
    with fast_turns():
        report |= {
            "nan": nan_spreads(),
            "mutants": try_mutants(MUTANTS, _FORWARD, mutant_error),
            "barriers": try_without_barriers(_FORWARD, mutant_error),
        }
    # Allocated memory is then filled with NaNs: results, r and w, dS and dz.
    torch.use_deterministic_algorithms(True)
    report["backward cases"] = {name: backward_error(*c) for name, c in BACKWARD_CASES.items()}
    with fast_turns():
        report |= {
            "backward dtypes": backward_dtypes(),
            "backward nan": backward_nan_spreads(),
            "backward mutants": try_mutants(BACKWARD_MUTANTS, _BACKWARD, backward_mutant_error),
            "backward barriers": try_without_barriers(_BACKWARD[1:], backward_mutant_error),
        }
    json.dump(report, sys.stdout)


if __name__ == "__main__":
    main()
