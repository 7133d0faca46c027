"""One optimizer step: forward, backward, limit the gradient, and only then change weights."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import AdamW

from linvit_dsl.check.recipe import Recipe
from linvit_runtime.train.distributed import Dist


@dataclass(frozen=True, slots=True)
class StepOutcome:
    """What one step measured.

    Attributes:
        loss: mean loss over the global batch, with label smoothing and mixup.
        grad_norm: L2 norm of all gradients together, before clipping.
    """

    loss: float
    grad_norm: float

    @property
    def finite(self) -> bool:
        """Whether both numbers are; if not, no weight was changed."""
        return math.isfinite(self.loss) and math.isfinite(self.grad_norm)


def forward_loss(net: nn.Module, images: Tensor, targets: Tensor, recipe: Recipe) -> Tensor:
    """The training loss of a batch: mean cross entropy in float32, a scalar."""
    bfloat16 = recipe.precision == "bfloat16"
    with torch.autocast(images.device.type, torch.bfloat16, enabled=bfloat16):
        scores = net(images)
    return F.cross_entropy(scores.float(), targets, label_smoothing=recipe.label_smoothing)


def take_step(
    net: nn.Module,
    optimizer: AdamW,
    images: Tensor,
    targets: Tensor,
    recipe: Recipe,
    dist: Dist,
) -> StepOutcome:
    """Move the weights once along the gradient of `images` and `targets`.

    The weights and the optimizer's state stay as they were if the loss or the gradient is NaN or
    infinite: one such step would spoil everything after it.

    Args:
        net: the model, wrapped for several processes.
        optimizer: with this step's learning rate.
        images: this process's share, [B, C, H, W] float32.
        targets: [B] int64 or [B, K] float32.
        recipe: precision, label smoothing and limit of the gradient.
        dist: the processes of the run.
    """
    optimizer.zero_grad(set_to_none=True)
    loss = forward_loss(net, images, targets, recipe)
    loss.backward()
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    norm = nn.utils.get_total_norm([p.grad for p in parameters if p.grad is not None])
    mean, largest = (dist.sum(torch.stack([loss.detach(), norm])) / dist.world).tolist()
    outcome = StepOutcome(mean, largest)
    if outcome.finite:
        clip = recipe.optimizer.clip
        if clip is not None:
            nn.utils.clip_grads_with_norm_(parameters, clip, norm)
        optimizer.step()
    return outcome
