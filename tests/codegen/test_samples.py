"""Every form of generated code: reviewed as a golden, executed, and compared with references."""

from collections.abc import Callable

import pytest
import torch

from linvit_codegen import Generated, Options, generate
from linvit_codegen.passes import LEVELS, Level
from linvit_dsl.graph.ir import Call, Graph, Store, Value
from linvit_dsl.graph.size import at_batch
from tests.codegen.conftest import Load
from tests.codegen.interpreter import interpret, randomize
from tests.codegen.samples import SAMPLES
from tests.conftest import Golden

BATCH = 3
CASES = [pytest.param(build, id=name) for name, build in SAMPLES.items()]


def drawn(values: tuple[Value, ...]) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    shapes = [[at_batch(size, BATCH) for size in value.type.sizes] for value in values]
    return [torch.randn(shape, generator=generator, dtype=torch.float64) for shape in shapes]


def module_of(generated: Generated, load: Load) -> torch.nn.Module:
    module = getattr(load(generated), generated.name)().double().eval()
    randomize(module)
    return module


def weight_count(graph: Graph) -> int:
    """Trained numbers, from the graph's own weights; slots count once."""
    total, seen = 0, set()
    for node in graph.walk():
        if node.slot is None or node.slot in seen:
            continue
        seen.add(node.slot)
        if isinstance(node, Store):
            total += node.weight.elements if node.trained else 0
        elif isinstance(node, Call):
            total += weight_count(node.graph)
        else:
            total += node.num_trained
    return total


@pytest.mark.parametrize("name", SAMPLES)
def test_the_code_is_as_reviewed(name: str, golden: Golden) -> None:
    golden.check(f"codegen/{name}.py", generate(SAMPLES[name]()).text)


@pytest.mark.parametrize("build", CASES)
@pytest.mark.parametrize("level", LEVELS)
def test_the_code_computes_what_the_references_do(
    build: Callable[[], Graph], level: Level, load: Load
) -> None:
    graph = build()
    generated = generate(graph, options=Options(level=level, validated=True))
    module = module_of(generated, load)
    arguments = drawn(graph.inputs)
    result = module(*arguments)
    results = result if isinstance(result, tuple) else (result,)
    slots = generated.map["names"]["slots"]
    expected = interpret(graph, arguments, module.state_dict(), slots)
    assert len(results) == len(expected)
    for ours, theirs in zip(results, expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("build", CASES)
def test_every_weight_of_the_graph_is_there_and_learns(
    build: Callable[[], Graph], load: Load
) -> None:
    graph = build()
    generated = generate(graph)
    module = module_of(generated, load)
    assert sum(p.numel() for p in module.parameters()) == weight_count(graph)
    arguments = drawn(graph.inputs)
    weights = {k: t.detach().clone().requires_grad_() for k, t in module.state_dict().items()}
    (expected, *_) = interpret(graph, arguments, weights, generated.map["names"]["slots"])
    expected.square().sum().backward()
    module(*arguments).square().sum().backward()
    for name, parameter in module.named_parameters():
        theirs = weights[name].grad
        if theirs is None:
            assert parameter.grad is None, name
        else:
            torch.testing.assert_close(parameter.grad, theirs, rtol=1e-8, atol=1e-8)


def test_the_comparison_can_fail(load: Load) -> None:
    graph = SAMPLES["transformer"]()
    module = module_of(generate(graph), load)
    arguments = drawn(graph.inputs)
    weights = module.state_dict()
    weights["layers.1.q.weight"] = weights["layers.1.k.weight"]
    (expected,) = interpret(graph, arguments, weights)
    with pytest.raises(AssertionError, match="not close"):
        torch.testing.assert_close(module(*arguments), expected)
