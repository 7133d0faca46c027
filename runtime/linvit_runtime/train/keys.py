"""Randomness as a pure function of (seed, purpose, step).

No generator carries state from one step to the next, so a checkpoint holds one integer instead of
generators, samplers and loaders, and a resumed run draws exactly what an uninterrupted one draws.
"""

from __future__ import annotations

from enum import IntEnum
from functools import lru_cache

import torch
from torch import Generator, Tensor

_MASK = (1 << 64) - 1


class Purpose(IntEnum):
    """What random numbers are drawn for. Changing a value would change every recorded run."""

    WEIGHTS = 1
    ORDER = 2
    AUGMENT = 3
    DROPOUT = 4
    MIXUP = 5
    FEATURES = 6


def key(*parts: int) -> int:
    """Fold integers into 64 bits with the mixer of splitmix64 (Steele et al., OOPSLA 2014)."""
    state = 0
    for part in parts:
        state = (state + (part & _MASK) + 0x9E3779B97F4A7C15) & _MASK
        state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
        state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) & _MASK
        state ^= state >> 31
    return state


def generator(*parts: int) -> Generator:
    """A new CPU generator seeded with `key(*parts)`."""
    return Generator().manual_seed(key(*parts))


def reseed(*parts: int) -> None:
    """Seed the generators that layers draw from (dropout) with `key(*parts)`.

    `torch.manual_seed` does the same, and takes a hundred times longer.
    """
    value = key(*parts)
    torch.default_generator.manual_seed(value)
    for cuda in torch.cuda.default_generators if torch.cuda.is_initialized() else ():
        cuda.manual_seed(value)


def order(seed: int, step: int, images: int, batch: int) -> Tensor:
    """Indices of the images of one step: a slice of the epoch's permutation.

    Args:
        seed: of the run.
        step: optimizer step, counted from 0 over all epochs.
        images: size of the training split; the last `images % batch` of a permutation are left out.
        batch: images per step.

    Returns:
        [batch] int64.
    """
    epoch, position = divmod(step, images // batch)
    return _permutation(seed, epoch, images)[position * batch : (position + 1) * batch]


@lru_cache(maxsize=2)
def _permutation(seed: int, epoch: int, images: int) -> Tensor:
    return torch.randperm(images, generator=generator(seed, Purpose.ORDER, epoch))
