"""A small model with what exports must get right: a kernel, stored numbers, layers by the batch."""

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import linvit_dsl
from linvit_dsl.api import ModelBuilder

SPEC = """\
from std.nn import PatchEmbed
from std.linear_attention import LinearAttention
from "./blocks/gate.vit" import Gate

## Tokens that attend to each other.
model Net[d: dim = 16, heads: dim = 2, depth: int = 2](img: [B, 1, 8, 8]) -> [B, 10] {
  x = img |> PatchEmbed[4, d]@embed
  param cls_token: [1, 1, d] ~ normal[0.5]
  x = concat[1](expand["1 1 d -> b 1 d", b = B](cls_token), x)
  repeat depth { x += x |> LinearAttention[heads]@layers |> dropout[0.5] |> Gate@gates }
  return x |> layernorm@norm |> reduce["b n d -> b d", mean] |> linear[10]@head
}

recipe digits {
  data { name = "digits"; batch = 64 }
  optimizer { lr = 1e-3 }
  schedule { epochs = 1ep }
}
train Net with digits
"""
GATE = """\
from "./inner.vit" import Inner

block Gate(x: [B, n, d]) -> [B, n, d] {
  return x * Inner(x)@inner
}
"""
INNER = """\
block Inner(x: [B, n, d]) -> [B, n, d] {
  return x |> transpose[1, 2] |> rearrange["b d n -> b d n 1"] |> batchnorm@norm
    |> rearrange["b d n 1 -> b n d"] |> linear[d]@gate |> sigmoid
}
"""


@pytest.fixture
def net(tmp_path: Path) -> ModelBuilder:
    """Write the spec with its own blocks, and open it."""
    folder = tmp_path / "project"
    (folder / "blocks").mkdir(parents=True)
    (folder / "net.vit").write_text(SPEC)
    (folder / "blocks" / "gate.vit").write_text(GATE)
    (folder / "blocks" / "inner.vit").write_text(INNER)
    return linvit_dsl.load(folder / "net.vit").Net


def trained(builder: ModelBuilder, **statics: int) -> nn.Module:
    """The model with weights that a model gets by training: none is 0, no variance is 1."""
    module = builder(**statics).eval()
    generator = torch.Generator().manual_seed(1)
    for name, tensor in module.state_dict().items():
        if tensor.is_floating_point():
            drawn = torch.randn(tensor.shape, generator=generator) * 0.3
            tensor.copy_(drawn.abs() + 0.5 if name.endswith("running_var") else drawn)
    return module


def images(batch: int) -> Tensor:
    return torch.randn(batch, 1, 8, 8, generator=torch.Generator().manual_seed(2))
