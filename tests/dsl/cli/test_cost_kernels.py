"""`linvit cost --kernels`: what is said to run is what runs."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from linvit_codegen.passes.order_table import BREAK_EVEN
from linvit_dsl import load
from linvit_dsl.cli import main
from linvit_runtime.kernels.dispatch import recording
from linvit_runtime.kernels.explanation import explain
from tests.conftest import Golden

SHORT = """\
from std.linear_attention import LinearAttention
model Short(x: [B, 9, 128]) -> [B, 9, 128] { return x |> LinearAttention[2, phi = relu]@mixer }
model Wide(x: [B, 99, 512]) -> [B, 99, 512] { return x |> LinearAttention[1]@mixer }
"""


def rows(capsys: pytest.CaptureFixture[str], *words: str) -> list[dict[str, Any]]:
    assert main(["cost", *words, "--kernels", "--format", "json"]) == 0
    return json.loads(capsys.readouterr().out)


@pytest.mark.parametrize("spec", ["hydravit", "qavit:QAViT"])
def test_the_table_is_the_reviewed_one(
    spec: str, capsys: pytest.CaptureFixture[str], golden: Golden
) -> None:
    assert main(["cost", spec, "--kernels", "--arch", "cpu", "--batch", "8"]) == 0
    golden.check(f"cli/kernels/{spec.partition(':')[0]}.txt", capsys.readouterr().out)


@pytest.mark.parametrize("spec", ["linear:LinearViTDigits", "hydravit:HydraViTDigits"])
def test_what_is_said_is_what_runs(spec: str, capsys: pytest.CaptureFixture[str]) -> None:
    (row,) = rows(capsys, spec, "--arch", "cpu", "--batch", "2")
    file, _, name = spec.partition(":")
    model = getattr(load(file), name)
    with recording() as used:
        model()(torch.randn(2, 1, 8, 8)).sum().backward()
        assert tuple(used["forward"]) == (row["forward"],) == ("numba-cpu",)
        assert tuple(used["backward"]) == (row["backward"],)


def test_a_gpu_is_explained_without_one(capsys: pytest.CaptureFixture[str]) -> None:
    cpu, gpu = rows(capsys, "linear:LinearViT", "--arch", "cpu,sm_90", "--batch", "128")
    assert (cpu["device"], cpu["dtype"]) == ("cpu", "float32")
    assert (gpu["device"], gpu["dtype"]) == ("sm_90", "bfloat16")
    assert (gpu["batch"], gpu["queries"], gpu["heads"], gpu["head_dim"]) == (128, 65, 6, 64)
    assert (gpu["count"], gpu["layer"]) == (12, "layers.0-11.attn")
    sizes = {"batch": 128, "queries": 65, "keys": 65, "heads": 6, "head_dim": 64, "value_dim": 64}
    forward, backward = explain("split_relu", "bfloat16", "sm_90", **sizes)
    assert (gpu["forward"], gpu["backward"]) == (forward.backend, backward.backend)
    assert forward.reason in gpu["why"]


def test_the_reasons_for_torch(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(BREAK_EVEN, ("relu", 64), 16)  # whatever was measured last
    path = tmp_path / "short.vit"
    path.write_text(SHORT)
    short, wide = rows(capsys, str(path), "--arch", "cpu")
    assert (short["forward"], short["backward"]) == ("torch-quadratic", "torch")
    assert "all pairs of tokens first: measured" in short["why"]
    assert wide["forward"] == "torch"
    assert wide["why"] == "heads 512 wide have 1024 features, more than 512"
    (double,) = rows(capsys, "linear:LinearViT", "--arch", "cpu", "--dtype", "float64")
    assert (double["forward"], double["why"]) == ("torch", "float64 asks for the reference")


def test_a_model_without_attention(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = tmp_path / "plain.vit"
    path.write_text("model M(x: [B, 4]) -> [B, 4] { return x |> linear[4]@fc }\n")
    assert main(["cost", str(path), "--kernels"]) == 0
    assert capsys.readouterr().out == "no attention here: no kernel is called\n"


def test_this_machines_gpus_are_found_without_torch(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    tool = tmp_path / "nvidia-smi"
    tool.write_text("#!/bin/sh\necho 9.0\necho 9.0\necho '[N/A]'\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    assert [row["device"] for row in rows(capsys, "linear:LinearViT")] == ["cpu", "sm_90"]
    tool.write_text("#!/bin/sh\nexit 9\n")
    assert [row["device"] for row in rows(capsys, "linear:LinearViT")] == ["cpu"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--kernels", "--arch", "h200"), "--arch: 'h200' is no architecture"),
        (("--arch", "sm_90"), "--arch goes with --kernels"),
        (("--dtype", "float16"), "--dtype goes with --kernels"),
        (("--kernels", "--advice"), "--kernels stands alone"),
        (("--kernels", "--batch", "0"), "--batch must be at least 1"),
    ],
)
def test_words_that_make_no_sense(
    words: tuple[str, ...], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["cost", "linear", *words]) == 2
    assert said in capsys.readouterr().err
