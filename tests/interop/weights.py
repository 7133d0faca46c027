"""Copying the weights of a peer into a generated module, by a table of names."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn

Parts = tuple[str, ...]
"""Names that stand for one name of the other side: the rows of its tensor fall to them in turn."""


def translated(
    theirs: Mapping[str, Tensor], table: Iterable[tuple[str, str | Parts]]
) -> dict[str, Tensor]:
    """A state dict under our names.

    Args:
        theirs: The peer's.
        table: Pairs of their prefix and ours, or of their prefix and several of ours, among which
            the rows are shared out (`qkv` -> `q`, `k`, `v`). The first that fits a key holds.

    Raises:
        KeyError: No pair fits a key.
    """
    rules = list(table)
    ours: dict[str, Tensor] = {}
    for key, tensor in theirs.items():
        for prefix, target in rules:
            if key == prefix or key.startswith(f"{prefix}."):
                rest = key.removeprefix(prefix)
                names = (target,) if isinstance(target, str) else target
                for name, rows in zip(names, tensor.chunk(len(names)), strict=True):
                    ours[name + rest] = rows
                break
        else:
            raise KeyError(key)
    return ours


def filled(module: nn.Module, weights: Mapping[str, Tensor]) -> nn.Module:
    """`module` with these weights, in float64 and evaluation mode.

    Raises:
        RuntimeError: A key is missing, left over, or of another shape (but for axes of size 1).
    """
    own = module.state_dict()
    fitting = {
        key: tensor.reshape(own[key].shape)
        if key in own and tensor.numel() == own[key].numel()
        else tensor
        for key, tensor in weights.items()
    }
    module.load_state_dict(fitting)
    return module.double().eval()


def scattered(module: nn.Module) -> nn.Module:
    """A peer in float64 whose weights lie away from their start, where much is 0 or equal."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in module.parameters():
            weight += 0.1 * torch.randn(weight.shape, generator=generator)
    return module.double().eval()


def images(*shape: int) -> Tensor:
    """Float64 images, the same every time."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
