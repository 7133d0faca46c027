"""ViTs with Linformer, Performer, Nystromformer and Hybrid: whole models, as they are shipped."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

import linvit_dsl
from linvit_codegen import Options, generate
from linvit_dsl.graph.cost import cost
from linvit_dsl.graph.size import at_batch
from linvit_runtime import generated
from linvit_runtime.train import CheckpointProblem
from linvit_runtime.train.weights import load_tensors
from tests.models.test_macs import weighted_sums

MODELS = [
    ("linformer", "LinformerViT", {"k": 9}),
    ("linformer", "LinformerViT", {"k": 9, "share": "kv"}),
    ("performer", "PerformerViT", {}),
    ("nystromformer", "NystromformerViT", {"landmarks": 9}),
    ("nystromformer", "NystromformerViT", {"landmarks": 9, "landmark": "grid"}),
    ("hybrid", "HybridViT", {"window": 3}),
]
SMALL = {"d": 48, "depth": 2, "heads": 4, "classes": 10, "drop": 0}
Statics = dict[str, Any]


def build(spec: str, model: str, statics: Statics) -> nn.Module:
    """A small model in evaluation mode."""
    torch.manual_seed(0)
    return getattr(linvit_dsl.load(spec), model)(**{**SMALL, **statics}).eval()


@pytest.mark.parametrize(
    ("spec", "model"),
    [
        ("linformer", "LinformerViT"),
        ("linformer", "LinformerViTLayerwise"),
        ("linformer", "LinformerViT224"),
        ("performer", "PerformerViT"),
        ("performer", "PerformerViTTiny"),
        ("nystromformer", "NystromformerViT"),
        ("nystromformer", "NystromformerViT224"),
        ("hybrid", "HybridViT"),
        ("hybrid", "HybridViT224"),
    ],
)
def test_torch_counts_the_same(spec: str, model: str) -> None:
    builder = getattr(linvit_dsl.load(spec), model)
    graph = builder.graph()
    module = generated.build(generate(graph, options=Options(level=0)), model)
    module = module.to("meta").eval().requires_grad_(False)
    images = torch.empty([at_batch(s, 1) for s in graph.inputs[0].type.sizes], device="meta")
    with FlopCounterMode(display=False) as counter:
        module(images)
    static = cost(graph)
    assert static.params == sum(parameter.numel() for parameter in module.parameters())
    assert 2 * (static.macs + weighted_sums(graph)) == counter.get_total_flops()
    assert 2 * (static.macs + weighted_sums(graph) + 1) != counter.get_total_flops()


def together_and_alone(module: nn.Module, batch: Tensor) -> float:
    """The largest difference that other images of a batch make to one of them."""
    together = module(batch)
    alone = torch.cat([module(image) for image in batch.split(1)])
    return ((together - alone).abs().max() / alone.abs().max()).item()


@pytest.mark.parametrize(("spec", "model", "statics"), MODELS)
@pytest.mark.parametrize(("height", "width"), [(32, 32), (28, 20), (36, 44)])
def test_every_image_of_a_batch_is_for_itself(
    spec: str, model: str, statics: Statics, height: int, width: int
) -> None:
    """On square and odd grids: 8x8, 7x5 and 9x11 patches."""
    module = build(spec, model, {**statics, "image": height, "width": width})
    for parameter in module.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)
    batch = torch.randn(3, 3, height, width)
    batch[1] *= 5  # a start that is one number for the whole batch, such as its peak, would show
    assert together_and_alone(module, batch) < 1e-5


class OneScale(nn.Module):
    """What must not be: divided by the largest number of the whole batch."""

    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(1) / x.abs().max()


def test_a_model_that_looks_at_the_batch_is_noticed() -> None:
    assert together_and_alone(OneScale(), torch.randn(3, 3, 8, 8)) > 1e-2


def dead(module: nn.Module) -> set[str]:
    """The parameters that get no gradient, up to rounding, from random images and targets."""
    module = module.double()
    generator = torch.Generator().manual_seed(1)
    for parameter in module.parameters():
        noise = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
        parameter.data += 0.1 * noise
    images = torch.randn(8, 3, 32, 32, generator=generator, dtype=torch.float64)
    F.cross_entropy(module(images), torch.arange(8)).backward()
    return {
        name
        for name, p in module.named_parameters()
        if p.grad is None or p.grad.abs().max() < 1e-14
    }


def test_one_projection_for_all_layers_is_an_equal_one_in_each() -> None:
    layerwise = build("linformer", "LinformerViTLayerwise", {"k": 9}).double()
    layerwise.get_parameter("E_bias").data += torch.randn(9)
    given = layerwise.state_dict()
    other = build("linformer", "LinformerViT", {"k": 9, "share": "kv"}).double()
    projection = {"E.weight": given["E"], "E.bias": given["E_bias"]}
    state = {
        name: given[name] if ".attn.E." not in name else projection[name.partition("attn.")[2]]
        for name in other.state_dict()
    }
    other.load_state_dict(state)
    images = torch.randn(2, 3, 32, 32, dtype=torch.float64)
    assert (layerwise(images) - other(images)).abs().max() < 1e-12
    other.load_state_dict({**state, "layers.1.attn.E.weight": given["E"].roll(1, 0) * 2})
    assert (layerwise(images) - other(images)).abs().max() > 1e-6


def test_a_linformer_tells_another_resolution() -> None:
    """Its projections have one row per token: 65 of them, on 64-pixel images 257."""
    module = build("linformer", "LinformerViT", {})
    with pytest.raises(ValueError, match=r"expected \[B, 3, 32, 32\], got \[1, 3, 64, 64\]"):
        module(torch.zeros(1, 3, 64, 64))
    larger = build("linformer", "LinformerViT", {"image": 64})
    with pytest.raises(CheckpointProblem) as caught:
        load_tensors(larger, module.state_dict(), Path("model.safetensors"))
    message = f"{caught.value.message}; {caught.value.hint}"
    assert "`layers.0.attn.E.weight` has shape [64, 65] there and shape [64, 257] here" in message
    assert "images of another size" in message
    load_tensors(build("linformer", "LinformerViT", {}), module.state_dict(), Path("same"))


KEY_BIAS = {f"layers.{i}.attn.qkv.k.bias" for i in range(2)}
"""A key bias adds one number to all scores of a query, and softmax is blind to that."""


@pytest.mark.parametrize(("spec", "model", "statics"), MODELS)
def test_gradients_reach_every_parameter(spec: str, model: str, statics: Statics) -> None:
    """But the key biases of Nystromformer, whose keys only ever go into a softmax.

    In Linformer a key bias is scaled by the sums of the rows of E, which differ; in Performer it
    decides which random features are large; in Hybrid linear attention sees it.
    """
    blind = KEY_BIAS if spec == "nystromformer" else set()
    assert dead(build(spec, model, statics)) == blind


@pytest.mark.parametrize(("spec", "model"), [("linear", "LinearViT"), ("hydravit", "HydraViT")])
def test_gradients_reach_every_parameter_of_linear_attention(spec: str, model: str) -> None:
    assert dead(build(spec, model, {})) == set()


@pytest.mark.parametrize("readout", ["mean", "cls"])
def test_gradients_reach_every_parameter_of_ripples(readout: str) -> None:
    """The class token passes by whatever the last layer does to the map of patches."""
    module = build("ripplevit", "RippleViT", {"readout": readout, "stages": 2})
    last = ("layers.1.attn.expand.", "layers.1.attn.ring.")
    passed = {key for key, _ in module.named_parameters() if key.startswith(last)}
    assert len(passed) == 2 * 3 + 2
    assert dead(module) == (passed if readout == "cls" else set())


def test_dead_parameters_are_noticed() -> None:
    """The controls: softmax attention's key biases, and a gate that only patches pass."""
    assert dead(build("baseline", "BaselineViT", {})) == KEY_BIAS
    gate = {f"layers.1.attn.gate.{part}" for part in ("weight", "bias")}
    assert dead(build("hybrid", "HybridViT", {"window": 3, "readout": "cls"})) == gate


def overfit(module: nn.Module, steps: int = 80) -> float:
    """The last loss on 64 random images of 10 random classes, of which 80 AdamW steps learn all."""
    generator = torch.Generator().manual_seed(3)
    images = torch.randn(64, 3, 32, 32, generator=generator)
    labels = torch.randint(10, (64,), generator=generator)
    optimizer = torch.optim.AdamW(module.parameters(), lr=1e-3)
    loss = torch.tensor(0.0)
    for _ in range(steps):
        optimizer.zero_grad()
        loss = F.cross_entropy(module(images), labels)
        loss.backward()
        optimizer.step()
    return loss.item()


LEARNERS = [
    ("baseline", "BaselineViT", {}),
    ("linear", "LinearViT", {}),
    ("ripplevit", "RippleViT", {}),
    ("hydravit", "HydraViT", {}),
    ("linformer", "LinformerViT", {"k": 9}),
    ("performer", "PerformerViT", {}),
    ("nystromformer", "NystromformerViT", {"landmarks": 9}),
    ("hybrid", "HybridViT", {"window": 2}),
]


@pytest.mark.parametrize(("spec", "model", "statics"), LEARNERS)
def test_64_random_images_are_learned_by_heart(spec: str, model: str, statics: Statics) -> None:
    module = build(spec, model, {**statics, "d": 96, "depth": 3, "patch": 8}).train()
    assert overfit(module) < 0.03


def test_a_model_that_cannot_learn_does_not() -> None:
    """The control: with all but its head frozen."""
    module = build("performer", "PerformerViT", {"d": 96, "depth": 3, "patch": 8}).train()
    for name, parameter in module.named_parameters():
        parameter.requires_grad_(name.startswith("head."))
    assert overfit(module) > 0.5
