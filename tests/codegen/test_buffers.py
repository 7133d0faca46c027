"""Buffers that a loop declares: one per iteration, in a list, in the state dict and redrawn."""

from pathlib import Path

import pytest
import torch

from linvit_codegen import Options, generate
from linvit_codegen.passes import LEVELS, Level
from linvit_dsl.check import elaborate, open_program
from linvit_runtime.layers import BufferList
from linvit_runtime.train import redraw_features
from tests.codegen.conftest import Load
from tests.codegen.interpreter import interpret, randomize

TEXT = """\
model M(x: [B, 4, 8]) -> [B, 4, 8] {
  repeat 3 {
    buffer shift: [8] ~ normal[0.5]
    buffer omega: [4, 8] ~ orthogonal_features[redraw = 2]
    x = (x + shift) * omega
  }
  return x
}
"""


@pytest.mark.parametrize("level", LEVELS)
def test_each_iteration_has_its_own(level: Level, load: Load) -> None:
    graph = elaborate(open_program(Path("buffers.vit"), TEXT)).graph
    generated = generate(graph, options=Options(level=level))
    assert "for shift, omega in zip(self.shift, self.omega):" in generated.text
    model = load(generated).M().double()
    names = [f"{name}.{index}" for name in ("shift", "omega") for index in range(3)]
    assert list(model.state_dict()) == names
    randomize(model)
    x = torch.randn(2, 4, 8, dtype=torch.float64)
    (expected,) = interpret(graph, [x], model.state_dict())
    torch.testing.assert_close(model(x), expected)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    assert redraw_features(model.train(), seed=0, step=2) == 3
    changed = [n for n, tensor in model.state_dict().items() if not tensor.equal(before[n])]
    assert changed == names[3:]


def test_a_list_of_buffers_is_a_sequence() -> None:
    tensors = [torch.full((2,), float(value)) for value in range(3)]
    buffers = BufferList(tensors)
    assert len(buffers) == 3
    assert buffers[-1] is tensors[2]
    assert buffers[1:] == tensors[1:]
    assert [*buffers] == tensors
    assert next(iter(buffers.to("meta"))).is_meta
