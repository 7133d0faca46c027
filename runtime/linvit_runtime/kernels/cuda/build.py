"""From a `Kernel` to machine code for one architecture, and the cache of it on disk.

numba-cuda and NVVM make assembler text (PTX), nvJitLink makes machine code (a cubin) of it, and its
log tells registers and spills. Neither needs a GPU or a driver. The driver is only ever given
cubins: text of a newer toolkit than itself it would reject.

A cache entry is one file, found by what its content depends on: the text and constants of the
kernel, the versions of the compilers, the architecture. Where no compiler is installed, an entry
that other versions made of the same kernel is taken, so that a machine can be given its kernels.
"""

import functools
import hashlib
import importlib.metadata
import importlib.util
import json
import os
import re
import threading
import time
import warnings
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import CodeType, FunctionType
from typing import Any

from linvit_runtime.durable import replace_file
from linvit_runtime.kernels.cuda.kernel import Kernel

Capability = tuple[int, int]
"""Compute capability as (major, minor): (9, 0) is sm_90."""

_COMPILERS = (
    *("numba-cuda", "llvmlite", "cuda-core"),
    *("nvidia-nvvm", "nvidia-nvjitlink"),  # the toolkit for CUDA 13
    *("nvidia-cuda-nvcc-cu12", "nvidia-nvjitlink-cu12"),  # for CUDA 12
)
_COMPILERS_MODULES = {"numba", "llvmlite"}
_CODE_GENERATORS = {"nvidia-nvvm", "nvidia-cuda-nvcc-cu12"}

_FORMAT = 1  # of an entry: one line of JSON, then the cubin
_building = threading.Lock()  # the forward pass and autograd's thread may ask at once


@dataclass(frozen=True, slots=True)
class BuiltKernel:
    """Machine code and what the assembler says about it.

    Attributes:
        name: The kernel's name, also of its function inside the cubin.
        arch: What it runs on: `sm_90`.
        cubin: The machine code, an ELF file.
        registers: Per thread.
        spill_bytes: Per thread, stored to and loaded from local memory because registers ran out.
        shared_bytes: Shared memory per CTA, static and dynamic.
        seconds: What compiling took.
        from_cache: Whether it was read from the disk.
    """

    name: str
    arch: str
    cubin: bytes
    registers: int
    spill_bytes: int
    shared_bytes: int
    seconds: float
    from_cache: bool = False


def arch_name(capability: Capability) -> str:
    """`sm_90` of (9, 0)."""
    return "sm_{}{}".format(*capability)


def missing_compilers() -> tuple[str, ...]:
    """What compiling needs and this machine lacks, of numba-cuda, NVVM, NVRTC and nvJitLink."""
    if importlib.util.find_spec("numba_cuda") is None:
        return ("numba-cuda",)
    from cuda.pathfinder import DynamicLibNotFoundError, load_nvidia_dynamic_lib

    missing: list[str] = []
    for library in ("nvvm", "nvrtc", "nvJitLink"):
        try:
            load_nvidia_dynamic_lib(library)
        except DynamicLibNotFoundError:
            missing.append(library)
    return tuple(missing)


def cache_folder() -> Path:
    """`$LINVIT_KERNEL_CACHE`, else `linvit/kernels` in the user's cache folder.

    Raises:
        RuntimeError: There is no home folder to find it in.
    """
    if given := os.environ.get("LINVIT_KERNEL_CACHE"):
        return Path(given)
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "linvit" / "kernels"


def build(kernel: Kernel, capability: Capability) -> BuiltKernel:
    """Return the machine code of `kernel`, from the disk, or compiled in a few seconds and kept.

    Raises:
        ValueError: The architecture is too old for the kernel.
        Exception: numba-cuda or the toolkit behind it cannot; of whatever class they choose.
    """
    if capability < kernel.min_capability:
        oldest, arch = arch_name(kernel.min_capability), arch_name(capability)
        raise ValueError(f"{kernel.name} needs {oldest} or newer, not {arch}")
    with _building:
        path = _entry_path(kernel, capability)
        built = _read_entry(path) or _made_elsewhere(path)
        if built is None:
            built = compile_kernel(kernel, capability)
            _write_entry(path, built)
    return built


def compile_kernel(kernel: Kernel, capability: Capability) -> BuiltKernel:
    """Compile `kernel`, whatever the cache holds."""
    start = time.perf_counter()
    built = assemble(kernel, assembler_text(kernel, capability), capability)
    return replace(built, seconds=time.perf_counter() - start)


def assemble(kernel: Kernel, text: str, capability: Capability) -> BuiltKernel:
    """Make machine code of a kernel's assembler text, which may be for an older architecture.

    Where registers would spill, fewer CTAs than the kernel wishes for share a multiprocessor.
    """
    start = time.perf_counter()
    cubin, log = _link(text, arch_name(capability))
    for min_blocks in range(kernel.min_blocks - 1, 0, -1):
        if not _spill_bytes(log):
            break
        text = re.sub(r"(?<=\.minnctapersm )\d+", str(min_blocks), text)
        cubin, log = _link(text, arch_name(capability))
    shared = re.findall(r"\.shared [^;\[]*\[(\d+)\]", text)  # the log leaves them out
    return BuiltKernel(
        name=kernel.name,
        arch=arch_name(capability),
        cubin=cubin,
        registers=int(_found(r"Used (\d+) registers", log)[1]),
        spill_bytes=_spill_bytes(log),
        shared_bytes=kernel.shared_bytes + sum(map(int, shared)),
        seconds=time.perf_counter() - start,
    )


def _spill_bytes(log: str) -> int:
    spills = _found(r"(\d+) bytes spill stores, (\d+) bytes spill loads", log)
    return int(spills[1]) + int(spills[2])


def _found(pattern: str, text: str) -> re.Match[str]:
    match = re.search(pattern, text)
    if match is None:
        raise RuntimeError(f"the CUDA toolkit wrote nothing like {pattern!r}: {text[:500]}")
    return match


def assembler_text(kernel: Kernel, capability: Capability) -> str:
    """The PTX of `kernel`, as numba-cuda and NVVM write it, with its name as that of the entry."""
    from unittest import mock

    import numba.cuda
    import numpy as np

    cuda: Any = numba.cuda
    bounds = (kernel.threads, kernel.min_blocks) if kernel.min_blocks else kernel.threads
    # numba-cuda 0.30 asks NumPy for what NumPy 2.5 no longer has, when it first compiles.
    with mock.patch.object(np, "row_stack", np.vstack, create=True):
        text, _ = cuda.compile(
            kernel.body,
            numba_signature(kernel),
            cc=capability,
            output="ptx",
            device=False,
            abi="numba",
            fastmath=kernel.fastmath,
            launch_bounds=bounds,
        )
    entry = _found(r"\.entry\s+([^\s(]+)", text)
    # Numba's own name counts the functions compiled before; this one is what profilers show.
    return text.replace(entry[1], kernel.name)


def numba_signature(kernel: Kernel) -> Any:
    """The kernel's type as Numba writes it. Pointers carry no shape and wrap no index around."""
    import numba.cuda

    cuda: Any = numba.cuda
    types = cuda.types
    numba_types = {
        "pointer16": types.CPointer(types.uint16),
        "pointer32": types.CPointer(types.uint32),
        "float_pointer": types.CPointer(types.float32),
        "int32": types.int32,
        "int64": types.int64,
        "float32": types.float32,
    }
    return types.void(*[numba_types[kind] for kind in kernel.arguments])


def _link(text: str, arch: str) -> tuple[bytes, str]:
    """The cubin, and the assembler's report."""
    import cuda.core

    core: Any = cuda.core
    options = core.LinkerOptions(arch=arch, ptxas_options=["-v"])
    linker = core.Linker(core.ObjectCode.from_ptx(text.encode()), options=options)
    return bytes(linker.link("cubin").code), linker.get_info_log()


def cached_kernels() -> tuple[tuple[Path, BuiltKernel], ...]:
    """The whole entries of the cache, by name; damaged ones are left out."""
    try:
        paths = sorted(cache_folder().glob("*.cubin"))
    except RuntimeError:
        return ()
    entries = ((path, _read_entry(path)) for path in paths)
    return tuple((path, built) for path, built in entries if built is not None)


# What an entry depends on.


def _entry_path(kernel: Kernel, capability: Capability) -> Path | None:
    try:
        folder = cache_folder()
    except RuntimeError:
        return None
    compilers = hashlib.sha256(repr((_FORMAT, _compiler_versions())).encode()).hexdigest()
    parts = (kernel.name, arch_name(capability), kernel_digest(kernel)[:24], compilers[:16])
    return folder / f"{'-'.join(parts)}.cubin"


@functools.cache
def _compiler_versions() -> tuple[tuple[str, str], ...]:
    """The installed ones. A toolkit that pip did not install is not among them."""
    found: list[tuple[str, str]] = []
    for name in _COMPILERS:
        try:
            found.append((name, importlib.metadata.version(name)))
        except importlib.metadata.PackageNotFoundError:
            continue
    return tuple(found)


def kernel_digest(kernel: Kernel) -> str:
    """SHA-256 of all that the assembler text of a kernel depends on, compilers apart.

    That is its own fields, the constants that the body and the functions called by it close over,
    and the whole text of the files that these functions stand in.
    """
    fields = (*kernel.arguments, kernel.name, kernel.threads, kernel.shared_bytes)
    files: set[str] = set()
    parts = [repr((*fields, kernel.min_blocks, kernel.fastmath))]
    parts += _constants(kernel.body, files, set())
    parts += [_file_digest(name) for name in sorted(files)]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def _constants(value: Any, files: set[str], seen: set[int]) -> Iterator[str]:
    """What a function closes over, in order, and what the functions among that close over.

    `files` collects where they stand. A device function of numba-cuda holds the Python function as
    `py_func`, an intrinsic as `_defn`. Other objects are the compilers' own.
    """
    function = getattr(value, "py_func", None) or getattr(value, "_defn", None) or value
    if isinstance(function, bool | int | float | str | tuple | type(None)):
        yield repr(function)
    elif isinstance(function, FunctionType) and id(function) not in seen:
        seen.add(id(function))
        if function.__module__.partition(".")[0] in _COMPILERS_MODULES:
            return  # their versions speak for them
        files.add(function.__code__.co_filename)
        for name, inner in sorted(_free_values(function).items()):
            yield name
            yield from _constants(inner, files, seen)


def _free_values(function: FunctionType) -> dict[str, Any]:
    """What the free names of a function stand for."""
    names = function.__code__.co_freevars
    cells = zip(names, function.__closure__ or (), strict=True)
    values = {
        name: function.__globals__[name]
        for name in _global_names(function.__code__)
        if name in function.__globals__  # attributes are among the names too
    }
    return values | {name: cell.cell_contents for name, cell in cells}


def _global_names(code: CodeType) -> set[str]:
    """The global names of a function, of attributes too, and those of the functions inside it.

    Python 3.12 compiles a comprehension as part of the function around it, 3.11 as one inside it.
    """
    inside = [_global_names(inner) for inner in code.co_consts if isinstance(inner, CodeType)]
    return {*code.co_names}.union(*inside)


@functools.cache
def _file_digest(name: str) -> str:
    return hashlib.sha256(Path(name).read_bytes()).hexdigest()


# Reading and writing entries.


def _read_entry(path: Path | None) -> BuiltKernel | None:
    """The entry at `path`; None where there is none, or a damaged one, which is then rebuilt."""
    if path is None:
        return None
    try:
        head, cubin = path.read_bytes().split(b"\n", 1)
        fields = json.loads(head)
        if fields.pop("sha256") != hashlib.sha256(cubin).hexdigest():
            return None
        return BuiltKernel(**fields, cubin=cubin, from_cache=True)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def _made_elsewhere(path: Path | None) -> BuiltKernel | None:
    """An entry of the same kernel by other compilers, where none are installed here."""
    if path is None or any(name in _CODE_GENERATORS for name, _ in _compiler_versions()):
        return None
    others = sorted(path.parent.glob(f"{path.name.rsplit('-', 1)[0]}-*.cubin"))
    return next((built for built in map(_read_entry, others) if built is not None), None)


def _write_entry(path: Path | None, built: BuiltKernel) -> None:
    fields = asdict(built)
    cubin = fields.pop("cubin")
    del fields["from_cache"]
    head = json.dumps(fields | {"sha256": hashlib.sha256(cubin).hexdigest()})
    try:
        if path is None:
            raise OSError("there is no home folder")
        path.parent.mkdir(parents=True, exist_ok=True)
        replace_file(path, head.encode() + b"\n" + cubin)
    except OSError as problem:
        _warn_of_no_cache(str(problem))


@functools.cache
def _warn_of_no_cache(problem: str) -> None:
    warnings.warn(
        f"linvit: compiled CUDA kernels cannot be kept ({problem}), so every process compiles them "
        "anew. LINVIT_KERNEL_CACHE names another folder.",
        RuntimeWarning,
        stacklevel=1,
    )
