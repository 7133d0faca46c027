"""What this machine offers to linear attention, and what a call on it really takes.

Nothing is inferred where it can be tried: every device runs a small call of every dtype, forward
and backward, which is compared with float64; the backend is the one that has run.
"""

import os
import platform
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from linvit_runtime.kernels.cpu import launch as cpu_launch
from linvit_runtime.kernels.cpu.plan import choose_cpu_plan, vector_lanes
from linvit_runtime.kernels.cuda.build import (
    arch_name,
    cache_folder,
    cached_kernels,
    compile_kernel,
    missing_compilers,
)
from linvit_runtime.kernels.cuda.kernel import Kernel
from linvit_runtime.kernels.dispatch import torch_reasons
from linvit_runtime.kernels.explanation import explain
from linvit_runtime.kernels.support import KERNEL_DTYPES
from linvit_runtime.kernels.verify import judge

SHAPE = (2, 50, 50, 3, 64, 64)
"""B, N, L, H, D and E of what is tried: the usual head, and a length that fills no tile."""

PACKAGES = (
    *("torch", "numpy", "numba", "llvmlite"),
    *("numba-cuda", "cuda-bindings", "cuda-core"),
    *("nvidia-nvvm", "nvidia-nvjitlink"),
)


@dataclass(frozen=True, slots=True)
class Trial:
    """What one call of linear attention took.

    Attributes:
        device: As torch calls it: `cpu`, `cuda:0`.
        dtype: Of q, k and v.
        forward: The backend that ran the forward pass; empty if the call failed.
        backward: Likewise.
        error: The largest relative error, against float64, of the output and the gradients.
        reason: Why a backend is torch; empty if none is.
        problem: What is broken: a wrong result, a failure, or a kernel that should have run.
    """

    device: str
    dtype: str
    forward: str
    backward: str
    error: float | None
    reason: str
    problem: str


def versions() -> dict[str, str | None]:
    """Python and the packages that kernels depend on; None for one that is not installed."""
    found: dict[str, str | None] = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = None
    return found


def cpu_facts() -> dict[str, Any]:
    """Vectors, threads, their OpenMP library, and where compiled CPU kernels are kept."""
    library = cpu_launch.openmp_library()
    folder = _cpu_cache()
    return {
        "processor": platform.machine(),
        "cpus": os.cpu_count(),
        "vector_lanes": vector_lanes(),
        "torch_threads": torch.get_num_threads(),
        "openmp": None if library is None else str(library),
        "cache": None if folder is None else str(folder),
        "cache_bytes": 0 if folder is None else _bytes_in(folder, "*.nb[ci]"),
    }


def cuda_facts() -> dict[str, Any]:
    """Devices, compilers, and the cache of compiled CUDA kernels."""
    try:
        folder: Path | None = cache_folder()
    except RuntimeError:
        folder = None
    missing = missing_compilers()
    return {
        "torch_cuda": torch.version.cuda,
        "devices": list(_devices()),
        "missing_compilers": missing,
        "compiler_problem": None if missing else _compiler_problem(),
        "mismatch": _mismatch(),
        "cache": None if folder is None else str(folder),
        "cached_kernels": len(cached_kernels()),
        "cache_bytes": 0 if folder is None else _bytes_in(folder, "*.cubin"),
    }


def _devices() -> Iterator[dict[str, Any]]:
    for index in range(torch.cuda.device_count()) if torch.cuda.is_available() else ():
        facts = torch.cuda.get_device_properties(index)
        yield {
            "device": f"cuda:{index}",
            "name": facts.name,
            "arch": arch_name((facts.major, facts.minor)),
            "bytes": facts.total_memory,
        }


def _compiler_problem() -> str | None:
    """Compile a kernel of one line; what goes wrong, or None."""

    def store(x: Any) -> None:
        x[0] = 1.0

    try:
        compile_kernel(Kernel("store", store, ("float_pointer",), threads=32), (8, 0))
    except Exception as failure:  # noqa: BLE001 - a toolkit has many ways to fail
        return _first_line(failure)
    return None


def _mismatch() -> str | None:
    """Say that torch and cuda-bindings are for different major versions of CUDA; None if not."""
    bindings, cuda = versions()["cuda-bindings"], torch.version.cuda
    if bindings is None or cuda is None or bindings.split(".")[0] == cuda.split(".")[0]:
        return None
    extra = "cuda12" if cuda.startswith("12.") else "cuda"
    return f"torch is for CUDA {cuda}, cuda-bindings is {bindings}: pip install 'linvit[{extra}]'"


def trials() -> Iterator[Trial]:
    """Try every dtype on every device."""
    for device, arch in (("cpu", "cpu"), *((d["device"], d["arch"]) for d in _devices())):
        for dtype in (*KERNEL_DTYPES, "float64"):
            yield attempt(device, arch, dtype)


def attempt(device: str, arch: str, dtype: str) -> Trial:
    """Run one small call, forward and backward; whatever goes wrong is in the result.

    Args:
        device: As torch calls it.
        arch: As `explain` calls it: `cpu` or `sm_90`.
        dtype: Of q, k and v.
    """
    before = torch_reasons()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that torch runs is in the result, with the reason
        try:
            verdict = judge("split_relu", dtype, SHAPE, device)
        except Exception as failure:  # noqa: BLE001 - a driver or compiler has many ways to fail
            return Trial(device, dtype, "", "", None, "", _first_line(failure))
    error = max(verdict.errors, key=lambda e: (e != e, e))  # a NaN is the worst
    ran = (verdict.forward, verdict.backward)
    reason = _reason(device, before) if "torch" in ran else ""
    batch, queries, keys, heads, head_dim, value_dim = SHAPE
    sizes = {"batch": batch, "queries": queries, "keys": keys, "heads": heads}
    widths = {"head_dim": head_dim, "value_dim": value_dim}
    expected = tuple(e.backend for e in explain("split_relu", dtype, arch, **sizes, **widths))
    problem = ""
    if not verdict.passed:
        problem = f"wrong by {error:.1e}"
    elif ran != expected:
        problem = f"{' and '.join(dict.fromkeys(expected))} should have run"
    return Trial(device, dtype, *ran, error, reason, problem)


def _first_line(failure: Exception) -> str:
    return f"{type(failure).__name__}: {(str(failure).splitlines() or [''])[0]}"


def _reason(device: str, before: Sequence[str]) -> str:
    """Why torch has run on a device: what is new, else all that is known of such devices."""
    prefix = "on a CPU: " if device == "cpu" else "on CUDA: "
    known = [reason for reason in torch_reasons() if reason.startswith(prefix)]
    new = [reason for reason in known if reason not in before]
    return "; ".join(reason.removeprefix(prefix) for reason in new or known)


def _cpu_cache() -> Path | None:
    """The folder in which Numba keeps the CPU kernels; None where it keeps or makes none."""
    plan = choose_cpu_plan("split_relu", torch.float32, SHAPE[4], SHAPE[5])
    try:
        cache = cpu_launch.compiled_forward(plan)._cache if plan else None
        return Path(cache.cache_path) if cache is not None and cache.cache_path else None
    except Exception:  # noqa: BLE001 - that it cannot be built is what a trial says
        return None


def _bytes_in(folder: Path, pattern: str) -> int:
    return sum(path.stat().st_size for path in folder.glob(pattern))
