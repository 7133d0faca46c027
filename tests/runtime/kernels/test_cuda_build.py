"""The cache of compiled CUDA kernels: what finds an entry, what makes one useless."""

import dataclasses
import importlib.util
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from unittest import mock

import numpy as np
import pytest

from linvit_runtime.kernels.cuda import build
from linvit_runtime.kernels.cuda.build import BuiltKernel, Capability
from linvit_runtime.kernels.cuda.kernel import Kernel

H200 = (9, 0)
SCALE = 3


def kernel_with(factor: int) -> Kernel:
    """A kernel that closes over a constant, itself and through a function that it calls."""

    def step(x: float) -> float:
        return x * factor

    def body(out: list[float]) -> None:
        out[0] = step(out[0]) + SCALE

    return Kernel("small", body, ("float_pointer",), threads=32)


@pytest.fixture
def compiled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[mock.Mock]:
    """A compiler that takes no time, and an empty cache."""
    monkeypatch.setenv("LINVIT_KERNEL_CACHE", str(tmp_path))
    build._warn_of_no_cache.cache_clear()

    def compile_kernel(kernel: Kernel, capability: Capability) -> BuiltKernel:
        arch = build.arch_name(capability)
        return BuiltKernel(kernel.name, arch, b"\x7fELF\n\n\x00code", 40, 0, 1024, 1.5)

    with mock.patch.object(build, "compile_kernel", side_effect=compile_kernel) as compiler:
        yield compiler


def entry(folder: Path) -> Path:
    (path,) = folder.iterdir()  # and no temporary file beside it
    return path


def test_a_kernel_is_compiled_once(compiled: mock.Mock, tmp_path: Path) -> None:
    first, second = (build.build(kernel_with(2), H200) for _ in range(2))
    assert compiled.call_count == 1
    assert (first.from_cache, second.from_cache) == (False, True)
    assert dataclasses.replace(second, from_cache=False) == first
    assert entry(tmp_path).name.startswith("small-sm_90-")


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: content[:-1],
        lambda content: content[:20],
        lambda content: content.replace(b"code", b"core"),
        lambda content: content.replace(b'"registers"', b'"registres"'),
        lambda content: b"",
        lambda content: b"[]\n",
    ],
)
def test_a_damaged_entry_is_made_anew(
    compiled: mock.Mock, tmp_path: Path, damage: Callable[[bytes], bytes]
) -> None:
    whole = build.build(kernel_with(2), H200)
    path = entry(tmp_path)
    path.write_bytes(damage(path.read_bytes()))
    assert build.build(kernel_with(2), H200) == whole
    assert compiled.call_count == 2
    assert build.build(kernel_with(2), H200).from_cache


@pytest.mark.parametrize(
    "change",
    [
        lambda kernel: dataclasses.replace(kernel, fastmath=True),
        lambda kernel: dataclasses.replace(kernel, min_blocks=2),
        lambda kernel: dataclasses.replace(kernel, threads=64),
        lambda kernel: dataclasses.replace(kernel, arguments=("pointer32",)),
        lambda kernel: kernel_with(3),
    ],
)
def test_whatever_changes_the_machine_code_changes_the_entry(
    compiled: mock.Mock, change: Callable[[Kernel], Kernel]
) -> None:
    build.build(kernel_with(2), H200)
    build.build(change(kernel_with(2)), H200)
    assert compiled.call_count == 2
    build.build(kernel_with(2), (8, 0))
    assert compiled.call_count == 3


def kernel_calling(path: Path, text: str) -> Kernel:
    """A kernel that calls a function which stands in another file."""
    path.write_text(f"def step(x):\n    {text}\n")
    spec = importlib.util.spec_from_file_location("steps", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    step = module.step

    def body(out: list[float]) -> None:
        out[0] = step(out[0])

    return Kernel("calling", body, ("float_pointer",), threads=32)


def test_so_does_the_text_of_a_function_that_the_kernel_calls(tmp_path: Path) -> None:
    texts = ("return x + 1", "return x + 2", "return x + 1")
    first, other, again = (
        build.kernel_digest(kernel_calling(tmp_path / f"{number}.py", text))
        for number, text in enumerate(texts)
    )
    assert first == again != other


def test_versions_of_python_agree_on_an_entry() -> None:
    """They name what a comprehension uses in different places."""

    def body(out: list[float]) -> None:
        out[0] = sum([SCALE * x.real for x in out])

    assert build._free_values(body) == {"SCALE": SCALE}  # nor is an attribute or a builtin one


def test_numpy_may_be_newer_than_numba_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    """NumPy 2.5 has no `row_stack`, which numba-cuda 0.30 looks for."""
    pytest.importorskip("numba_cuda")
    monkeypatch.delattr(np, "row_stack", raising=False)

    def compiled(*_: object, **__: object) -> tuple[str, None]:
        return f".entry name({getattr(np, 'row_stack', None) is np.vstack})", None

    with mock.patch("numba.cuda.compile", side_effect=compiled):
        assert build.assembler_text(kernel_with(2), H200) == ".entry small(True)"
    assert not hasattr(np, "row_stack")


def test_other_compilers_make_other_entries(
    compiled: mock.Mock, monkeypatch: pytest.MonkeyPatch
) -> None:
    build.build(kernel_with(2), H200)
    monkeypatch.setattr(build, "_compiler_versions", lambda: (("nvidia-nvvm", "99"),))
    build.build(kernel_with(2), H200)
    assert compiled.call_count == 2


def test_a_machine_without_compilers_takes_what_it_was_given(
    compiled: mock.Mock, monkeypatch: pytest.MonkeyPatch
) -> None:
    build.build(kernel_with(2), H200)
    monkeypatch.setattr(build, "_compiler_versions", lambda: (("numba-cuda", "99"),))
    assert build.build(kernel_with(2), H200).from_cache
    assert not build.build(kernel_with(4), H200).from_cache


def test_a_folder_that_cannot_be_written_is_said_once(
    compiled: mock.Mock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    occupied = tmp_path / "file"
    occupied.touch()
    monkeypatch.setenv("LINVIT_KERNEL_CACHE", str(occupied / "cache"))
    with pytest.warns(RuntimeWarning, match=r"cannot be kept .* LINVIT_KERNEL_CACHE names another"):
        build.build(kernel_with(2), H200)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        build.build(kernel_with(2), H200)
    assert compiled.call_count == 2


def test_the_folder_is_the_user_s_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("LINVIT_KERNEL_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert build.cache_folder() == tmp_path / "linvit" / "kernels"


def test_an_old_device_is_refused_before_compiling(compiled: mock.Mock) -> None:
    kernel = dataclasses.replace(kernel_with(2), min_capability=(8, 0))
    with pytest.raises(ValueError, match="small needs sm_80 or newer, not sm_75"):
        build.build(kernel, (7, 5))
    assert compiled.call_count == 0
