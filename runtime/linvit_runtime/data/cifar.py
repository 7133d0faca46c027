"""CIFAR-10 and CIFAR-100 from their binary archives.

The archives that most tools read hold Python pickles, which can run code when they are opened. The
binary ones hold fixed-size records: one label byte (CIFAR-100: a coarse one, then a fine one), then
3,072 bytes of pixels, channel by channel, row by row (https://www.cs.toronto.edu/~kriz/cifar.html).
Members are read by name out of the compressed file; nothing is ever extracted to disk.
"""

from __future__ import annotations

import gzip
import tarfile
import zlib
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from linvit_runtime.data.dataset import DataSet, channel_statistics
from linvit_runtime.data.download import RemoteFile, verify
from linvit_runtime.errors import DataProblem

SIDE = 32
PIXELS = 3 * SIDE * SIDE
PEAK = 255
MAX_NAMES_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class CifarArchive:
    """What one of the two archives holds, and where it comes from.

    Attributes:
        name: the data set's name.
        file: the archive.
        train: names of the members with training images, in order.
        test: name of the member with test images.
        names: name of the member with one class name per line.
        images_per_train_member: records in each of `train`.
        images_per_test_member: records in `test`.
        label_bytes: label bytes per record; the last one is the class.
        classes: number of classes.
    """

    name: str
    file: RemoteFile
    train: tuple[str, ...]
    test: str
    names: str
    images_per_train_member: int
    images_per_test_member: int
    label_bytes: int
    classes: int

    @property
    def sizes(self) -> dict[str, int]:
        """Exact size in bytes of every member that holds images."""
        record = self.label_bytes + PIXELS
        sizes = dict.fromkeys(self.train, self.images_per_train_member * record)
        sizes[self.test] = self.images_per_test_member * record
        return sizes


CIFAR10 = CifarArchive(
    name="cifar10",
    file=RemoteFile(
        name="cifar-10-binary.tar.gz",
        url="https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",
        sha256="c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd",
        size=170_052_171,
    ),
    train=tuple(f"cifar-10-batches-bin/data_batch_{i}.bin" for i in range(1, 6)),
    test="cifar-10-batches-bin/test_batch.bin",
    names="cifar-10-batches-bin/batches.meta.txt",
    images_per_train_member=10_000,
    images_per_test_member=10_000,
    label_bytes=1,
    classes=10,
)
CIFAR100 = CifarArchive(
    name="cifar100",
    file=RemoteFile(
        name="cifar-100-binary.tar.gz",
        url="https://www.cs.toronto.edu/~kriz/cifar-100-binary.tar.gz",
        sha256="58a81ae192c23a4be8b1804d68e518ed807d710a4eb253b1f2a199162a40d8ec",
        size=168_513_733,
    ),
    train=("cifar-100-binary/train.bin",),
    test="cifar-100-binary/test.bin",
    names="cifar-100-binary/fine_label_names.txt",
    images_per_train_member=50_000,
    images_per_test_member=10_000,
    label_bytes=2,
    classes=100,
)


def read_cifar(archive: CifarArchive, path: Path) -> DataSet:
    """Read the archive at `path` into memory (150 MB of pixels for the real ones).

    Raises:
        DataProblem: The file has another SHA-256, is truncated, lacks a member, or a member is not
            a regular file of exactly the expected size, or holds a label out of range.
    """
    verify(archive.file, path)
    try:
        members = _read_members(archive, path)
    except (tarfile.TarError, gzip.BadGzipFile, zlib.error, EOFError) as error:
        raise DataProblem(f"{path} is not a whole tar.gz archive: {error}") from error
    parts = [_records(archive, path, name, members[name]) for name in archive.train]
    train_images = torch.cat([images for images, _ in parts])
    train_labels = torch.cat([labels for _, labels in parts])
    test_images, test_labels = _records(archive, path, archive.test, members[archive.test])
    mean, std = channel_statistics(train_images, PEAK)
    return DataSet(
        name=archive.name,
        id=f"{archive.name}-binary",
        sha256=archive.file.sha256,
        train_images=train_images,
        train_labels=train_labels,
        test_images=test_images,
        test_labels=test_labels,
        class_names=_class_names(archive, path, members[archive.names]),
        peak=PEAK,
        mean=mean,
        std=std,
    )


def _read_members(archive: CifarArchive, path: Path) -> dict[str, bytearray]:
    """The content of the members wanted. Every other member, whatever its name, is passed over."""
    sizes = archive.sizes
    found: dict[str, bytearray] = {}
    with tarfile.open(path, "r:gz") as tar:
        for member in tar:
            if member.name not in sizes and member.name != archive.names:
                continue
            if member.name in found:
                raise DataProblem(f"{path} holds {member.name} twice")
            # A link may carry the right name and lead anywhere.
            stream = tar.extractfile(member) if member.isreg() else None
            if stream is None:
                raise DataProblem(f"{member.name} in {path} is not a regular file")
            wanted = sizes.get(member.name)
            if wanted is not None and member.size != wanted:
                raise DataProblem(
                    f"{member.name} in {path} has {member.size:,} bytes, not {wanted:,}"
                )
            if wanted is None and member.size > MAX_NAMES_BYTES:
                raise DataProblem(
                    f"{member.name} in {path} has {member.size:,} bytes, over {MAX_NAMES_BYTES:,}"
                )
            found[member.name] = bytearray(stream.read())
    for name in (*sizes, archive.names):
        if name not in found:
            raise DataProblem(f"{path} has no member {name}")
        if len(found[name]) != sizes.get(name, len(found[name])):
            raise DataProblem(f"{name} in {path} is cut short")
    return found


def _records(
    archive: CifarArchive, path: Path, name: str, content: bytearray
) -> tuple[Tensor, Tensor]:
    """Split records into images [N, 3, 32, 32] uint8 and labels [N] int64."""
    table = torch.frombuffer(content, dtype=torch.uint8).view(-1, archive.label_bytes + PIXELS)
    labels = table[:, archive.label_bytes - 1].long()
    largest = int(labels.max())
    if largest >= archive.classes:
        raise DataProblem(
            f"{name} in {path} holds label {largest}; {archive.name} has {archive.classes} classes"
        )
    return table[:, archive.label_bytes :].reshape(-1, 3, SIDE, SIDE), labels


def _class_names(archive: CifarArchive, path: Path, content: bytearray) -> tuple[str, ...]:
    names = tuple(content.decode("ascii", errors="replace").split())
    if len(names) != archive.classes:
        raise DataProblem(
            f"{archive.names} in {path} names {len(names)} classes, not {archive.classes}"
        )
    return names
