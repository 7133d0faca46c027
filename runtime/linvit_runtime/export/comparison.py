"""The numbers that an exported file computes, beside those of the model it was made from."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from linvit_dsl.graph.ir import Graph
from linvit_dsl.graph.size import at_batch
from linvit_runtime.export.problems import ExportMismatch

Run = Callable[[tuple[Tensor, ...]], tuple[Tensor, ...]]
"""Executes an exported file."""

BATCHES = (1, 3)
"""Batch sizes at which a file for any batch is compared: one is where exporters go wrong most."""

TOLERANCE = 1e-4
"""Largest difference, as a part of the largest number of a result. float32 sums that are taken in
another order differ by about 1e-6 of it; a wrong wiring by about 1."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """How far the results of a file are from those of the model.

    Attributes:
        batches: the batch sizes that were compared.
        difference: the largest absolute difference, where it was largest for its size.
        reach: the largest absolute number of the model's result there.
    """

    batches: tuple[int, ...]
    difference: float
    reach: float

    def __str__(self) -> str:
        sizes = " and ".join(map(str, sorted(set(self.batches))))
        return (
            f"at batch {sizes} its results differ from the model's by at most"
            f" {self.difference:.1e}, where they reach {self.reach:.3g}"
        )


def draw_inputs(graph: Graph, batch: int, seed: int) -> tuple[Tensor, ...]:
    """Standard normal float32 tensors of the shapes that the model takes."""
    generator = torch.Generator().manual_seed(seed)
    shapes = ([at_batch(size, batch) for size in value.type.sizes] for value in graph.inputs)
    return tuple(torch.randn(shape, generator=generator) for shape in shapes)


def compare(graph: Graph, model: nn.Module, run: Run, batches: tuple[int, ...]) -> Comparison:
    """Execute the model and a file exported from it on the same random images.

    Args:
        graph: Of the model; it says the shapes of the images.
        model: What the file must compute, in evaluation mode.
        run: Executes the file.
        batches: At which sizes.

    Raises:
        ExportMismatch: A shape differs, or a number by more than `TOLERANCE`.
    """
    worst = Comparison(batches, 0.0, 0.0)
    for seed, batch in enumerate(batches):
        inputs = draw_inputs(graph, batch, seed)
        with torch.no_grad():
            expected = model(*inputs)
        expected = (expected,) if isinstance(expected, Tensor) else tuple(expected)
        for difference, reach in _differences(expected, run(inputs), batch):
            # Compared crosswise: results that are all 0 have no relative difference.
            if difference * worst.reach >= worst.difference * reach:
                worst = Comparison(batches, difference, reach)
    return worst


def _differences(
    expected: tuple[Tensor, ...], found: tuple[Tensor, ...], batch: int
) -> Iterator[tuple[float, float]]:
    """For each result the largest difference and the largest number of the model's."""
    ours, theirs = ([list(tensor.shape) for tensor in group] for group in (expected, found))
    if ours != theirs:
        raise ExportMismatch(
            f"at batch {batch} the model gives the shapes {ours}, the exported one {theirs}",
            "nothing was written",
        )
    for left, right in zip(expected, found, strict=True):
        difference, reach = float((left - right).abs().max()), float(left.abs().max())
        # Written so that NaN, which no comparison holds for, is a mismatch too.
        if not difference <= TOLERANCE * reach:
            raise ExportMismatch(
                f"at batch {batch} the results differ by up to {difference:.3g}, where those of"
                f" the model reach {reach:.3g}; at most {TOLERANCE:g} of that is allowed",
                "nothing was written; were the weights saved with other static parameters?",
            )
        yield difference, reach
