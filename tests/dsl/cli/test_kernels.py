"""`linvit kernels`: what is built for whom, what verifying says, and how mistakes end."""

from pathlib import Path

import pytest

from linvit_dsl.cli import main
from linvit_runtime.kernels import dispatch, verify
from linvit_runtime.kernels.cuda import build
from linvit_runtime.kernels.cuda.build import BuiltKernel, Capability
from linvit_runtime.kernels.cuda.kernel import Kernel

pytest.importorskip("numba_cuda", reason="needs numba-cuda (pip install -e '.[dev]')")


@pytest.fixture(autouse=True)
def _with_an_instant_compiler(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def compile_kernel(kernel: Kernel, capability: Capability) -> BuiltKernel:
        arch = build.arch_name(capability)
        return BuiltKernel(kernel.name, arch, b"\x7fELF" * 500, 96, 4, 41_728, 1.25)

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LINVIT_KERNEL_CACHE", "cache")
    monkeypatch.setattr(build, "compile_kernel", compile_kernel)
    monkeypatch.setattr(build, "missing_compilers", tuple)


def test_a_model_s_kernels_are_built_once_for_every_architecture(
    capsys: pytest.CaptureFixture[str],
) -> None:
    words = ("kernels", "build", "--arch", "sm_80,sm_90", "--dtype", "float32", "efficientvit")
    assert main(words) == 0
    lines = capsys.readouterr().out.splitlines()
    headings = ["kernel", "arch", "registers", "spills", "shared", "size", "seconds"]
    assert lines[0].split() == headings
    rows = [line.split() for line in lines[1:-2]]
    names = [row[0].partition("_relu_float32_16_16_tile_64")[0] for row in rows]
    gradients = {f"simt_{what}_gradients" for what in ("query", "state", "key")}
    assert set(names) == {"simt_forward", *gradients}
    assert {row[1] for row in rows} == {"sm_80", "sm_90"}
    assert all(row[2:] == ["96", "4", "41,728", "2,000", "1.2"] for row in rows)
    assert lines[-1] == f"{len(rows)} kernels in cache"
    assert main(words) == 0
    assert capsys.readouterr().out.count("cached") == len(rows)
    assert main(["kernels", "list"]) == 0
    assert capsys.readouterr().out.endswith(f"{len(rows)} kernels in cache\n")


def test_a_model_without_kernels_needs_none(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["kernels", "build", "--arch", "sm_90", "baseline"]) == 0
    assert capsys.readouterr().out.startswith("no kernels to build")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("build", "--arch", "90"), "--arch: '90' is no architecture; they are written like sm_80"),
        (("build", "--arch", "sm_60"), "sm_60: the oldest supported architecture is sm_75"),
        (("build", "--arch", "sm_90", "--dtype", "int8"), "--dtype: there are no kernels for 'int"),
        (("build", "--arch", "sm_90", "nosuch"), "nosuch"),
        (("bild",), "invalid choice: 'bild'"),
        ((), "ACTION"),
    ],
)
def test_mistakes_are_told(
    words: tuple[str, ...], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["kernels", *words]) == 2
    assert message in capsys.readouterr().err


def test_an_architecture_that_the_compilers_refuse_is_told(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(kernel: Kernel, capability: Capability) -> BuiltKernel:
        raise OSError("no such arch")

    monkeypatch.setattr(build, "compile_kernel", refuse)
    assert main(["kernels", "build", "--arch", "sm_99"]) == 2
    assert " for sm_99: no such arch\n" in capsys.readouterr().err


def test_without_compilers_it_says_what_to_install(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(build, "missing_compilers", lambda: ("nvvm",))
    assert main(["kernels", "build", "--arch", "sm_90"]) == 2
    assert capsys.readouterr().err == (
        "linvit: kernels cannot be compiled without nvvm\n  help: pip install 'linvit[cuda]'\n"
    )


def test_without_a_device_there_is_nothing_to_verify(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert main(["kernels", "verify"]) == 2
    assert "torch sees no CUDA device to verify kernels on" in capsys.readouterr().err


@pytest.fixture
def _few_cases(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verify, "FEATURE_MAPS", ("split_relu",))
    monkeypatch.setattr(verify, "TOLERANCES", {"float32": 1e-5})
    monkeypatch.setattr(verify, "SHAPES", ((2, 9, 5, 2, 16, 16),))


@pytest.mark.usefixtures("_few_cases")
def test_kernels_that_are_right_pass(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["kernels", "verify", "--device", "cpu"]) == 0
    first, last = capsys.readouterr().out.splitlines()
    assert first.startswith("ok   split_relu float32 [2, 9, 5, 2, 16, 16]: numba-cpu, numba-cpu; ")
    assert last == "0 of 1 cases differ from the definition in float64"


@pytest.mark.usefixtures("_few_cases")
def test_torch_verifies_no_kernel(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dispatch, "_numba_problem", lambda _: "Numba is broken")
    with pytest.warns(RuntimeWarning, match="Numba is broken"):
        assert main(["kernels", "verify", "--device", "cpu"]) == 1
    out = capsys.readouterr().out
    assert "1 of 1 ran in torch, which verifies no kernel:\n" in out
    assert "on a CPU: Numba is broken" in out


@pytest.mark.usefixtures("_few_cases")
@pytest.mark.parametrize("wrong", [1.001, float("nan")])
def test_kernels_that_are_wrong_fail(
    wrong: float, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    right = verify.linear_attention
    monkeypatch.setattr(verify, "linear_attention", lambda *words: right(*words) * wrong)
    assert main(["kernels", "verify", "--device", "cpu"]) == 1
    out = capsys.readouterr().out
    assert out.startswith("FAIL split_relu")
    assert out.endswith("1 of 1 cases differ from the definition in float64\n")
    assert "numba-cpu" in dispatch.backends_used()["forward"]
