"""The batch of a step: which images, how augmented, with which targets."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch.nn.functional as F
from torch import Tensor

from linvit_dsl.check.recipe import RandomCrop, Recipe
from linvit_runtime.data import DataSet
from linvit_runtime.data.augment import horizontal_flip, mixup, random_crop
from linvit_runtime.train.keys import Purpose, generator, key, order


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """One step's input.

    Attributes:
        indices: [B] int64, of the images in the training split.
        images: [B, C, H, W] float32, augmented and normalized.
        targets: [B] int64 classes, or with mixup [B, K] float32 distributions.
    """

    indices: Tensor
    images: Tensor
    targets: Tensor


def batch_at(step: int, data: DataSet, recipe: Recipe) -> Batch:
    """The global batch of `step` (from 0): a pure function of the step, the data and the recipe.

    Every process makes the whole batch and takes its share of it, so that the images of a step do
    not depend on the number of processes.
    """
    seed = recipe.seed
    indices = order(seed, step, len(data.train_images), recipe.data.batch)
    place = indices.to(data.train_images.device)
    images = data.train_images[place]
    targets = data.train_labels[place]
    draws = generator(seed, Purpose.AUGMENT, step)
    for augmentation in recipe.data.augment:
        if isinstance(augmentation, RandomCrop):
            images = random_crop(images, augmentation.pad, draws)
        else:
            images = horizontal_flip(images, augmentation.probability, draws)
    images = data.normalize(images)
    if recipe.mixup is not None:
        draw = np.random.default_rng(key(seed, Purpose.MIXUP, step))
        weight = float(draw.beta(recipe.mixup, recipe.mixup))
        images, targets = mixup(images, F.one_hot(targets, data.classes).float(), weight)
    return Batch(indices, images, targets)
