"""Comparing a function with its reference: results and gradients."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

Function = Callable[..., Tensor]


def drawn(*shape: int, seed: int = 0) -> Tensor:
    """A float64 tensor of N(0, 1), the same every time."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def expect_equal(ours: Function, reference: Function, *arguments: Tensor) -> None:
    """Demand equal results, and equal gradients for every argument, to 1e-10 in float64."""
    results: list[tuple[Tensor, ...]] = []
    for function in (ours, reference):
        leaves = [argument.clone().requires_grad_() for argument in arguments]
        y = function(*leaves)
        # Not the plain sum: rows of a softmax would hide from it.
        (y * drawn(*y.shape, seed=99)).sum().backward()
        results.append((y.detach(), *(_gradient(leaf) for leaf in leaves)))
    for mine, theirs in zip(*results, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-10, atol=1e-10)


def scattered(module: nn.Module, seed: int = 0) -> dict[str, Tensor]:
    """Move every weight away from its start, where much is 0 or equal; gives copies of them."""
    generator = torch.Generator().manual_seed(seed)
    for weight in module.parameters():
        weight.data += 0.3 * torch.randn(weight.shape, generator=generator, dtype=weight.dtype)
    return {
        key: weight.detach().clone().requires_grad_() for key, weight in module.named_parameters()
    }


def expect_equal_gradients(module: nn.Module, weights: Mapping[str, Tensor]) -> None:
    """Demand that backward left the same in the module's weights as in `weights`."""
    for key, weight in module.named_parameters():
        torch.testing.assert_close(
            _gradient(weight), _gradient(weights[key]), rtol=1e-9, atol=1e-10, msg=key
        )


def _gradient(tensor: Tensor) -> Tensor:
    return torch.zeros_like(tensor) if tensor.grad is None else tensor.grad
