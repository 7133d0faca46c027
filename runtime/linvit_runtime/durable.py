"""Files that survive a crash: written whole, forced to the disk, then given their name.

POSIX promises that a rename is seen entirely or not at all, but not that it reaches the disk: the
folder has to be synced too, and the content before it.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import uuid
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path


def write_file(path: Path, content: bytes) -> str:
    """Write `content` to `path` and force it to the disk; give its SHA-256 in hexadecimal.

    Raises:
        OSError: The disk is full, read-only, or failed; `path` may then hold a part.
    """
    with path.open("wb") as stream:
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())
    return hashlib.sha256(content).hexdigest()


def replace_file(path: Path, content: bytes) -> None:
    """Replace `path` by `content`: a reader, also after a crash, finds the old or the new file.

    Raises:
        OSError: As `write_file`; `path` is then unchanged.
    """
    # Processes of containers that share a folder can have one number.
    temporary = path.with_name(f".{path.name}.{os.getpid()}-{uuid.uuid4().hex[:8]}.tmp")
    try:
        write_file(temporary, content)
        os.replace(temporary, path)  # noqa: PTH105 - named as the call whose atomicity is used
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
    sync_directory(path.parent)


def sync_directory(directory: Path) -> None:
    """Force the names in `directory` to the disk."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def exclusive(lock: Path, *, wait: bool) -> Generator[None, None, None]:
    """Hold the lock file `lock` for the length of a `with`; the kernel frees it if we die.

    Raises:
        BlockingIOError: Another process holds it, and `wait` is false.
    """
    descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        yield
    finally:
        os.close(descriptor)
