"""Checkpoints fit at every level, and the levels compute the same in training too."""

import pytest
import torch

from linvit_codegen import Options, generate
from linvit_codegen.passes import LEVELS, Level
from linvit_dsl.check import shipped_specs
from tests.codegen.conftest import Load
from tests.codegen.interpreter import randomize
from tests.codegen.test_specs import SMALL, Statics, draw, model

Shapes = dict[str, torch.Size]


@pytest.mark.parametrize("spec", shipped_specs())
def test_the_keys_of_a_shipped_spec_are_the_same_at_every_level(spec: str, load: Load) -> None:
    graph = model(spec).graph

    def shapes(level: Level) -> Shapes:
        generated = generate(graph, options=Options(level=level, validated=True))
        with torch.device("meta"):
            module = getattr(load(generated), generated.name)()
        return {key: tensor.shape for key, tensor in module.state_dict().items()}

    expected = shapes(0)
    assert expected
    for level in LEVELS:
        assert shapes(level) == expected


@pytest.mark.parametrize(
    ("spec", "statics"),
    [
        ("linear", SMALL),
        ("hydravit", SMALL | {"branches": 3}),
        ("ripplevit", SMALL | {"stages": 2}),
    ],
)
def test_a_checkpoint_moves_between_levels(spec: str, statics: Statics, load: Load) -> None:
    graph = model(spec, statics=statics).graph
    images = draw(graph.inputs[0].type.sizes)
    made = [generate(graph, options=Options(level=level)) for level in LEVELS]
    modules = [getattr(load(one), one.name)().double() for one in made]
    for giver in modules:
        randomize(giver, seed=modules.index(giver))
        outputs: list[torch.Tensor] = []
        for taker in modules:
            taker.load_state_dict(giver.state_dict())
            outputs.append(taker.eval()(images))
        for output in outputs[1:]:
            torch.testing.assert_close(output, outputs[0], rtol=1e-9, atol=1e-9)


def test_levels_drop_the_same_entries_in_training(load: Load) -> None:
    graph = model("hydravit", statics=SMALL | {"branches": 3, "drop": 0.3}).graph
    images = draw(graph.inputs[0].type.sizes)
    outputs: list[torch.Tensor] = []
    for level in LEVELS:
        generated = generate(graph, options=Options(level=level))
        module = getattr(load(generated), generated.name)().double().train()
        randomize(module)
        torch.manual_seed(5)
        outputs.append(module(images))
    for output in outputs[1:]:
        torch.testing.assert_close(output, outputs[0], rtol=1e-9, atol=1e-9)


def test_levels_differ_at_all() -> None:
    graph = model("hydravit", statics=SMALL | {"branches": 3}).graph
    texts = [generate(graph, options=Options(level=level)).text for level in LEVELS]
    assert "kernels.linear_attention(" not in texts[0]
    assert "kernels.linear_attention(" in texts[1]
    assert "layers.joint_linear(x, self.q, self.k, self.v)" in texts[2]
    assert "layers.joint_linear" not in texts[1]


def test_the_reference_lowering_calls_no_kernel_at_any_level() -> None:
    graph = model("hydravit", statics=SMALL | {"branches": 3}).graph
    for level in LEVELS:
        generated = generate(graph, options=Options(kernels="reference", level=level))
        assert "kernels." not in generated.text.split("import torch", 1)[1]
