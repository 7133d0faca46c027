"""An exponential moving average of a model's weights (EMA)."""

from __future__ import annotations

from copy import deepcopy

import torch
from torch import nn
from torch.optim.swa_utils import get_ema_multi_avg_fn


class WeightAverage:
    """A second model whose weights follow those of the first.

    Args:
        model: the model to follow; the average starts as a copy of it.
        decay: share of the average that stays, per step; 0.999 looks back about 1,000 steps.

    Attributes:
        model: the averaged model, in evaluation mode.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay = decay
        self.model = deepcopy(model).eval().requires_grad_(False)

    @torch.no_grad()
    def update(self, model: nn.Module, step: int) -> None:
        """Follow `model` after step `step` (from 1).

        The decay grows as (1 + step) / (10 + step) up to its limit, or the first weights, which
        nothing was learned by, would weigh on the average for long.
        """
        decay = min(self.decay, (1 + step) / (10 + step))
        averages, weights = tuple(self.model.parameters()), tuple(model.parameters())
        get_ema_multi_avg_fn(decay)(averages, weights, 0)
        for average, current in zip(self.model.buffers(), model.buffers(), strict=True):
            average.copy_(current)
