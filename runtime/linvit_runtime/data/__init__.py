"""Data sets: labelled images in memory, read without pickle and without extracting archives."""

from __future__ import annotations

import os
from pathlib import Path

from linvit_runtime.data.cifar import CIFAR10, CIFAR100, CifarArchive, read_cifar
from linvit_runtime.data.dataset import DataSet
from linvit_runtime.data.digits import load_digits
from linvit_runtime.data.download import obtain
from linvit_runtime.errors import DataProblem

__all__ = ["DATA_SETS", "DataProblem", "DataSet", "load"]

_ARCHIVES: dict[str, CifarArchive] = {"cifar10": CIFAR10, "cifar100": CIFAR100}
DATA_SETS: tuple[str, ...] = ("digits", *_ARCHIVES)


def load(
    name: str, directory: str | os.PathLike[str] | None = None, *, download: bool = True
) -> DataSet:
    """Load a data set by the name that recipes use.

    Args:
        name: one of `DATA_SETS`.
        directory: folder of downloaded archives; None takes $LINVIT_DATA, else the cache folder.
        download: whether an absent archive may be downloaded.

    Raises:
        DataProblem: No such set, or its file is absent or damaged.
    """
    if name == "digits":
        return load_digits()
    archive = _ARCHIVES.get(name)
    if archive is None:
        raise DataProblem(f"no data set is called `{name}`", f"known: {', '.join(DATA_SETS)}")
    folder = _folder(directory)
    return read_cifar(archive, obtain(archive.file, folder, download=download))


def _folder(directory: str | os.PathLike[str] | None) -> Path:
    if directory is not None:
        return Path(directory)
    if given := os.environ.get("LINVIT_DATA"):
        return Path(given)
    cache = os.environ.get("XDG_CACHE_HOME")
    return (Path(cache) if cache else Path.home() / ".cache") / "linvit"
