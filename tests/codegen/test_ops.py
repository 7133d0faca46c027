"""Every operator goes through the generator, as applied in each of its own examples."""

import pytest
import torch

from linvit_codegen import generate
from linvit_dsl.errors import Source, Span
from linvit_dsl.graph.ir import Apply, Graph, Slot, TensorType, Value
from linvit_dsl.graph.size import Poly, at_batch
from linvit_dsl.ops import ALL_OPS, Example, Op
from tests.codegen.conftest import Load
from tests.codegen.interpreter import interpret, randomize

BATCH = 3
TEXT = "model One(img: [B, 1], x: [B, 4]) -> [B, 4] { return op(x) }"
SOURCE = Source("one.vit", TEXT, "one")
EXAMPLES = [
    pytest.param(op, example, id=f"{op.name}-{number}")
    for op in ALL_OPS
    for number, example in enumerate(op.examples())
]


def one(op: type[Op], example: Example) -> Graph:
    """A model that applies one operator; an input of its own tells the batch."""
    types = tuple(TensorType.of(*shape) for shape in example.shapes)
    span = Span(SOURCE, 0, 9)
    statement = Span(SOURCE, TEXT.index("return"), TEXT.index(" }"))
    image = Value(TensorType.of(Poly.symbol("B"), 1), span, "img")
    arguments = tuple(Value(type_, span, f"x{k}") for k, type_ in enumerate(types))
    results = tuple(Value(type_, span) for type_ in op.types(example.attributes, types))
    slot = Slot("part") if op.module(example.attributes, types) is not None else None
    node = Apply(op, example.attributes, arguments, results, slot, span, statement)
    inputs = (image, *arguments)
    return Graph("One", "one", "model", False, {}, inputs, results, (node,), span)


def draw(example: Example) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    tensors: list[torch.Tensor] = [torch.zeros(BATCH, 1, dtype=torch.float64)]
    for index, shape in enumerate(example.shapes):
        sizes = [at_batch(size, BATCH) for size in shape]
        kind = example.draws[index] if index < len(example.draws) else "normal"
        if kind == "normal":
            tensors.append(torch.randn(sizes, generator=generator, dtype=torch.float64))
        else:
            uniform = torch.rand(sizes, generator=generator, dtype=torch.float64)
            tensors.append(uniform + 0.5 if kind == "positive" else uniform.round())
    return tensors


@pytest.mark.parametrize(("op", "example"), EXAMPLES)
def test_the_code_of_an_operator_computes_its_reference(
    op: type[Op], example: Example, load: Load
) -> None:
    graph = one(op, example)
    module = load(generate(graph)).One().double().eval()
    constants = {name for name, _ in module.named_buffers()} - module.state_dict().keys()
    if not constants:
        randomize(module)
    arguments = draw(example)
    result = module(*arguments)
    results = result if isinstance(result, tuple) else (result,)
    expected = interpret(graph, arguments, module.state_dict())
    for ours, theirs in zip(results, expected, strict=True):
        torch.testing.assert_close(ours, theirs.to(ours.dtype), rtol=1e-9, atol=1e-9)
