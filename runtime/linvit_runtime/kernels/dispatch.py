"""Which implementation runs a call, and the record of what really ran.

On a CPU the Numba kernels run; on a CUDA device what the table of `cuda/choose.py` says, where the
machine can build it; for everything else plain torch, float64 included.

No path falls back silently: the first time that tensors have to take the torch path although a
kernel exists for their device, a RuntimeWarning says why, and `backends_used` names what ran, for a
run's manifest.
"""

import functools
import importlib.util
import warnings
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from linvit_runtime.kernels import torch_backend
from linvit_runtime.kernels.cpu.plan import CpuPlan, choose_cpu_plan
from linvit_runtime.kernels.cuda.choose import Call, Direction, choose
from linvit_runtime.kernels.cuda.launch import current_device
from linvit_runtime.kernels.feature_maps import feature_map_named
from linvit_runtime.kernels.quadratic import attention_by_weights
from linvit_runtime.kernels.support import REFERENCE, cpu_obstacle
from linvit_runtime.kernels.torch_backend import Gradients

# Dicts serve as ordered sets: backends, and reasons for torch, in the order of their first use.
_used: dict[Direction, dict[str, None]] = {"forward": {}, "backward": {}}
_reasons: dict[str, None] = {}


def backends_used() -> dict[Direction, tuple[str, ...]]:
    """Name the implementations that have really run in this process, in order of first use.

    Returns:
        For `"forward"` and `"backward"` the names among `"torch"`, `"numba-cpu"`,
        `"numba-cuda-tensor"` and `"numba-cuda-simt"`; an empty tuple where linear attention has
        not run. `"torch-quadratic"` is a forward pass in the quadratic order, whose backward pass
        is autograd's.
    """
    return {direction: tuple(names) for direction, names in _used.items()}


@contextmanager
def recording() -> Generator[dict[Direction, dict[str, None]], None, None]:
    """Give the implementations that run inside a `with`; they count for `backends_used` too."""
    before = {direction: dict(names) for direction, names in _used.items()}
    for names in _used.values():
        names.clear()
    try:
        yield _used
    finally:
        for direction, names in _used.items():
            _used[direction] = before[direction] | names


def torch_reasons() -> tuple[str, ...]:
    """Say why `"torch"` is among `backends_used()`: one sentence for each reason so far."""
    return tuple(_reasons)


def in_quadratic_order(q: Tensor, k: Tensor, v: Tensor, feature_map: str, eps: float) -> Tensor:
    """Run `attention_by_weights`, which is asked for and no fallback."""
    if not torch.compiler.is_compiling():
        _used["forward"]["torch-quadratic"] = None
    return attention_by_weights(q, k, v, feature_map, eps)


def forward(
    q: Tensor, k: Tensor, v: Tensor, feature_map: str, eps: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Run the forward pass on any device: output, S and z as `torch_backend.forward`."""
    _used["forward"]["torch"] = None
    return torch_backend.forward(q, k, v, feature_map_named(feature_map), eps)


def forward_without_state(q: Tensor, k: Tensor, v: Tensor, feature_map: str, eps: float) -> Tensor:
    """Run the forward pass on any device where no gradient will be asked for."""
    return forward(q, k, v, feature_map, eps)[0]


def cpu_forward(
    q: Tensor, k: Tensor, v: Tensor, feature_map: str, eps: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Run the forward pass on a CPU: output, S and z as `torch_backend.forward`."""
    return _cpu_forward(q, k, v, feature_map, eps, save_state=True)


def cpu_forward_without_state(
    q: Tensor, k: Tensor, v: Tensor, feature_map: str, eps: float
) -> Tensor:
    """Run the forward pass on a CPU where no gradient will be asked for."""
    return _cpu_forward(q, k, v, feature_map, eps, save_state=False)[0]


def cpu_backward(
    grad_out: Tensor,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    S: Tensor,
    z: Tensor,
    feature_map: str,
    eps: float,
    into: Gradients | None = None,
) -> Gradients:
    """Run the backward pass on a CPU: dq, dk and dv as `torch_backend.backward`, in `into`."""
    plan = _cpu_plan(q, k, v, feature_map)
    if plan is None:
        return backward(grad_out, q, k, v, S, z, feature_map, eps, into)
    from linvit_runtime.kernels.cpu import launch as cpu_launch

    _used["backward"]["numba-cpu"] = None
    return cpu_launch.backward(grad_out, q, k, v, S, z, plan, eps, into)


def cuda_forward(
    q: Tensor, k: Tensor, v: Tensor, feature_map: str, eps: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Run the forward pass on a CUDA device: output, S and z as `torch_backend.forward`."""
    return _cuda_forward(q, k, v, feature_map, eps, True)


def cuda_forward_without_state(
    q: Tensor, k: Tensor, v: Tensor, feature_map: str, eps: float
) -> Tensor:
    """Run the forward pass on a CUDA device where no gradient will be asked for."""
    return _cuda_forward(q, k, v, feature_map, eps, False)[0]


def cuda_backward(
    grad_out: Tensor,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    S: Tensor,
    z: Tensor,
    feature_map: str,
    eps: float,
    into: Gradients | None = None,
) -> Gradients:
    """Run the backward pass on a CUDA device: as `torch_backend.backward`, in `into`."""
    device = q.get_device()
    run = _cuda_pass("backward", feature_map, q.dtype, q.shape, v.shape, False, device)
    if run is None:
        return backward(grad_out, q, k, v, S, z, feature_map, eps, into)
    _used["backward"][run.backend] = None
    if device == current_device():
        return run(grad_out, q, k, v, S, z, eps, into)
    with torch.cuda.device(device):
        return run(grad_out, q, k, v, S, z, eps, into)


def backward(
    grad_out: Tensor,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    S: Tensor,
    z: Tensor,
    feature_map: str,
    eps: float,
    into: Gradients | None = None,
) -> Gradients:
    """Run the backward pass on any device: dq, dk and dv as `torch_backend.backward`, in `into`."""
    _used["backward"]["torch"] = None
    phi = feature_map_named(feature_map)
    gradients = torch_backend.backward(grad_out, q, k, v, S, z, phi, eps)
    if into is None:
        return gradients
    for view, gradient in zip(into, gradients, strict=True):
        view.copy_(gradient)
    return into


def qkvpacked(backward_pass: Callable[..., Gradients]) -> Callable[..., Tensor]:
    """Make of a backward pass one for q, k and v in one tensor, whose gradient is one tensor."""

    def run(
        grad_out: Tensor, qkv: Tensor, S: Tensor, z: Tensor, feature_map: str, eps: float
    ) -> Tensor:
        gradient = qkv.new_empty(qkv.shape)
        into = gradient.unbind(2)
        backward_pass(grad_out, *qkv.unbind(2), S, z, feature_map, eps, into)
        return gradient

    return run


def _cpu_forward(
    q: Tensor, k: Tensor, v: Tensor, feature_map: str, eps: float, *, save_state: bool
) -> tuple[Tensor, Tensor, Tensor]:
    plan = _cpu_plan(q, k, v, feature_map)
    if plan is None:
        return forward(q, k, v, feature_map, eps)
    from linvit_runtime.kernels.cpu import launch as cpu_launch

    _used["forward"]["numba-cpu"] = None
    return cpu_launch.forward(q, k, v, plan, eps, save_state=save_state)


def _cpu_plan(q: Tensor, k: Tensor, v: Tensor, feature_map: str) -> CpuPlan | None:
    """The plan of the Numba kernels for these tensors; None where torch runs them."""
    head_dim, value_dim = q.shape[3], v.shape[3]
    if q.dtype == torch.float64:  # the reference is no fallback
        _note_reason("a CPU", REFERENCE)
        return None
    plan = choose_cpu_plan(feature_map, q.dtype, head_dim, value_dim)
    if plan is None:
        dtype = str(q.dtype).removeprefix("torch.")
        obstacle = cpu_obstacle(feature_map, dtype, head_dim, value_dim)
        _warn_of_fallback("a CPU", obstacle or "there is no kernel")
        return None
    problem = _numba_problem(plan)
    if problem is not None:
        _warn_of_fallback("a CPU", problem)
        return None
    return plan


@functools.cache
def _numba_problem(plan: CpuPlan) -> str | None:
    """Say why Numba cannot build the kernels of `plan` here; None where it can."""
    from linvit_runtime.kernels.cpu import launch as cpu_launch

    try:
        cpu_launch.compiled_forward(plan)
    except Exception as problem:  # noqa: BLE001 - a compiler has many ways to fail on a new machine
        return _first_line("Numba cannot build the kernel", problem)
    return None


def _cuda_forward(
    q: Tensor, k: Tensor, v: Tensor, feature_map: str, eps: float, save_state: bool
) -> tuple[Tensor, Tensor, Tensor]:
    device = q.get_device()
    run = _cuda_pass("forward", feature_map, q.dtype, q.shape, v.shape, save_state, device)
    if run is None:
        return forward(q, k, v, feature_map, eps)
    _used["forward"][run.backend] = None
    if device == current_device():
        return run(q, k, v, eps)
    with torch.cuda.device(device):
        return run(q, k, v, eps)


@functools.lru_cache(maxsize=4096)
def _cuda_pass(
    direction: Direction,
    feature_map: str,
    dtype: torch.dtype,
    q_shape: tuple[int, ...],
    v_shape: tuple[int, ...],
    save_state: bool,
    device: int,
) -> Any:
    """The pass for calls of these shapes, its kernels loaded; None where torch runs them."""
    name = str(dtype).removeprefix("torch.")
    batch, queries, heads, head_dim = q_shape
    _, keys, _, value_dim = v_shape
    sizes = (batch, queries, keys, heads, head_dim, value_dim)
    call = Call(direction, feature_map, name, *sizes, save_state)
    if name == "float64":  # the reference is no fallback
        _note_reason("CUDA", REFERENCE)
        return None
    if importlib.util.find_spec("numba_cuda") is None:
        _warn_of_fallback("CUDA", "numba-cuda is not installed (pip install 'linvit[cuda]')")
        return None
    from linvit_runtime.kernels.cuda import launch, passes

    try:
        capability = launch.capability(device)
    except Exception as failure:  # noqa: BLE001 - a driver has many ways to be absent
        _warn_of_fallback("CUDA", _first_line("the CUDA driver cannot be used", failure))
        return None
    problem, failed = "", []
    while (choice := choose(call, capability, without=failed)).path != "torch":
        try:
            made = passes.make_pass(call, choice, device)
        except launch.CaptureProblem:
            raise
        except Exception as failure:  # noqa: BLE001 - the toolkit behind numba-cuda has many as well
            problem = _first_line("numba-cuda cannot build the kernel", failure)
            failed.append(choice.path)
            continue
        if problem:
            _warn_of_fallback("CUDA", problem, "without tensor cores")
        return made
    _warn_of_fallback("CUDA", problem or choice.reason)
    return None


def _first_line(what: str, problem: Exception) -> str:
    lines = str(problem).splitlines() or ["no message"]
    return f"{what} ({type(problem).__name__}: {lines[0]})"


def _note_reason(device: str, reason: str) -> None:
    _reasons[f"on {device}: {reason}"] = None


@functools.cache
def _warn_of_fallback(device: str, reason: str, how: str = "in plain torch") -> None:
    """Warn, once per process and reason, that tensors take a slower path: by default torch's."""
    if how == "in plain torch":
        _note_reason(device, reason)
    warnings.warn(
        f"linvit: linear attention runs {how} on {device}, because {reason}. "
        "Results are the same, but slower.",
        RuntimeWarning,
        stacklevel=1,
    )
