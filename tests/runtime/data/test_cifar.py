"""The CIFAR reader, on small archives in the exact format of the real ones."""

import dataclasses
import hashlib
import io
import tarfile
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

from linvit_runtime.data import DataProblem, DataSet, load
from linvit_runtime.data.cifar import CIFAR10, CIFAR100, CifarArchive, read_cifar

TRAIN, TEST = 6, 4
Entries = Sequence[tuple[tarfile.TarInfo, bytes]]


def records(number: int, label_bytes: int, classes: int, seed: int) -> np.ndarray:
    """[number, label_bytes + 3072] uint8, as the published records."""
    draw = np.random.default_rng(seed)
    table = draw.integers(0, 256, (number, label_bytes + 3072), dtype=np.uint8)
    table[:, label_bytes - 1] = draw.integers(0, classes, number)
    return table


def contents(archive: CifarArchive) -> dict[str, bytes]:
    """The members of a small archive: images, and the names of the classes."""
    members = {
        name: records(TRAIN, archive.label_bytes, archive.classes, i).tobytes()
        for i, name in enumerate(archive.train)
    }
    members[archive.test] = records(TEST, archive.label_bytes, archive.classes, 99).tobytes()
    members[archive.names] = "".join(f"class{i}\n" for i in range(archive.classes)).encode() + b"\n"
    return members


def write(path: Path, members: dict[str, bytes], extra: Entries = ()) -> None:
    """A tar.gz with a folder entry, an unrelated file, the members, and `extra` raw entries."""
    with tarfile.open(path, "w:gz") as tar:
        folder = tarfile.TarInfo("folder")
        folder.type = tarfile.DIRTYPE
        tar.addfile(folder)
        for name, content in {"readme.html": b"<html>", **members}.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
        for info, content in extra:
            tar.addfile(info, io.BytesIO(content))


def small(archive: CifarArchive, path: Path) -> CifarArchive:
    """The description of the archive at `path`: the real one, but for counts and checksum."""
    content = path.read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    return dataclasses.replace(
        archive,
        file=dataclasses.replace(archive.file, sha256=digest, size=len(content)),
        images_per_train_member=TRAIN,
        images_per_test_member=TEST,
    )


def read(
    archive: CifarArchive,
    path: Path,
    members: dict[str, bytes] | None = None,
    extra: Entries = (),
) -> DataSet:
    """Write an archive and read it."""
    write(path, contents(archive) if members is None else members, extra)
    return read_cifar(small(archive, path), path)


@pytest.mark.parametrize("archive", [CIFAR10, CIFAR100], ids=["cifar10", "cifar100"])
def test_images_and_labels_are_the_published_bytes(archive: CifarArchive, tmp_path: Path) -> None:
    data = read(archive, tmp_path / archive.file.name)
    number = TRAIN * len(archive.train)
    assert data.train_images.shape == (number, 3, 32, 32)
    assert data.test_images.shape == (TEST, 3, 32, 32)
    assert data.classes == archive.classes
    assert data.class_names[1] == "class1"
    # The layout, followed by hand: the last label byte, then red, green, blue planes row by row.
    table = records(TRAIN, archive.label_bytes, archive.classes, len(archive.train) - 1)
    last = table[-1]
    assert data.train_labels[-1].item() == last[archive.label_bytes - 1]
    for channel, row, column in [(0, 0, 0), (0, 0, 31), (1, 5, 7), (2, 31, 31)]:
        byte = last[archive.label_bytes + 1024 * channel + 32 * row + column]
        assert data.train_images[-1, channel, row, column].item() == byte


def test_the_real_archives_have_the_published_sizes() -> None:
    assert CIFAR10.sizes == dict.fromkeys([*CIFAR10.train, CIFAR10.test], 30_730_000)
    assert CIFAR100.sizes == {CIFAR100.train[0]: 153_700_000, CIFAR100.test: 30_740_000}


def test_another_checksum_is_refused(tmp_path: Path) -> None:
    path = tmp_path / CIFAR10.file.name
    write(path, contents(CIFAR10))
    with pytest.raises(DataProblem, match=CIFAR10.file.sha256):
        read_cifar(CIFAR10, path)


@pytest.mark.parametrize("keep", [0.1, 0.5, 0.9, 0.999])
def test_a_truncated_archive_is_refused(tmp_path: Path, keep: float) -> None:
    path = tmp_path / "short.tar.gz"
    write(path, contents(CIFAR10))
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * keep)])
    with pytest.raises(DataProblem, match=r"not a whole|no member|cut short"):
        read_cifar(small(CIFAR10, path), path)


def test_something_else_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "page.html"
    path.write_bytes(b"<html>moved</html>")
    with pytest.raises(DataProblem, match=r"not a whole tar\.gz"):
        read_cifar(small(CIFAR10, path), path)


def test_a_missing_member_is_named(tmp_path: Path) -> None:
    members = contents(CIFAR10)
    del members[CIFAR10.train[3]]
    with pytest.raises(DataProblem, match=r"no member .*data_batch_4\.bin"):
        read(CIFAR10, tmp_path / "a.tar.gz", members)


@pytest.mark.parametrize("change", [lambda c: c[:-1], lambda c: c + b"\0", lambda c: b""])
def test_a_member_of_another_size_is_refused(
    tmp_path: Path, change: Callable[[bytes], bytes]
) -> None:
    members = contents(CIFAR10)
    members[CIFAR10.test] = change(members[CIFAR10.test])
    with pytest.raises(DataProblem, match=r"test_batch\.bin .* not 12,292"):
        read(CIFAR10, tmp_path / "a.tar.gz", members)


def test_a_label_out_of_range_is_refused(tmp_path: Path) -> None:
    members = contents(CIFAR10)
    table = bytearray(members[CIFAR10.test])
    table[3073] = 10
    members[CIFAR10.test] = bytes(table)
    with pytest.raises(DataProblem, match="label 10; cifar10 has 10 classes"):
        read(CIFAR10, tmp_path / "a.tar.gz", members)


def test_too_few_class_names_are_refused(tmp_path: Path) -> None:
    members = contents(CIFAR10) | {CIFAR10.names: b"cat\ndog\n"}
    with pytest.raises(DataProblem, match="names 2 classes, not 10"):
        read(CIFAR10, tmp_path / "a.tar.gz", members)


def test_a_huge_list_of_names_is_refused(tmp_path: Path) -> None:
    members = contents(CIFAR10) | {CIFAR10.names: b"cat\n" * 100_000}
    with pytest.raises(DataProblem, match="400,000 bytes"):
        read(CIFAR10, tmp_path / "a.tar.gz", members)


def link(name: str, target: str, kind: bytes) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE])
def test_a_link_with_the_right_name_is_not_followed(tmp_path: Path, kind: bytes) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(contents(CIFAR10)[CIFAR10.test])
    members = contents(CIFAR10)
    del members[CIFAR10.test]
    extra = [(link(CIFAR10.test, str(secret), kind), b"")]
    with pytest.raises(DataProblem, match="not a regular file"):
        read(CIFAR10, tmp_path / "a.tar.gz", members, extra)


def test_a_second_member_of_the_same_name_is_refused(tmp_path: Path) -> None:
    content = contents(CIFAR10)[CIFAR10.test]
    again = tarfile.TarInfo(CIFAR10.test)
    again.size = len(content)
    with pytest.raises(DataProblem, match="twice"):
        read(CIFAR10, tmp_path / "a.tar.gz", extra=[(again, content)])


def test_hostile_names_are_passed_over_and_nothing_is_extracted(tmp_path: Path) -> None:
    folder = tmp_path / "inner"
    folder.mkdir()
    path = folder / "a.tar.gz"
    names = ["../evil", "/tmp/linvit-evil", "cifar-10-batches-bin/../../evil", "a\\..\\evil"]
    extra = [(tarfile.TarInfo(name), b"") for name in names]
    extra.append((link("cifar-10-batches-bin/x", "/etc/passwd", tarfile.SYMTYPE), b""))
    assert read(CIFAR10, path, extra=extra).classes == 10
    assert list(tmp_path.iterdir()) == [folder]
    assert list(folder.iterdir()) == [path]


def test_an_absent_archive_is_named_with_its_checksum(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LINVIT_DATA", str(tmp_path))
    with pytest.raises(DataProblem) as caught:
        load("cifar10", download=False)
    for part in ("cifar-10-binary.tar.gz", str(tmp_path), "170,052,171", CIFAR10.file.sha256):
        assert part in str(caught.value)
