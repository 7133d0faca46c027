"""A model file is the whole model: it loads without the spec, and says when it does not fit."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from safetensors import safe_open

import linvit_dsl
from linvit_codegen import Options, generate
from linvit_codegen.passes import LEVELS
from linvit_dsl.api import ModelBuilder
from linvit_runtime.errors import RunProblem
from linvit_runtime.export import ExportMismatch, ModelFileProblem, read_model_file
from linvit_runtime.generated import build
from linvit_runtime.train import CheckpointProblem
from linvit_runtime.train.weights import load_tensors
from tests.runtime.export.small import images, net, trained

__all__ = ["net"]


def rewritten(path: Path, **changes: str | None) -> Path:
    """A copy with other metadata; None takes an entry away."""
    with safe_open(path, framework="pt") as file:
        metadata = dict(file.metadata())
    for key, value in changes.items():
        metadata.pop(f"linvit.{key}", None)
        if value is not None:
            metadata[f"linvit.{key}"] = value
    other = path.with_name("other.safetensors")
    safetensors.torch.save_file(safetensors.torch.load_file(path), other, metadata)
    return other


def test_a_model_file_needs_no_spec(net: ModelBuilder, tmp_path: Path) -> None:
    """The file alone gives back architecture, static parameters and weights."""
    model, path = trained(net, depth=1, heads=4), tmp_path / "net.safetensors"
    net.export(path, weights=model, depth=1, heads=4)
    shutil.rmtree(tmp_path / "project")
    again = linvit_dsl.load_model(path)
    assert not again.training
    assert torch.equal(again(images(3)), model(images(3)))
    held = read_model_file(path)
    assert list(held.texts) == [
        *("net.vit", "std:nn", "std:linear_attention", "blocks/gate.vit", "blocks/inner.vit"),
    ]
    assert held.overrides == {"depth": "1", "heads": "4"}
    assert str(tmp_path) not in path.read_bytes().decode(errors="ignore")


def test_the_texts_of_the_file_count_not_those_of_the_library(
    net: ModelBuilder, tmp_path: Path
) -> None:
    """A later standard library changes no model that was written before it."""
    path = tmp_path / "net.safetensors"
    net.export(path)
    texts = dict(read_model_file(path).texts)
    texts["std:linear_attention"] = texts["std:linear_attention"].replace("+ eps", "+ 2 + eps")
    other = linvit_dsl.load_model(rewritten(path, sources=json.dumps(texts)))
    assert not torch.allclose(other(images(2)), linvit_dsl.load_model(path)(images(2)))
    del texts["std:linear_attention"]
    with pytest.raises(linvit_dsl.SpecError, match=r"std\.linear_attention"):
        linvit_dsl.load_model(rewritten(path, sources=json.dumps(texts)))


@pytest.mark.parametrize("name", ["../blocks/gate.vit", "/etc/passwd", "./blocks/none.vit"])
def test_a_stored_spec_reads_no_files(name: str, net: ModelBuilder, tmp_path: Path) -> None:
    path = tmp_path / "net.safetensors"
    net.export(path)
    texts = dict(read_model_file(path).texts)
    texts["net.vit"] = texts["net.vit"].replace("./blocks/gate.vit", name)
    with pytest.raises(linvit_dsl.SpecError) as raised:
        linvit_dsl.load_model(rewritten(path, sources=json.dumps(texts)))
    assert [found.code for found in raised.value.diagnostics] == ["E0208"]


def test_equal_exports_are_equal_files(net: ModelBuilder, tmp_path: Path) -> None:
    for name in ("a", "b"):
        net.export(tmp_path / f"{name}.safetensors", depth=1)
    first, second = ((tmp_path / f"{name}.safetensors").read_bytes() for name in ("a", "b"))
    assert first == second


def test_weights_of_another_size_are_refused_with_both_shapes(
    net: ModelBuilder, tmp_path: Path
) -> None:
    path = tmp_path / "net.safetensors"
    net.export(path)
    wider = rewritten(path, overrides='{"d": "32"}')
    with pytest.raises(CheckpointProblem) as raised:
        linvit_dsl.load_model(wider)
    message = str(raised.value)
    assert "`cls_token` has shape [1, 1, 16] there and shape [1, 1, 32] here, and" in message
    assert "other static parameters" in message
    deeper = rewritten(path, overrides='{"depth": "3"}')
    with pytest.raises(
        CheckpointProblem, match=r"`gates\.2\.\S+` has nothing there(.|\n)*another arch"
    ):
        linvit_dsl.load_model(deeper)


def test_a_spec_with_errors_is_shown_as_such(net: ModelBuilder, tmp_path: Path) -> None:
    path = tmp_path / "net.safetensors"
    net.export(path)
    with pytest.raises(linvit_dsl.SpecError, match="cannot be split into 3 heads"):
        linvit_dsl.load_model(rewritten(path, overrides='{"heads": "3"}'))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format": "2"}, r"format '2'; this linvit reads format 1"),
        ({"format": None}, r"holds weights, but no spec"),
        ({"model": None}, r"names no spec or no model"),
        ({"sources": "{}"}, r"names no spec or no model"),
        ({"sources": None}, r"`linvit\.sources` is not texts by name"),
        ({"sources": '["a"]'}, r"`linvit\.sources` is not texts by name"),
        ({"sources": '{"a.vit": 3}'}, r"`linvit\.sources` is not texts by name"),
        ({"sources": '{"a.vit": "\\ud800"}'}, r"`linvit\.sources` is not texts by name"),
        ({"overrides": "[" * 9999}, r"`linvit\.overrides` is not texts by name"),
        ({"recipe": '{"data": 3}'}, r"`linvit\.recipe` is no recipe"),
    ],
)
def test_a_damaged_model_file_is_said_to_be_one(
    changes: dict[str, str | None], message: str, net: ModelBuilder, tmp_path: Path
) -> None:
    path = tmp_path / "net.safetensors"
    net.export(path, depth=1)
    with pytest.raises(ModelFileProblem, match=message):
        linvit_dsl.load_model(rewritten(path, **changes))


def test_no_file_and_no_safetensors(net: ModelBuilder, tmp_path: Path) -> None:
    with pytest.raises(ModelFileProblem, match="no such file"):
        linvit_dsl.load_model(tmp_path / "none.safetensors")
    torn = tmp_path / "torn.safetensors"
    net.export(torn, depth=1)
    torn.write_bytes(torn.read_bytes()[:1000])
    with pytest.raises(ModelFileProblem, match="is no safetensors file"):
        linvit_dsl.load_model(torn)
    pickled = tmp_path / "model.pt"
    pickled.write_bytes(b"\x80\x04.")
    with pytest.raises(ModelFileProblem, match="may hold code"):
        net.export(tmp_path / "net.pt2", weights=pickled)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("net.pth", {}, r"no ending that says its format\nformats: \.pt2"),
        ("none/net.pt2", {}, "there is no folder"),
        ("net.pt2", {"opset": 20}, r"an opset is for \.onnx files"),
        ("net.safetensors", {"batch": 2}, "has no batch size"),
    ],
)
def test_a_request_without_sense_is_refused_at_once(
    name: str, options: dict[str, Any], message: str, net: ModelBuilder, tmp_path: Path
) -> None:
    with pytest.raises(RunProblem, match=message) as raised:
        net.export(tmp_path / name, **options)
    assert raised.value.exit_code == 2


def test_plain_weights_and_model_files_are_weights(net: ModelBuilder, tmp_path: Path) -> None:
    model, plain, whole = trained(net), tmp_path / "plain.safetensors", tmp_path / "a.safetensors"
    safetensors.torch.save_file(model.state_dict(), plain)
    net.export(whole, weights=plain)
    assert torch.equal(linvit_dsl.load_model(whole)(images(2)), model(images(2)))
    net.export(tmp_path / "b.safetensors", weights=whole)
    with pytest.raises(ExportMismatch):
        net.export(tmp_path / "c.safetensors", weights=whole, heads=4)


def test_the_given_module_stays_as_it_is(net: ModelBuilder, tmp_path: Path) -> None:
    model = trained(net).double().train()
    net.export(tmp_path / "net.safetensors", weights=model)
    assert model.training
    assert next(model.parameters()).dtype == torch.float64


def test_weights_of_a_model_file_load_at_every_level(net: ModelBuilder, tmp_path: Path) -> None:
    path = tmp_path / "net.safetensors"
    model = trained(net)
    net.export(path, weights=model)
    tensors = read_model_file(path).tensors
    for level in LEVELS:
        generated = generate(net.graph(), options=Options(level=level))
        module = build(generated, "Net").eval()
        load_tensors(module, tensors, path)
        torch.testing.assert_close(module(images(3)), model(images(3)))
