"""Export a model: write a file only if it computes what the model computes."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor, nn

from linvit_codegen import Options, generate, sources_hash
from linvit_dsl.check import Model, program_texts
from linvit_dsl.version import __version__
from linvit_runtime.durable import replace_file
from linvit_runtime.errors import RunProblem
from linvit_runtime.export.comparison import BATCHES, Comparison, Run, compare
from linvit_runtime.export.load import load_model
from linvit_runtime.export.model_file import model_file_bytes
from linvit_runtime.export.onnx_file import expect_packages, onnx_bytes, onnx_run
from linvit_runtime.export.program import program_bytes, program_run, to_program
from linvit_runtime.export.weights import Weights
from linvit_runtime.generated import build
from linvit_runtime.train.weights import load_tensors

FORMATS = {
    ".pt2": "a torch.export program",
    ".onnx": "an ONNX model",
    ".safetensors": "weights with their spec",
}
"""What is written, by the ending of the file."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What to export.

    Attributes:
        model: the checked model.
        weights: what goes into it.
        overrides: the static parameters that it was elaborated with, with their text.
        batch: the only batch size that a program takes; None for any.
        opset: version of the ONNX operators; None for the exporter's own.
    """

    model: Model
    weights: Weights
    overrides: Mapping[str, str]
    batch: int | None = None
    opset: int | None = None

    @property
    def metadata(self) -> dict[str, str]:
        """What every format records: no paths, no times, so that equal exports are equal files."""
        program = self.model.program
        return {
            "linvit.version": __version__,
            "linvit.model": self.model.name,
            "linvit.spec": program.root.source.module,
            "linvit.sources_sha256": sources_hash(program.sources),
            "linvit.weights": self.weights.origin,
        }


def expect_format(path: Path, batch: int | None = None, opset: int | None = None) -> None:
    """Refuse a request that no format can meet, before anything is computed.

    Raises:
        RunProblem: An ending that is none of `FORMATS`, or options that do not go with it.
        MissingPackages: ONNX needs some that are not here.
    """
    if path.suffix not in FORMATS:
        known = ", ".join(f"{ending} ({what})" for ending, what in FORMATS.items())
        raise RunProblem(f"{path} has no ending that says its format", f"formats: {known}")
    if not path.parent.is_dir():
        raise RunProblem(f"there is no folder {path.parent} to write {path.name} to")
    if opset is not None and path.suffix != ".onnx":
        raise RunProblem(f"an opset is for .onnx files, not for {path.suffix}")
    if batch is not None and path.suffix == ".safetensors":
        raise RunProblem("a .safetensors file has no batch size: it holds weights and their spec")
    if path.suffix == ".onnx":
        expect_packages()


def export(path: Path, request: Request) -> Comparison:
    """Write `path`, in the format of its ending, after comparing its content with the model.

    Programs are made from the reference lowering, plain torch without kernels, and compared with
    the module as it was trained, kernels included. What is compared are the bytes that are written.

    Raises:
        RunProblem: The request makes no sense; see `expect_format`.
        ExportRefused: The format cannot express the model.
        ExportMismatch: The file would compute something else; it was not written.
        CheckpointProblem: The weights do not fit the model.
        OSError: The file system refused; `path` is as it was.
    """
    expect_format(path, request.batch, request.opset)
    graph, weights = request.model.graph, request.weights
    trained = weights.trained or _filled(request, Options())
    content, run = _content(path.suffix, request)
    batches = BATCHES if request.batch is None else (request.batch, request.batch)
    comparison = compare(graph, trained, run, batches)
    replace_file(path, content)
    return comparison


def _content(ending: str, request: Request) -> tuple[bytes, Run]:
    """What is written, and how to execute it."""
    graph, metadata = request.model.graph, request.metadata
    module = _filled(request, Options(kernels="reference"))
    if ending == ".safetensors":
        texts = program_texts(request.model.program)
        recipe = request.weights.recipe
        content = model_file_bytes(module.state_dict(), texts, request.overrides, recipe, metadata)
        return content, _model_file_run(content)
    program = to_program(module, graph, request.batch)
    if ending == ".onnx":
        content = onnx_bytes(program, graph, request.opset, metadata)
        return content, onnx_run(content)
    content = program_bytes(program, metadata)
    return content, program_run(content)


def _filled(request: Request, options: Options) -> nn.Module:
    """The model at these options with the weights, in evaluation mode."""
    model = request.model
    generated = generate(model.graph, sources=model.program.sources, options=options)
    module = build(generated, model.name)
    load_tensors(module, request.weights.tensors, request.weights.path)
    return module.eval()


def _model_file_run(content: bytes) -> Run:
    """What a model file computes once it is loaded, spec and all."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.safetensors"
        path.write_bytes(content)
        module = load_model(path)

    def run(inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        results = module(*inputs)
        results = (results,) if isinstance(results, Tensor) else tuple(results)
        return tuple(result.detach() for result in results)

    return run
