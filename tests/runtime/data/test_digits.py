"""The shipped digits: the published images, in the published order, split as documented."""

import importlib.resources
from dataclasses import replace
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import torch

from linvit_dsl.check.recipe import Data
from linvit_runtime.data import DATA_SETS, DataProblem, digits, load
from linvit_runtime.data.dataset import channel_statistics


def test_the_split_is_the_published_order() -> None:
    data = load("digits")
    assert data.train_images.shape == (1347, 1, 8, 8)
    assert data.test_images.shape == (450, 1, 8, 8)
    assert data.train_images.dtype == torch.uint8
    assert data.train_labels.dtype == torch.int64
    assert (data.classes, data.image_shape, data.peak) == (10, (1, 8, 8), 16)
    assert data.train_labels[:12].tolist() == [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 0, 1]
    # The published number of test digits per class (optdigits.names).
    labels = torch.cat([data.train_labels, data.test_labels])
    assert labels.bincount().tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]
    # The first row of the published file.
    first = [0, 0, 5, 13, 9, 1, 0, 0, 0, 0, 13, 15, 10, 15, 5, 0]
    assert data.train_images[0, 0, :2].flatten().tolist() == first


def test_nearest_neighbours_reach_the_known_accuracy() -> None:
    """Images and labels belong together: 3 nearest neighbours reach 97.1 % on this split."""
    data = load("digits")
    train, test = data.train_images.flatten(1).double(), data.test_images.flatten(1).double()
    nearest = torch.cdist(test, train).topk(3, largest=False).indices
    guess = data.train_labels[nearest].mode(dim=1).values
    assert (guess == data.test_labels).double().mean().item() == pytest.approx(0.971, abs=0.005)


def test_normalization_centres_the_training_images() -> None:
    data = load("digits")
    images = data.normalize(data.train_images)
    assert images.dtype == torch.float32
    assert images.mean().item() == pytest.approx(0, abs=1e-5)
    assert images.std(correction=0).item() == pytest.approx(1, abs=1e-5)


def test_statistics_equal_numpys() -> None:
    images = torch.randint(0, 256, (7, 3, 5, 4), dtype=torch.uint8)
    mean, std = channel_statistics(images, 255)
    scaled = images.numpy().astype(np.float64) / 255
    np.testing.assert_allclose(mean, scaled.mean((0, 2, 3)), rtol=1e-12)
    np.testing.assert_allclose(std, scaled.std((0, 2, 3)), rtol=1e-12)


def test_a_constant_channel_normalizes_to_zero() -> None:
    _, std = channel_statistics(torch.full((2, 1, 3, 3), 9, dtype=torch.uint8), 16)
    assert std == (1.0,)


def test_a_damaged_file_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    content = bytearray(
        (importlib.resources.files("linvit_runtime.data") / digits.FILE).read_bytes()
    )
    content[1000] ^= 1
    (tmp_path / digits.FILE).write_bytes(content)
    monkeypatch.setattr(digits, "files", lambda _package: tmp_path)
    with pytest.raises(DataProblem, match="damaged"):
        load("digits")


def test_an_unknown_name_is_refused_with_the_known_ones() -> None:
    with pytest.raises(DataProblem, match=r"`mnist`[\s\S]*digits, cifar10, cifar100"):
        load("mnist")


def test_recipes_and_loader_know_the_same_sets() -> None:
    assert set(DATA_SETS) == set(get_args(Data.model_fields["name"].annotation))


@pytest.mark.parametrize("size", [4, 20])
def test_images_are_scaled_as_they_are_normalized(size: int) -> None:
    """Every pixel is an average of those around its place, weighted by their distance."""
    data = load("digits")
    scaled = replace(data, size=size)
    assert (data.image_shape, scaled.image_shape) == ((1, 8, 8), (1, size, size))
    images = data.test_images[:5]
    plain = data.normalize(images)
    # Where a pixel of the result has its centre, in pixels of the original; edges repeat.
    centres = (torch.arange(size) + 0.5) * 8 / size - 0.5
    reach = max(1.0, 8 / size)
    weights = (1 - (centres[:, None] - torch.arange(8)).abs() / reach).clamp(min=0)
    weights = weights / weights.sum(1, keepdim=True)
    expected = torch.einsum("ir,js,bcrs->bcij", weights, weights, plain)
    torch.testing.assert_close(scaled.normalize(images), expected, rtol=1e-5, atol=1e-5)


def test_images_of_the_right_size_are_not_touched() -> None:
    data = load("digits")
    images = data.test_images[:5]
    assert torch.equal(replace(data, size=8).normalize(images), data.normalize(images))
