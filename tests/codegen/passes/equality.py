"""Two graphs compute the same from the same weights: outputs and gradients, in float64.

Both are executed from the operators' references, so nothing of the code generator takes part.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from linvit_codegen.passes.validate import tensors_of
from linvit_dsl.graph.ir import Graph
from linvit_dsl.graph.size import at_batch
from tests.codegen.interpreter import interpret

BATCH = 2


def expect_equal(ours: Graph, theirs: Graph) -> None:
    """Fail unless both graphs give the same outputs and the same gradients."""
    mine, reference = (list(_computed(graph, theirs)) for graph in (ours, theirs))
    assert [name for name, _ in mine] == [name for name, _ in reference]
    for (name, a), (_, b) in zip(mine, reference, strict=True):
        if a is None or b is None:
            assert a is None or not a.any(), name
            assert b is None or not b.any(), name
        else:
            torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-10, msg=f"{name} is not close")


def _computed(graph: Graph, drawn_for: Graph) -> Iterator[tuple[str, Tensor | None]]:
    generator = torch.Generator().manual_seed(3)

    def draw(*shape: int) -> Tensor:
        numbers = torch.randn(shape, generator=generator, dtype=torch.float64)
        return (0.5 * numbers).requires_grad_()

    inputs = [
        draw(*(at_batch(size, BATCH) for size in value.type.sizes)) for value in drawn_for.inputs
    ]
    shapes = dict(tensors_of(drawn_for))
    weights = {key: draw(*shapes[key]) for key in sorted(shapes)}
    results = interpret(graph, inputs, weights)
    torch.stack([(result * torch.cos(result)).sum() for result in results]).sum().backward()
    for index, result in enumerate(results):
        yield f"output {index}", result.detach()
    for index, tensor in enumerate(inputs):
        yield f"gradient of input {index}", tensor.grad
    for key, tensor in weights.items():
        yield f"gradient of {key}", tensor.grad
