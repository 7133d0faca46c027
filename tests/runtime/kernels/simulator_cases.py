"""Run the CUDA kernels in numba-cuda's simulator and print the errors as JSON.

A program of its own, because the simulator is chosen by NUMBA_ENABLE_CUDASIM=1 before numba is
imported, and for a whole process. `test_cuda_simulator.py` runs it and reads what it prints.
"""

import importlib.util
import json
import math
import sys
import tempfile
from pathlib import Path
from unittest import mock

import torch
from torch import Tensor

from linvit_runtime.kernels import dispatch
from linvit_runtime.kernels.cuda import passes
from linvit_runtime.kernels.cuda import simt_forward as cuda_simt
from linvit_runtime.kernels.cuda.choose import Call
from linvit_runtime.kernels.cuda.passes import SimtForward
from linvit_runtime.kernels.cuda.plan import SIMT_FEATURE_MAPS, SimtPlan, choose_plan
from tests.runtime.kernels import oracle

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
    "blocks of columns": ("split_relu", (1, 3, 5, 1, 128, 20)),
}

# A mistake in the kernel's source, as (right, wrong). Each must be noticed.
MUTANTS = {
    "no negative half": ("float32(0) if x > 0 else -x", "float32(0)"),
    "z not scaled": ("x = shared[i] * scale", "x = shared[i]"),
    "no eps": ("denominators[j] + scaled_eps", "denominators[j] + float32(0)"),
    "features past the end": ("part * head_dim] = float32(0)", "part * head_dim] = float32(1)"),
    "heads and tokens swapped": (
        "((batch * num_queries + token) * num_heads + head)",
        "((batch * num_heads + head) * num_queries + token)",
    ),
    "last tile dropped": ("while first < num_keys", "while first < num_keys - tile_tokens"),
    "stale sums": ("total = float32(0)", "total = shared[i]"),
    "result not written": ("out[position] = ", "ignored = "),
}


def features(k: Tensor, feature_map: str) -> Tensor:
    """phi(k) in float64, `[B, L, H, F]`."""
    k = k.double()
    if feature_map == "elu_plus_one":
        return torch.where(k > 0, k + 1, k.exp())
    halves = [k, -k] if feature_map == "split_relu" else [k]
    return torch.cat(halves, dim=-1).relu()


def simt_forward(q: Tensor, v: Tensor, plan: SimtPlan) -> SimtForward:
    """Return the forward pass for such queries and values by the kernel of `plan`."""
    batch, queries, heads, _ = q.shape
    sizes = (batch, queries, v.shape[1], heads, plan.head_dim, plan.value_dim)
    return SimtForward(Call("forward", plan.feature_map, "float32", *sizes), plan, -1)


def errors(feature_map: str, shape: oracle.Shape, plan: SimtPlan) -> list[float]:
    """Launch on NaN-filled results and views of one buffer; return the errors of out, S and z."""
    q, k, v = oracle.random_inputs(shape, torch.float32)
    if shape[1] > 1:
        q[:, -1] = 0  # a query of zeros, so that eps counts
    q, k, v = oracle.each(lambda x: torch.stack([x, -x, x], dim=2)[:, :, 2], (q, k, v))
    phi = features(k, feature_map)
    scale = 2.0 ** math.floor(-math.log2(shape[2]))
    expected = (
        oracle.attention(q, k, v, feature_map),
        scale * torch.einsum("blhf,blhe->bhfe", phi, v.double()),
        scale * phi.sum(1),
    )
    results = [torch.full(x.shape, torch.nan, dtype=torch.float32) for x in expected]
    out, S, z = results
    simt_forward(q, v, plan).into(q, k, v, out, S, z, 1e-6)
    return [oracle.relative_error(*pair) for pair in zip(results, expected, strict=True)]


def shipped_errors(feature_map: str, shape: oracle.Shape) -> list[float]:
    """Return the errors of the kernel that a call of this shape runs."""
    plan = choose_plan(feature_map, shape[4], shape[5], save_state=True)
    assert plan is not None
    return errors(feature_map, shape, plan)


def small_plan(feature_map: str) -> SimtPlan:
    """Return a plan of 16 threads for heads of width 4: in the simulator, threads cost the time."""
    return SimtPlan(feature_map, 4, 4, 4, 4, True, thread_rows=4, thread_columns=4)


def mutant_errors(right: str, wrong: str) -> list[float]:
    """Return the errors of the kernel with one mistake in it."""
    source = Path(cuda_simt.__file__).read_text()
    assert right in source, f"the kernel no longer contains {right!r}"
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "mutant.py")
        path.write_text(source.replace(right, wrong))
        spec = importlib.util.spec_from_file_location("mutant", path)
        assert spec is not None
        assert spec.loader is not None
        mutant = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(mutant)
    with mock.patch.object(passes, "forward_kernel", mutant.forward_kernel):
        return errors("split_relu", (1, 5, 10, 2, 4, 4), small_plan("split_relu"))


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
    q, k, v = oracle.random_inputs((2, 3, 5, 1, 4, 4), torch.float32)
    k[0, 2, 0, 1] = torch.nan
    outs = [simt_forward(q, v, small_plan(name))(q, k, v, 1e-6)[0] for name in SIMT_FEATURE_MAPS]
    return [[bool(image.isnan().all()) for image in out] for out in outs]


def main() -> None:
    report = {
        "cases": {name: shipped_errors(*case) for name, case in CASES.items()},
        "dtypes": views_and_dtypes(),
        "nan": nan_spreads(),
        "mutants": {name: mutant_errors(*change) for name, change in MUTANTS.items()},
        "control": mutant_errors("total = float32(0)", "total = float32(0)"),
    }
    json.dump(report, sys.stdout)


if __name__ == "__main__":
    main()
