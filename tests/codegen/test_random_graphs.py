"""Whatever the graph, the code computes what the references do, and is formatted."""

import importlib.util
import subprocess
import sysconfig
import tempfile
from pathlib import Path

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from linvit_codegen import Generated, Options, generate, write
from linvit_codegen.passes import LEVELS
from linvit_dsl.graph.ir import Graph
from tests.codegen.interpreter import interpret, randomize
from tests.codegen.random_graphs import random_graph

RUFF = Path(sysconfig.get_path("scripts")) / "ruff"
numbers = st.lists(st.integers(0, 96), min_size=30, max_size=160)


@settings(max_examples=100)
@given(numbers)
def test_random_graphs_compute_what_the_references_do(found: list[int]) -> None:
    graph = random_graph(found)
    # The text is the same whenever no pass finds anything to do, and then once is enough.
    made = (generate(graph, options=Options(level=level, validated=True)) for level in LEVELS)
    for generated in {code(one): one for one in made}.values():
        expect_references(graph, generated)


def code(generated: Generated) -> str:
    return generated.text.partition("\n__all__")[2]


def expect_references(graph: Graph, generated: Generated) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "random_graph.py"
        write(generated, path)
        spec = importlib.util.spec_from_file_location("random_graph", path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    model = module.Random().double().eval()
    randomize(model)
    generator = torch.Generator().manual_seed(0)
    arguments = [torch.randn(2, 3, generator=generator, dtype=torch.float64) for _ in range(2)]
    expected = interpret(graph, arguments, model.state_dict())
    for ours, theirs in zip(model(*arguments), expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-9, equal_nan=True)


@settings(max_examples=5)
@given(st.lists(numbers, min_size=12, max_size=12))
def test_random_graphs_pass_ruff(found: list[list[int]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        for index, one in enumerate(found):
            text = generate(random_graph(one)).text
            (Path(folder) / f"m{index}.py").write_text(text, encoding="utf-8")
        rules = ["--isolated", "--select", "E,F,I,UP,W", "--line-length", "88"]
        for command in (["check", *rules], ["format", "--isolated", "--diff"]):
            done = subprocess.run(
                [RUFF, *command, folder], capture_output=True, text=True, check=False
            )
            assert done.returncode == 0, done.stdout


def test_one_name_is_enough_for_a_value_that_leaves_a_loop() -> None:
    # Two carried names end as one value, and only one of them is read.
    numbers = [0, 0, 89, *[0] * 6, 53, 37, 0, 36, 92, 0, 2, 0, 0, 0, 34, *[0] * 6, 26, 70, 0, 0]
    text = generate(random_graph(numbers), options=Options(level=0)).text
    assert "for _ in range(3):" in text
    assert "x_3" not in text
