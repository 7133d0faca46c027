"""Augmentations against slow loops over single images."""

import numpy as np
import torch
from torch import Generator, Tensor

from linvit_runtime.data.augment import horizontal_flip, mixup, random_crop


def images(batch: int = 13, channels: int = 3, height: int = 7, width: int = 5) -> Tensor:
    return torch.randint(0, 256, (batch, channels, height, width), dtype=torch.uint8)


def generator(seed: int = 7) -> Generator:
    return torch.Generator().manual_seed(seed)


def test_random_crop_equals_slicing_padded_images() -> None:
    given, pad = images(), 2
    cropped = random_crop(given, pad, generator())
    tops, lefts = (
        torch.randint(2 * pad + 1, (2, 13, 1, 1), generator=generator()).flatten(1).tolist()
    )
    padded = np.pad(given.numpy(), ((0, 0), (0, 0), (pad, pad), (pad, pad)))
    expected = [
        image[:, top : top + 7, left : left + 5]
        for image, top, left in zip(padded, tops, lefts, strict=True)
    ]
    np.testing.assert_array_equal(cropped.numpy(), np.stack(expected))
    assert len(set(zip(tops, lefts, strict=True))) > 5, "the control: places differ"


def test_random_crop_reaches_every_place() -> None:
    spot = torch.zeros(2000, 1, 3, 3)
    spot[:, :, 1, 1] = 1
    assert (random_crop(spot, 1, generator()).sum(0) > 150).all()


def test_flip_mirrors_the_share_asked_for() -> None:
    given = images(batch=2000)
    flipped = horizontal_flip(given, 0.25, generator())
    mirrored = given.numpy()[..., ::-1]
    same = (flipped.numpy() == given.numpy()).all((1, 2, 3))
    assert (same | (flipped.numpy() == mirrored).all((1, 2, 3))).all()
    assert 0.2 < 1 - same.mean() < 0.3
    assert torch.equal(horizontal_flip(given, 0.0, generator()), given)
    np.testing.assert_array_equal(horizontal_flip(given, 1.0, generator()).numpy(), mirrored)


def test_mixup_blends_each_image_with_the_one_before() -> None:
    given = torch.rand(4, 1, 2, 2)
    targets = torch.eye(4)
    mixed, mixed_targets = mixup(given, targets, 0.7)
    for i in range(4):
        torch.testing.assert_close(mixed[i], 0.7 * given[i] + 0.3 * given[i - 1])
        torch.testing.assert_close(mixed_targets[i], 0.7 * targets[i] + 0.3 * targets[i - 1])


def test_equal_generators_give_equal_images() -> None:
    given = images()
    assert torch.equal(random_crop(given, 2, generator()), random_crop(given, 2, generator()))
    assert not torch.equal(random_crop(given, 2, generator()), random_crop(given, 2, generator(8)))
