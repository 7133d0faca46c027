"""Read a `.vit` file."""

from __future__ import annotations

from math import ceil
from os import SEEK_END
from pathlib import Path

from linvit_dsl.errors import Diagnostic, Source, Span, SpecError, diagnose
from linvit_dsl.graph import limits


def read_source(path: Path, *, name: str | None = None, module: str | None = None) -> Source:
    """Read a `.vit` file. Line breaks are unified, and a byte order mark is dropped.

    Args:
        path: The file.
        name: How messages call it; by default the path.
        module: Its module name; by default the file's stem.

    Raises:
        SpecError: E0701, it cannot be read or is not UTF-8; E0702, it is too large.
    """
    name = str(path) if name is None else name
    empty = Source(name, "", path.stem if module is None else module)
    try:
        with path.open("rb") as file:
            data = file.read(limits.FILE_BYTES + 1)
            size = file.seek(0, SEEK_END) if len(data) > limits.FILE_BYTES else 0
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise SpecError(diagnose("E0701", Span(empty, 0, 0), path=name, reason=reason)) from None
    if size:
        raise SpecError(too_large(empty, size))
    return source_of(data, name, empty.module)


def source_of(data: bytes, name: str, module: str = "") -> Source:
    """The text of a `.vit` file that has been read. Line breaks are unified, and a BOM is dropped.

    Raises:
        SpecError: E0701, it is not UTF-8.
    """
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        reason = f"byte {data[error.start]:#04x} in line {line} is not UTF-8"
        span = Span(Source(name, "", module), 0, 0)
        raise SpecError(diagnose("E0701", span, path=name, reason=reason)) from None
    return Source(name, text.replace("\r\n", "\n"), module)


def with_line_ends_of(before: bytes, text: str) -> bytes:
    """What to write in place of `before`: UTF-8, with CRLF line ends if its first line has them."""
    if before.partition(b"\n")[0].endswith(b"\r"):
        text = text.replace("\n", "\r\n")
    return text.encode()


def too_large(source: Source, size: int) -> Diagnostic:
    """What to say about a text of `size` bytes."""
    # Rounded up, so that a file one byte too large does not seem to have the size of the limit.
    value, limit = f"{ceil(size / 102.4) / 10:,} KiB", f"{limits.FILE_BYTES // 1024} KiB"
    return diagnose("E0702", Span(source, 0, 0), path=source.name, value=value, limit=limit)
