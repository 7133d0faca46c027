"""Exports to ONNX, by the exporter of torch that starts from a torch.export program."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.export import ExportedProgram

from linvit_dsl.graph.ir import Graph
from linvit_runtime.export.comparison import Run
from linvit_runtime.export.problems import ExportRefused, MissingPackages
from linvit_runtime.export.program import exporting, moving_axes

if TYPE_CHECKING:
    from onnx import ModelProto

PACKAGES = ("onnx", "onnxscript", "onnxruntime")

_LARGEST = 2**31
"""Bytes that a protobuf message, and so a file of this format, may have."""


def expect_packages() -> None:
    """Demand what ONNX needs.

    Raises:
        MissingPackages: With the command that installs it.
    """
    missing = [name for name in PACKAGES if find_spec(name) is None]
    if missing:
        raise MissingPackages(
            f"ONNX needs {', '.join(missing)}, not installed here", "pip install 'linvit[onnx]'"
        )


def onnx_bytes(
    program: ExportedProgram, graph: Graph, opset: int | None, metadata: Mapping[str, str]
) -> bytes:
    """An ONNX model with its weights inside.

    Args:
        program: The model.
        graph: Of the model; its inputs give the names.
        opset: Version of the operators; None: the exporter's own.
        metadata: Becomes the model's `metadata_props`.

    Raises:
        ExportRefused: The exporter, this opset or this format cannot express the model.
    """
    weights = sum(tensor.nbytes for tensor in program.state_dict.values())
    if weights >= _LARGEST:
        raise ExportRefused(
            f"{graph.name} has {weights:,} bytes of weights; an ONNX file holds {_LARGEST:,}",
            "export it to .pt2",
        )
    proto = _exported(program, graph, opset)
    version = next(entry.version for entry in proto.opset_import if not entry.domain)
    if opset is not None and version != opset:
        raise ExportRefused(
            f"torch writes {graph.name} with opset {version}, and cannot convert it to {opset}",
            "leave --opset out, or choose a newer one",
        )
    proto.doc_string = graph.doc
    for key, value in metadata.items():
        proto.metadata_props.add(key=key, value=value)
    return proto.SerializeToString(deterministic=True)


def _exported(program: ExportedProgram, graph: Graph, opset: int | None) -> ModelProto:
    inputs = [value.name for value in graph.inputs]
    outputs = output_names(graph)
    with exporting("the ONNX exporter", graph), torch.no_grad():
        exported = torch.onnx.export(
            program,
            input_names=inputs,
            output_names=outputs,
            opset_version=opset,
            # Only for the name of the axis: what moves is in the program.
            dynamic_shapes=dict(zip(inputs, moving_axes(graph, "batch"), strict=True))
            if program.range_constraints
            else None,
            verbose=False,
            dynamo=True,
        )
        assert exported is not None, "it is, unless a file is named"
        return exported.model_proto


def output_names(graph: Graph) -> list[str]:
    """`output`, or `output0`, `output1`, ...: the results of a block have no names of their own."""
    if len(graph.outputs) == 1:
        return ["output"]
    return [f"output{index}" for index in range(len(graph.outputs))]


def onnx_run(content: bytes) -> Run:
    """What an ONNX model computes in onnxruntime on the CPU."""
    import onnxruntime

    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    names = [value.name for value in session.get_inputs()]

    def run(inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        given = {name: tensor.numpy() for name, tensor in zip(names, inputs, strict=True)}
        return tuple(torch.from_numpy(array) for array in session.run(None, given))

    return run
