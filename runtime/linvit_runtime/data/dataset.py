"""One labelled set of images, held in memory.

Legend: N images, B images of a batch, C channels, H rows, W columns.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True, slots=True, eq=False)
class DataSet:
    """Images and labels of a training and a test split.

    Attributes:
        name: the name used in recipes.
        id: name and split; two sets with one id hold the same images in the same order.
        sha256: hexadecimal hash of the file they came from.
        train_images: [N, C, H, W] uint8.
        train_labels: [N] int64, 0 <= label < number of classes.
        test_images: [M, C, H, W] uint8.
        test_labels: [M] int64.
        class_names: one name per class, in the order of the labels.
        peak: the pixel value that means 1.0.
        mean: per channel, over the training images scaled to 0..1.
        std: standard deviation per channel, likewise.
        size: rows and columns to which `normalize` scales images; None: as they are.
    """

    name: str
    id: str
    sha256: str
    train_images: Tensor
    train_labels: Tensor
    test_images: Tensor
    test_labels: Tensor
    class_names: tuple[str, ...]
    peak: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    size: int | None = None

    @property
    def classes(self) -> int:
        """Number of classes."""
        return len(self.class_names)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(C, H, W) of every image that `normalize` gives."""
        _, channels, height, width = self.train_images.shape
        return channels, self.size or height, self.size or width

    def to(self, device: torch.device) -> DataSet:
        """The same set with its tensors on `device`."""
        return replace(
            self,
            train_images=self.train_images.to(device),
            train_labels=self.train_labels.to(device),
            test_images=self.test_images.to(device),
            test_labels=self.test_labels.to(device),
        )

    def normalize(self, images: Tensor) -> Tensor:
        """Turn `images` [B, C, H, W] uint8 into float32 of `image_shape`.

        The train set gets mean 0 and deviation 1 before its images are scaled, bilinearly and
        without aliasing.
        """
        shape = (1, -1, 1, 1)
        mean = torch.tensor(self.mean, device=images.device).mul_(self.peak).view(shape)
        std = torch.tensor(self.std, device=images.device).mul_(self.peak).view(shape)
        scaled = images.float().sub_(mean).div_(std)
        if self.image_shape[1:] == tuple(scaled.shape[2:]):
            return scaled
        return F.interpolate(scaled, self.image_shape[1:], mode="bilinear", antialias=True)


def channel_statistics(images: Tensor, peak: int) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation per channel of `images` [N, C, H, W] uint8, scaled by 1/peak.

    Both come from integer sums over a histogram, so they are the same on every machine.
    """
    values = torch.arange(256, dtype=torch.int64)
    means: list[float] = []
    deviations: list[float] = []
    for channel in images.unbind(1):
        counts = torch.bincount(channel.flatten().int(), minlength=256)
        number = int(counts.sum())
        total = int((counts * values).sum())
        squares = int((counts * values * values).sum())
        means.append(total / number / peak)
        spread = (number * squares - total * total) ** 0.5 / number / peak
        deviations.append(spread or 1.0)  # a constant channel normalizes to zero, not to NaN
    return tuple(means), tuple(deviations)
