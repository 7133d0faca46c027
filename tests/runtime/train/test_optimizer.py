"""Which parameters decay, and the optimizer's state as named tensors."""

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.optim import AdamW

import linvit_dsl
from linvit_runtime.train import CheckpointProblem
from linvit_runtime.train.optimizer import (
    build_optimizer,
    decays,
    optimizer_tensors,
    restore_optimizer,
)
from tests.runtime.train.small import recipe

SPECS = Path(__file__).parents[3] / "specs"


class Tokens(nn.Module):
    """The kinds of parameters that a Vision Transformer has."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Conv2d(1, 4, 2, 2)
        self.pos = nn.Parameter(torch.ones(1, 5, 4))
        self.cls_token = nn.Parameter(torch.ones(1, 1, 4))
        self.bank0 = nn.Parameter(torch.ones(2, 4))
        self.mix = nn.ParameterList([torch.ones(2, 4), torch.ones(2, 4)])
        self.norm = nn.LayerNorm(4)
        self.gamma = nn.Parameter(torch.ones(4))
        self.landmarks = nn.Parameter(torch.ones(3, 4))
        self.head = nn.Linear(4, 10)
        self.head.requires_grad_(True)
        self.frozen = nn.Parameter(torch.ones(2, 2), requires_grad=False)


def test_only_matrices_and_filters_decay() -> None:
    model = Tokens()
    decayed = {name for name, parameter in model.named_parameters() if decays(name, parameter)}
    assert decayed == {"embed.weight", "landmarks", "head.weight", "frozen"}


@pytest.mark.parametrize("spec", sorted(path.stem for path in SPECS.glob("*.vit")))
def test_of_a_shipped_spec_weights_of_layers_decay_and_nothing_else(spec: str) -> None:
    """What a weight is follows from the layer that holds it, never from its name."""
    program = linvit_dsl.load(spec)
    for variant in program.models:
        builder = getattr(program, variant)
        taken = builder.graph().statics
        small = {word: n for word, n in (("depth", 2), ("registers", 3)) if word in taken}
        with torch.device("meta"):
            model = builder(**small)
        wanted = {
            f"{path}.weight"
            for path, module in model.named_modules()
            if isinstance(module, nn.Linear | nn.Conv2d)
        }
        # Matrices along the tokens, which no layer of torch holds.
        wanted |= {n for n, _ in model.named_parameters() if n in ("write.compress", "E")}
        names = dict(model.named_parameters())
        assert {n for n, p in names.items() if decays(n, p)} == wanted
        assert "registers" not in taken or {"register_tokens", "pos"} <= names.keys() - wanted
        assert all(p.ndim > 1 for n, p in names.items() if n in wanted)


def test_names_of_the_mixers_tables() -> None:
    """The control of the test above: no vectors, so only their names exempt them."""
    tables: set[str] = set()
    for model in (linvit_dsl.load("hydravit").HydraViT, linvit_dsl.load("ripplevit").RippleViT):
        named = model(depth=2, registers=1).named_parameters()
        tables |= {n.rpartition(".")[2] for n, p in named if p.ndim > 1 and not decays(n, p)}
    assert tables == {"cls_token", "register_tokens", "pos", "mix", "gamma"}


def test_groups_hold_every_trainable_parameter_once() -> None:
    model = Tokens()
    decayed, others = build_optimizer(model, recipe().optimizer).param_groups
    assert (decayed["weight_decay"], others["weight_decay"]) == (0.05, 0.0)
    held = [id(p) for group in (decayed, others) for p in group["params"]]
    assert len(held) == len(set(held))
    assert set(held) == {id(p) for p in model.parameters() if p.requires_grad}


def test_decay_moves_only_what_decays() -> None:
    model = Tokens()
    optimizer = build_optimizer(model, recipe().optimizer)
    before = {name: p.clone() for name, p in model.named_parameters()}
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    moved = {n for n, p in model.named_parameters() if not torch.equal(p, before[n])}
    assert moved == {"embed.weight", "landmarks", "head.weight"}


def step(model: nn.Module, optimizer: AdamW, times: int) -> None:
    """Step `times` times along gradients that are made up."""
    for i in range(times):
        for j, parameter in enumerate(model.parameters()):
            if parameter.requires_grad:
                parameter.grad = torch.full_like(parameter, 0.1 * (i + 1) - 0.01 * j)
        optimizer.step()


def test_restored_state_takes_the_same_steps() -> None:
    model, again = Tokens(), Tokens()
    again.load_state_dict(model.state_dict())
    optimizer, other = (build_optimizer(m, recipe().optimizer) for m in (model, again))
    step(model, optimizer, 3)
    tensors = {name: t.clone() for name, t in optimizer_tensors(optimizer, model).items()}
    assert {"head.weight.exp_avg", "pos.exp_avg_sq", "norm.bias.step"} <= set(tensors)
    again.load_state_dict(model.state_dict())
    restore_optimizer(other, again, tensors)
    step(model, optimizer, 2)
    step(again, other, 2)
    for left, right in zip(model.parameters(), again.parameters(), strict=True):
        assert torch.equal(left, right)


@pytest.mark.parametrize(
    ("name", "tensor"),
    [("tail.weight.exp_avg", torch.zeros(10, 4)), ("head.weight.exp_avg", torch.zeros(10, 5))],
)
def test_state_of_another_model_is_refused(name: str, tensor: Tensor) -> None:
    model = Tokens()
    with pytest.raises(CheckpointProblem, match=name):
        restore_optimizer(build_optimizer(model, recipe().optimizer), model, {name: tensor})
