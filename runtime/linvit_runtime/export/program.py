"""Exports with torch.export: a program for any batch, which needs neither linvit nor the spec."""

from __future__ import annotations

import io
import json
import logging
import warnings
from collections.abc import Generator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from linvit_dsl.graph.ir import Graph
from linvit_dsl.ops.op import BATCH
from linvit_runtime.export.comparison import Run, draw_inputs
from linvit_runtime.export.problems import ExportRefused

METADATA = "linvit.json"
"""The extra file of a `.pt2` archive that says what it was exported from."""

_TRACED_BATCH = 3  # torch.export takes sizes 0 and 1 for constants


def to_program(module: nn.Module, graph: Graph, batch: int | None) -> ExportedProgram:
    """The model as one graph of torch operators.

    Args:
        module: The reference lowering, in evaluation mode.
        graph: Of the model.
        batch: The only batch size that the program takes; None for any.

    Raises:
        ExportRefused: torch.export cannot express the model.
    """
    inputs = draw_inputs(graph, batch or _TRACED_BATCH, seed=0)
    shapes = None if batch else tuple(axes.copy() for axes in moving_axes(graph, Dim("batch")))
    with exporting("torch.export", graph), torch.no_grad():
        return torch.export.export(module, inputs, dynamic_shapes=shapes)


def moving_axes(graph: Graph, name: object) -> tuple[dict[int, object], ...]:
    """For each input, its axes that depend on the batch: `name` where the size is the batch."""
    return tuple(
        {
            axis: name if size == BATCH else Dim.AUTO
            for axis, size in enumerate(value.type.sizes)
            if not isinstance(size, int)
        }
        for value in graph.inputs
    )


def program_bytes(program: ExportedProgram, metadata: Mapping[str, str]) -> bytes:
    """A `.pt2` archive; `torch.export.load` reads it."""
    content = io.BytesIO()
    extra = {METADATA: json.dumps(dict(metadata))}
    with quiet():
        torch.export.save(program, content, extra_files=extra)
    return content.getvalue()


def program_run(content: bytes) -> Run:
    """What a `.pt2` archive computes."""
    with quiet():
        module = torch.export.load(io.BytesIO(content)).module()

    def run(inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        with torch.no_grad():
            results = module(*inputs)
        return (results,) if isinstance(results, Tensor) else tuple(results)

    return run


@contextmanager
def quiet() -> Generator[None, None, None]:
    """Without what exporters warn and log of their own insides: users can do nothing about it."""
    before = logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


@contextmanager
def exporting(what: str, graph: Graph) -> Generator[None, None, None]:
    """Turn any failure of an exporter, which has no base class, into an `ExportRefused`."""
    try:
        with quiet():
            yield
    except Exception as error:
        reason = next((line for line in str(error).splitlines() if line.strip()), "no reason")
        raise ExportRefused(
            f"{what} cannot express {graph.name}: {type(error).__name__}: {reason.strip()}",
            "nothing was written; please report it with the spec",
        ) from error
