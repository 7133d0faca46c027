"""Find a file in the data folder, or bring it there whole or not at all.

A download goes to `NAME.part`, is continued after an interruption, and takes its final name only
when its SHA-256 is right and its bytes are on the disk.
"""

from __future__ import annotations

import hashlib
import os
import urllib.error
import urllib.request
from dataclasses import dataclass
from http import HTTPStatus
from http.client import HTTPException
from pathlib import Path
from typing import BinaryIO

from linvit_runtime.durable import exclusive, sync_directory
from linvit_runtime.errors import DataProblem

CHUNK = 1 << 20
TIMEOUT_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """A published file.

    Attributes:
        name: its name in the data folder.
        url: where it is published.
        sha256: hexadecimal hash of its bytes.
        size: its length in bytes.
    """

    name: str
    url: str
    sha256: str
    size: int


def obtain(file: RemoteFile, directory: Path, *, download: bool = True) -> Path:
    """The path of `file` in `directory`, after downloading it where it is absent and allowed.

    The content of a file that is already there is not checked here; `verify` does that.

    Raises:
        DataProblem: The file is absent and could not be downloaded; the message names it.
    """
    path = directory / file.name
    if path.exists():
        return path
    if not download:
        raise _absent(file, directory, "downloading is switched off")
    try:
        directory.mkdir(parents=True, exist_ok=True)
        with exclusive(directory / f"{file.name}.lock", wait=True):
            if not path.exists():  # another process may have brought it while this one waited
                _download(file, path)
    except (urllib.error.URLError, HTTPException, OSError) as error:
        reason = error.reason if isinstance(error, urllib.error.URLError) else error
        raise _absent(file, directory, f"{file.url} could not be downloaded: {reason}") from error
    return path


def verify(file: RemoteFile, path: Path) -> None:
    """Check that `path` holds the bytes of `file`.

    Raises:
        DataProblem: It cannot be read, or its SHA-256 is another.
    """
    try:
        with path.open("rb") as stream:
            found = hashlib.file_digest(stream, "sha256").hexdigest()
            size = stream.tell()
    except OSError as error:
        raise DataProblem(f"cannot read {path}: {error.strerror}") from error
    if found != file.sha256:
        raise DataProblem(
            f"{path} is damaged or another file: {size:,} bytes with SHA-256 {found}, "
            f"not {file.size:,} bytes with SHA-256 {file.sha256}",
            "delete it to have it downloaded again",
        )


def _download(file: RemoteFile, path: Path) -> None:
    part = path.with_name(f"{file.name}.part")
    with part.open("ab") as output:
        start = output.tell()
        if start > file.size:
            start = output.truncate(0)
        if start < file.size:
            _append(file, output, start)
        output.flush()
        os.fsync(output.fileno())
    length = part.stat().st_size
    if length < file.size:
        # The part is kept: the next attempt goes on from here.
        raise OSError(f"the connection ended after {length:,} of {file.size:,} bytes")
    try:
        verify(file, part)
    except DataProblem as problem:
        part.unlink()
        raise DataProblem(f"{file.url} is not the file expected: {problem.message}") from problem
    part.rename(path)
    sync_directory(path.parent)


def _append(file: RemoteFile, output: BinaryIO, start: int) -> None:
    """Append the bytes of `file` from `start` on; from 0 if the server cannot continue."""
    headers = {"Range": f"bytes={start}-"} if start else {}
    request = urllib.request.Request(file.url, headers=headers)  # noqa: S310 - a constant, https
    with urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS) as response:  # noqa: S310
        if response.status != HTTPStatus.PARTIAL_CONTENT:
            start = output.truncate(0)
        while start <= file.size and (chunk := response.read(CHUNK)):
            start += output.write(chunk)


def _absent(file: RemoteFile, directory: Path, reason: str) -> DataProblem:
    return DataProblem(
        f"{file.name} is not in {directory}: {reason}",
        f"put {file.name} ({file.size:,} bytes, SHA-256 {file.sha256}) from {file.url} there, "
        "or name its folder with --data or LINVIT_DATA",
    )
