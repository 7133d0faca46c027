"""Puts a generated module on the disk, never over something that a person wrote."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from pathlib import Path

from linvit_codegen.generate import Generated
from linvit_codegen.header import is_untouched
from linvit_codegen.source_map import is_source_map


class OverwriteRefused(Exception):
    """The file holds something that linvit did not generate, or that was edited since."""


def map_path(path: Path) -> Path:
    """Where the source map of a generated file lies: `ripple.map.json` beside `ripple.py`."""
    return path.with_suffix(".map.json")


def write(generated: Generated, path: Path, force: bool = False) -> None:
    """Write `path` and its source map beside it; each appears complete or not at all.

    A standalone module has no map.

    Args:
        generated: What to write.
        path: A file ending in `.py`; its folder must exist.
        force: Replace files even if they are not linvit's own.

    Raises:
        OverwriteRefused: `force` is not set, and `path` is a file that linvit did not generate or
            that was edited since, or what stands in the place of its map is no map.
        ValueError: `path` does not end in `.py`.
        OSError: The file system refused.
    """
    path = Path(path)
    if path.suffix != ".py":
        raise ValueError(f"{path} does not end in .py")
    if not force:
        _expect_own(path, is_untouched, "an unedited file")
        if not generated.standalone:
            _expect_own(map_path(path), is_source_map, "a source map")
    # The map first: a module without its map says less in an error, a map without module nothing.
    if not generated.standalone:
        _replace(map_path(path), generated.map_text)
    _replace(path, generated.text)


def _expect_own(path: Path, is_own: Callable[[str], bool], what: str) -> None:
    # Bytes that are no UTF-8 become marks that no generated file has.
    if path.exists() and not is_own(path.read_bytes().decode(errors="replace")):
        raise OverwriteRefused(f"{path} is not {what} of linvit's; choose another name or force it")


def _replace(path: Path, text: str) -> None:
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    temporary = Path(name)
    try:
        with os.fdopen(handle, "w", encoding="utf-8", newline="\n") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        temporary.chmod(0o644)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
