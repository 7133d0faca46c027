"""Activation memory against torch: the bytes that autograd really holds after a forward pass.

Costs are those of a model as it is written, so the modules are compiled at level 0: the passes
above it make several reads of one state one call, which keeps less.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from linvit_codegen import Options, generate, write
from linvit_dsl.check import elaborate, find_spec, open_program
from linvit_dsl.graph.cost import cost
from linvit_dsl.graph.ir import Graph
from linvit_dsl.graph.size import at_batch
from linvit_dsl.ops import OPS
from linvit_dsl.ops.op import Saved

if TYPE_CHECKING:
    import torch
    from torch import nn

SMALL = {"depth": "2", "d": "48", "drop": "0"}
# Without dropout: on a CPU torch keeps its masks as floats, on a GPU as booleans, which we count.
MODELS = [
    ("baseline", "BaselineViTDigits", {}),
    ("linear", "LinearViTDigits", {}),
    ("ripplevit", "RippleViTDigits", {}),
    ("hydravit", "HydraViTDigits", {}),
    ("vit_tiny_cifar10", "TinyViT", {}),
    ("vit_tiny_cifar10", "TinyViTMerged", {}),
    (
        "ripplevit",
        "RippleViT",
        {"depth": "2", "drop": "0", "d": "48", "image": "20", "cls": "false"},
    ),
    ("hydravit", "HydraViT", {"depth": "1", "drop": "0", "d": "48", "branches": "1"}),
    ("efficientvit", "EfficientViTDigits", {}),
    ("pvt", "PVTDigits", {}),
    ("feature_maps", "EfficientAttentionViTDigits", {}),
    ("hydra_cos", "HydraCosineViTDigits", {}),
    ("grouped_query", "GroupedQueryViTDigits", {}),
    ("grouped_query", "GroupedQueryLinearViTDigits", {}),
]


def elaborated(spec: str, model: str, overrides: dict[str, str]) -> Graph:
    return elaborate(open_program(find_spec(spec)[0]), model, overrides).graph


def bytes_held(graph: Graph, batch: int, folder: Path) -> int:
    """Run the generated module in training mode; count each storage once, parameters not."""

    path = folder / "generated.py"
    generated = generate(graph, options=Options(level=0))
    write(generated, path)
    spec = importlib.util.spec_from_file_location("generated", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    network = getattr(module, generated.name)().train()
    return bytes_held_by(network, inputs(graph, batch))


def inputs(graph: Graph, batch: int) -> tuple[torch.Tensor, ...]:
    import torch

    shapes = ([at_batch(size, batch) for size in value.type.sizes] for value in graph.inputs)
    return tuple(torch.zeros(shape).requires_grad_() for shape in shapes)


def bytes_held_by(network: nn.Module, images: tuple[torch.Tensor, ...]) -> int:
    """What autograd keeps of a forward pass: each storage once, parameters not."""
    import torch

    weights = {tensor.untyped_storage().data_ptr() for tensor in network.state_dict().values()}
    held: dict[int, torch.UntypedStorage] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.nbytes() and storage.data_ptr() not in weights:
            held[storage.data_ptr()] = storage
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        output = network(*images)
    outputs = (output,) if isinstance(output, torch.Tensor) else output
    assert any(output.requires_grad for output in outputs)
    return sum(storage.nbytes() for storage in held.values())


@pytest.mark.parametrize(("spec", "model", "overrides"), MODELS)
def test_every_byte_that_autograd_holds(
    spec: str, model: str, overrides: dict[str, str], tmp_path: Path
) -> None:
    graph = elaborated(spec, model, overrides)
    assert cost(graph, 2).activation_bytes == bytes_held(graph, 2, tmp_path)


def test_control_an_operator_that_keeps_too_little(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    graph = elaborated("linear", "LinearViTDigits", {})
    monkeypatch.setattr(OPS["gelu"], "saved", staticmethod(lambda attributes, arguments: Saved()))
    assert cost(graph, 2).activation_bytes < bytes_held(graph, 2, tmp_path)
