"""Texts with names that Python needs for itself, and tensors without axes: they compile and run."""

import subprocess
import sysconfig
from pathlib import Path

import pytest
import torch

from linvit_codegen import generate
from linvit_dsl.check import elaborate, open_program
from linvit_dsl.graph.ir import Graph
from tests.codegen.conftest import Load
from tests.codegen.interpreter import interpret, randomize

RUFF = Path(sysconfig.get_path("scripts")) / "ruff"
RULES = ["--select", "E,F,N", "--line-length", "88"]
LOOP = """\
block Part(x: [B, 4]) -> [B, 4] {{ return x |> linear[4] }}
model M(x: [B, 4]) -> [B, 4] {{
  repeat 3 {{ x = x |> linear[4]@{first} |> Part@{second} }}
  l = x |> linear[4]
  repeat 2 {{ l = l + x |> Part@again }}
  return l
}}
"""
BLOCK = """\
block {name}(x: [B, 4]) -> [B, 4] {{ return x |> linear[4] }}
model M(x: [B, 4]) -> [B, 4] {{ return x |> {name} }}
"""
SCALAR = """\
model M(x: [B, 4]) -> [B, 4] {
  param p: [] ~ constant[2]
  buffer q: [] ~ zeros
  return x * p + q
}
"""
TEXTS = {
    **{name: BLOCK.format(name=name) for name in ("None", "True", "O", "l", "Tensor", "nn")},
    **{
        " ".join(pair): LOOP.format(first=pair[0], second=pair[1])
        for pair in (("l", "ls"), ("O", "I"), ("print", "maps"), ("torch", "selfs"), ("x", "xs"))
    },
    "scalar": SCALAR,
}


@pytest.fixture(params=TEXTS)
def graph(request: pytest.FixtureRequest, tmp_path: Path) -> Graph:
    """Give the graph of one text."""
    path = tmp_path / "awkward.vit"
    path.write_text(TEXTS[request.param])
    return elaborate(open_program(path), "M").graph


def test_it_computes_what_the_references_do(graph: Graph, load: Load) -> None:
    generated = generate(graph)
    module = load(generated).M().double()
    if any(parameter.ndim for parameter in module.parameters()):
        randomize(module)
    x = torch.arange(12, dtype=torch.float64).reshape(3, 4)
    slots = generated.map["names"]["slots"]
    (expected,) = interpret(graph, [x], module.state_dict(), slots)
    torch.testing.assert_close(module(x), expected)


def test_ruff_finds_nothing(graph: Graph, tmp_path: Path) -> None:
    path = tmp_path / "generated.py"
    path.write_text(generate(graph).text)
    command = [RUFF, "check", "--isolated", *RULES, "--ignore", "N803,N806,N812", path]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_a_file_named_like_a_library_module_does_not_pass_for_it(tmp_path: Path) -> None:
    path = tmp_path / "std.linear_attention.vit"
    path.write_text("""\
intrinsic block linear_attention[phi: block = relu, eps: real = 1e-6](
  q: [B, h, n, c], k: [B, h, l, c], v: [B, h, l, e],
) -> [B, n, h * e] {
  return attend(q, k, v) |> rearrange["b h n e -> b n (h e)"]
}
model M(q: [B, 2, 5, 4], k: [B, 2, 7, 4], v: [B, 2, 7, 4]) -> [B, 5, 8] {
  return linear_attention(q, k, v)
}
""")
    text = generate(elaborate(open_program(path)).graph).text
    assert "kernels" not in text.split("__all__")[1]
    assert "scaled_dot_product_attention" in text
