"""Programs of torch.export and ONNX files compute what the trained model computes, or are not."""

import importlib.util
import io
import json
from collections.abc import Callable
from pathlib import Path

import onnx
import onnxruntime
import pytest
import torch
from torch import Tensor, nn

from linvit_dsl.api import ModelBuilder
from linvit_dsl.graph.ir import Graph
from linvit_runtime.export import (
    ExportMismatch,
    ExportRefused,
    MissingPackages,
    comparison,
    onnx_file,
)
from linvit_runtime.export.program import to_program
from tests.runtime.export.small import images, net, trained

__all__ = ["net"]

Program = Callable[[Tensor], Tensor]


def loaded(path: Path) -> Program:
    """What a file computes, read by its own library alone."""
    if path.suffix == ".pt2":
        return torch.export.load(path).module()
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return lambda x: torch.from_numpy(session.run(None, {"img": x.numpy()})[0])


@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.parametrize("ending", ["pt2", "onnx"])
def test_a_program_computes_what_the_trained_model_does(
    ending: str, net: ModelBuilder, tmp_path: Path
) -> None:
    model, path = trained(net), tmp_path / f"net.{ending}"
    found = net.export(path, weights=model)
    assert found.batches == (1, 3)
    assert 0 < found.reach < 100
    run = loaded(path)
    for batch in (1, 2, 7):
        torch.testing.assert_close(run(images(batch)), model(images(batch)).detach())


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_a_program_of_one_batch_size_takes_no_other(net: ModelBuilder, tmp_path: Path) -> None:
    path = tmp_path / "net.pt2"
    assert net.export(path, batch=4).batches == (4, 4)
    run = loaded(path)
    assert run(images(4)).shape == (4, 10)
    with pytest.raises(AssertionError, match="Guard failed"):
        run(images(3))


def test_a_program_says_what_it_was_made_of(net: ModelBuilder, tmp_path: Path) -> None:
    path = tmp_path / "net.pt2"
    net.export(path, d=8)
    extra = {"linvit.json": ""}
    torch.export.load(io.BytesIO(path.read_bytes()), extra_files=extra)
    said = json.loads(extra["linvit.json"])
    assert said["linvit.model"] == "Net"
    assert said["linvit.weights"] == "random, of seed 0"
    assert f"# sources sha256:{said['linvit.sources_sha256']}" in net.generate(d=8).text
    assert str(tmp_path) not in json.dumps(said)


def test_an_onnx_file_says_what_it_was_made_of(net: ModelBuilder, tmp_path: Path) -> None:
    path = tmp_path / "net.onnx"
    net.export(path, depth=1, opset=20)
    proto = onnx.load(path)
    said = {entry.key: entry.value for entry in proto.metadata_props}
    assert said["linvit.model"] == "Net"
    assert said["linvit.spec"] == "net"
    assert len(said["linvit.sources_sha256"]) == 64
    assert proto.opset_import[0].version == 20
    (taken,), (given,) = proto.graph.input, proto.graph.output
    assert (taken.name, taken.type.tensor_type.shape.dim[0].dim_param) == ("img", "batch")
    assert (given.name, given.type.tensor_type.shape.dim[0].dim_param) == ("output", "batch")
    assert not {node.domain for node in proto.graph.node} - {""}


def test_an_opset_that_nobody_has_is_refused(net: ModelBuilder, tmp_path: Path) -> None:
    with pytest.raises(ExportRefused, match=r"opset \d+, and cannot convert it to 999"):
        net.export(tmp_path / "net.onnx", depth=1, opset=999)
    assert list(tmp_path.glob("*.onnx")) == []


def shifted(module: nn.Module, graph: Graph, batch: int | None) -> torch.export.ExportedProgram:
    with torch.no_grad():
        module.get_parameter("head.bias").add_(1e-2)
    return to_program(module, graph, batch)


@pytest.mark.parametrize("ending", ["pt2", "onnx"])
def test_a_program_that_computes_something_else_is_not_written(
    ending: str, net: ModelBuilder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The control: an exporter that is wrong by one per cent."""
    monkeypatch.setattr("linvit_runtime.export.request.to_program", shifted)
    path = tmp_path / f"net.{ending}"
    path.write_text("what was there")
    with pytest.raises(
        ExportMismatch, match=r"at batch 1 the results differ by up to 0\.01, where"
    ):
        net.export(path, weights=trained(net))
    assert path.read_text() == "what was there"
    assert sorted(file.name for file in tmp_path.iterdir()) == [path.name, "project"]


def test_a_result_that_is_no_number_is_a_mismatch() -> None:
    expected, found = torch.ones(2), torch.tensor([1.0, torch.nan])
    for pair in ((expected, found), (found, expected), (found, found)):
        with pytest.raises(ExportMismatch):
            list(comparison._differences((pair[0],), (pair[1],), 1))
    with pytest.raises(
        ExportMismatch, match=r"the shapes \[\[2\]\], the exported one \[\[1, 2\]\]"
    ):
        list(comparison._differences((expected,), (expected[None],), 1))
    assert list(comparison._differences((expected * 0,), (expected * 0,), 1)) == [(0, 0)]


def test_weights_of_other_static_parameters_do_not_pass(net: ModelBuilder, tmp_path: Path) -> None:
    """Four heads have the weights of two, and compute something else."""
    with pytest.raises(ExportMismatch, match="other static parameters"):
        net.export(tmp_path / "net.pt2", weights=trained(net, heads=4))


def test_an_exporter_that_fails_is_quoted(
    net: ModelBuilder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise KeyError("\n\naten.roll\nmore")

    monkeypatch.setattr(torch.export, "export", fail)
    with pytest.raises(ExportRefused, match=r"torch\.export cannot express Net: KeyError: .*roll"):
        net.export(tmp_path / "net.pt2")


def test_missing_packages_are_named_with_how_to_get_them(
    net: ModelBuilder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = importlib.util.find_spec
    absent = {"onnxscript", "onnxruntime"}
    monkeypatch.setattr(onnx_file, "find_spec", lambda n: None if n in absent else found(n))
    with pytest.raises(MissingPackages, match=r"onnxscript, onnxruntime(.|\n)*linvit\[onnx\]"):
        net.export(tmp_path / "net.onnx")
    assert MissingPackages.exit_code == 2
