"""Checkpoints: whole or absent, and never trusted without their hashes.

A checkpoint is a folder `step-00001200` of safetensors files and a `state.json`, closed by a
`MANIFEST.json` with the size and SHA-256 of each. It is written under a temporary name, forced to
the disk and renamed, so a crash at any moment leaves the previous ones as they were. safetensors
has no checksum of its own: of random corruptions it loads two thirds without a word.

Nothing here is ever unpickled.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
from safetensors import SafetensorError
from torch import Tensor

from linvit_runtime.durable import sync_directory, write_file
from linvit_runtime.train.problems import CheckpointProblem, StorageProblem

FORMAT = 1
STATE = "state.json"
MANIFEST = "MANIFEST.json"
MAX_JSON_BYTES = 1 << 20
KEEP = 2

_NAME = re.compile(r"step-([0-9]{8})")
_TENSORS = re.compile(r"[a-z]+\.safetensors")
_FULL = (errno.ENOSPC, errno.EDQUOT)

Tensors = Mapping[str, Tensor]


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A checkpoint that was read and verified.

    Attributes:
        step: optimizer steps taken.
        path: its folder.
        tensors: by part (`model`, `optim`, `ema`), then by name; on the CPU.
        state: the content of `state.json`.
    """

    step: int
    path: Path
    tensors: Mapping[str, Tensors]
    state: Mapping[str, Any]


class _Damaged(Exception):
    """Why a checkpoint cannot be trusted."""


class CheckpointStore:
    """The checkpoints of one run.

    Writing needs the run folder's lock; reading does not.

    Args:
        directory: the folder that holds them; created by the first save.
        warn: takes a sentence about a damaged checkpoint that is passed over, or an old one that
            cannot be removed.
    """

    def __init__(self, directory: Path, warn: Callable[[str], None]) -> None:
        self.directory = directory
        self._warn = warn

    def steps(self) -> list[int]:
        """The steps with a checkpoint, damaged or not, in ascending order."""
        if not self.directory.is_dir():
            return []
        matches = (_NAME.fullmatch(path.name) for path in self.directory.iterdir())
        return sorted(int(match[1]) for match in matches if match)

    def path(self, step: int) -> Path:
        """The folder of the checkpoint of `step`."""
        return self.directory / f"step-{step:08d}"

    def sweep(self) -> None:
        """Remove what a crash left behind: unfinished checkpoints and half-done removals."""
        if self.directory.is_dir():
            for path in self.directory.iterdir():
                if path.name.startswith((".tmp-", ".trash-")):
                    shutil.rmtree(path)

    def save(
        self,
        step: int,
        tensors: Mapping[str, Tensors],
        state: Mapping[str, Any],
        best: int | None = None,
    ) -> Path:
        """Write the checkpoint of `step`, then remove all but the last two and that of `best`.

        When this returns, the checkpoint is on the disk. A full disk is tried once more after
        removing all but the newest and the best one.

        Args:
            step: optimizer steps taken.
            tensors: by part, then by name.
            state: what goes to `state.json`.
            best: step of the best evaluation so far.

        Returns:
            The folder of the checkpoint.

        Raises:
            StorageProblem: It could not be written; earlier checkpoints are untouched.
        """
        contents = _contents(tensors, state)
        try:
            try:
                self._write(step, contents)
            except OSError as error:
                if error.errno not in _FULL or not self.steps():
                    raise
                self._prune({self.steps()[-1], best})
                self._write(step, contents)
        except OSError as error:
            raise _not_saved(self.path(step), contents, error) from error
        try:
            # Steps after this one belong to a past that the run has gone back behind.
            self._prune({*[s for s in self.steps() if s <= step][-KEEP:], best})
        except OSError as error:
            self._warn(f"cannot remove old checkpoints from {self.directory}: {error.strerror}")
        return self.path(step)

    def load_latest(self) -> Checkpoint | None:
        """The newest checkpoint that is whole, or None if there is none at all.

        A damaged one is named in a warning and passed over.

        Raises:
            CheckpointProblem: There are checkpoints, and every one is damaged. Starting again from
                nothing would hide the loss.
        """
        damaged: list[str] = []
        for step in reversed(self.steps()):
            try:
                checkpoint = self._read(step)
            except _Damaged as reason:
                damaged.append(str(reason))
                continue
            for reason in damaged:
                self._warn(f"{reason}; falling back to {checkpoint.path.name}")
            return checkpoint
        if damaged:
            raise CheckpointProblem(
                f"every checkpoint in {self.directory} is damaged: {'; '.join(damaged)}",
                "restore one from a copy, or start over in another run folder",
            )
        return None

    def load(self, step: int) -> Checkpoint:
        """The checkpoint of `step`.

        Raises:
            CheckpointProblem: It does not exist or is damaged.
        """
        if step not in self.steps():
            raise CheckpointProblem(f"{self.directory} has no checkpoint of step {step}")
        try:
            return self._read(step)
        except _Damaged as reason:
            raise CheckpointProblem(str(reason)) from reason

    def set_aside(self, after: int) -> None:
        """Rename the checkpoints of steps beyond `after` to `damaged-...`, to be looked at."""
        for step in self.steps():
            if step > after:
                target = self.directory / f"damaged-{self.path(step).name}"
                if target.exists():
                    shutil.rmtree(target)
                self.path(step).rename(target)

    def _write(self, step: int, contents: Mapping[str, bytes]) -> None:
        self.directory.mkdir(parents=True, exist_ok=True)
        temporary = self.directory / f".tmp-{step}-{os.getpid()}"
        shutil.rmtree(temporary, ignore_errors=True)  # process ids come round again
        try:
            temporary.mkdir()
            files = {
                name: {"bytes": len(content), "sha256": write_file(temporary / name, content)}
                for name, content in contents.items()
            }
            manifest: dict[str, Any] = {"format": FORMAT, "step": step, "files": files}
            manifest["sha256"] = _hash(manifest)
            write_file(temporary / MANIFEST, _json(manifest))
            sync_directory(temporary)
            if self.path(step).exists():
                self._discard(self.path(step))
            temporary.rename(self.path(step))
            sync_directory(self.directory)
        except OSError:
            shutil.rmtree(temporary, ignore_errors=True)
            raise

    def _read(self, step: int) -> Checkpoint:
        path = self.path(step)
        files = _read_manifest(path, step)
        contents = {name: _read_file(path / name, *expected) for name, expected in files.items()}
        tensors: dict[str, Tensors] = {}
        for name, content in contents.items():
            if name != STATE:
                try:
                    tensors[name.removesuffix(".safetensors")] = safetensors.torch.load(content)
                except SafetensorError as error:
                    raise _Damaged(f"{path / name} is not a safetensors file: {error}") from error
        return Checkpoint(step, path, tensors, _parse(path / STATE, contents[STATE]))

    def _prune(self, keep: set[int | None]) -> None:
        for step in self.steps():
            if step not in keep:
                self._discard(self.path(step))

    def _discard(self, path: Path) -> None:
        """Remove a checkpoint; a crash half-way leaves no folder that looks like one."""
        trash = path.with_name(f".trash-{path.name}-{os.getpid()}")
        shutil.rmtree(trash, ignore_errors=True)
        path.rename(trash)
        shutil.rmtree(trash)


def _contents(tensors: Mapping[str, Tensors], state: Mapping[str, Any]) -> dict[str, bytes]:
    contents = {STATE: _json(state)}
    for part, named in tensors.items():
        # A clone each: safetensors refuses tensors that share memory, and tied weights do.
        copies = {
            name: tensor.detach().cpu().clone().contiguous() for name, tensor in named.items()
        }
        contents[f"{part}.safetensors"] = safetensors.torch.save(copies)
    return contents


def _read_manifest(path: Path, step: int) -> dict[str, tuple[int, str]]:
    """Size and SHA-256 of each file of a checkpoint, once the manifest has proved whole."""
    manifest = _parse(path / MANIFEST, _read_bytes(path / MANIFEST, MAX_JSON_BYTES))
    if manifest.pop("sha256", None) != _hash(manifest) or manifest.get("step") != step:
        raise _Damaged(f"{path / MANIFEST} was altered")
    if manifest.get("format") != FORMAT:
        raise CheckpointProblem(
            f"{path} has format {manifest.get('format')!r}; this linvit reads format {FORMAT}",
            "use the version of linvit that wrote it",
        )
    try:
        files = {name: (int(e["bytes"]), str(e["sha256"])) for name, e in manifest["files"].items()}
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise _Damaged(f"{path / MANIFEST} lists no files") from error
    # A name decides which file is opened: nothing but the names of a checkpoint's files will do.
    if STATE not in files or not all(name == STATE or _TENSORS.fullmatch(name) for name in files):
        raise _Damaged(f"{path / MANIFEST} lists other files than a checkpoint has")
    return files


def _read_file(path: Path, size: int, sha256: str) -> bytes:
    content = _read_bytes(path, size)
    if len(content) != size:
        found = f"{len(content):,}" if len(content) < size else "more"
        raise _Damaged(f"{path} has {found} bytes, not {size:,}")
    if hashlib.sha256(content).hexdigest() != sha256:
        raise _Damaged(f"{path} has another SHA-256 than its manifest says")
    return content


def _read_bytes(path: Path, limit: int) -> bytes:
    """Up to `limit` + 1 bytes of `path`: enough to see that it is too long."""
    try:
        with path.open("rb") as stream:
            return stream.read(limit + 1)
    except OSError as error:
        raise _Damaged(f"{path} cannot be read: {error.strerror}") from error


def _parse(path: Path, content: bytes) -> dict[str, Any]:
    try:
        value = json.loads(content) if len(content) <= MAX_JSON_BYTES else None
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise _Damaged(f"{path} is not a JSON object")
    return value


def _json(value: Mapping[str, Any]) -> bytes:
    return json.dumps(value, indent=1, sort_keys=True, allow_nan=False).encode()


def _hash(manifest: Mapping[str, Any]) -> str:
    return hashlib.sha256(_json(manifest)).hexdigest()


def _not_saved(path: Path, contents: Mapping[str, bytes], error: OSError) -> StorageProblem:
    needed = sum(map(len, contents.values()))
    try:
        room = f"; {shutil.disk_usage(path.parent).free:,} are free"
    except OSError:
        room = ""
    return StorageProblem(
        f"cannot save {path}: {error.strerror or error}; it needs {needed:,} bytes{room}",
        "earlier checkpoints are untouched: make room and resume",
    )
