"""Accuracy and loss of a model on a split of a data set."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import nn

from linvit_runtime.data import DataSet
from linvit_runtime.train.distributed import Dist


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What a model reaches on a split.

    Attributes:
        top1: share of the images whose class has the highest score, 0 to 1.
        top5: share whose class is among the five highest (of all, where there are fewer classes).
        loss: mean cross entropy in nats, without label smoothing.
        images: number of images.
    """

    top1: float
    top5: float
    loss: float
    images: int


@torch.no_grad()
def evaluate(
    model: nn.Module,
    data: DataSet,
    *,
    split: Literal["train", "test"] = "test",
    batch: int = 256,
    precision: Literal["float32", "bfloat16"] = "float32",
    dist: Dist | None = None,
    stopped: Callable[[], bool] = lambda: False,
) -> Evaluation | None:
    """Run `model` over a split without augmentation; its mode is put back afterwards.

    Args:
        model: maps [B, C, H, W] float32 to [B, K] scores.
        data: images on the model's device.
        split: which images.
        batch: images at a time, in this process.
        precision: type of matrix products.
        dist: the processes to share the images among; None: this one alone.
        stopped: polled before every batch.

    Returns:
        The evaluation, or None if `stopped` became true before its end.
    """
    images, labels = (
        (data.test_images, data.test_labels)
        if split == "test"
        else (data.train_images, data.train_labels)
    )
    rank, world = (dist.rank, dist.world) if dist else (0, 1)
    device = images.device
    sums = torch.zeros(4, dtype=torch.float64, device=device)
    training = model.training
    model.eval()
    try:
        # Every process goes through the same number of rounds, if only to poll together.
        for start in range(0, len(images), batch * world):
            if dist.any(stopped()) if dist else stopped():
                return None
            begin = start + rank * batch
            some, truth = images[begin : begin + batch], labels[begin : begin + batch]
            if len(some):
                with torch.autocast(device.type, torch.bfloat16, enabled=precision == "bfloat16"):
                    scores = model(data.normalize(some))
                best = scores.float().topk(min(5, data.classes), dim=1).indices == truth[:, None]
                loss = F.cross_entropy(scores.float(), truth, reduction="sum")
                sums += torch.stack(
                    [best[:, 0].sum(), best.sum(), loss.double(), sums.new_tensor(len(some))]
                )
    finally:
        model.train(training)
    top1, top5, loss, count = (dist.sum(sums) if dist else sums).tolist()
    return Evaluation(top1 / count, top5 / count, loss / count, int(count))
