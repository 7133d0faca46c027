"""The run folder: what was run, on what, how it ended. One process writes it at a time."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import sys
from collections.abc import Generator, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from linvit_runtime.durable import exclusive, replace_file
from linvit_runtime.errors import RunProblem
from linvit_runtime.kernels.dispatch import recording, torch_reasons
from linvit_runtime.train.problems import Diverged, SetupProblem, Stopped, StorageProblem, storing
from linvit_runtime.train.run import Result, Run

FORMAT = 1
CONFIG = "config.json"
MANIFEST = "manifest.json"
LOCK = ".lock"
METRICS = "metrics.jsonl"
CHECKPOINTS = "checkpoints"

_PACKAGES = ("linvit", "torch", "numpy", "numba", "numba-cuda", "safetensors", "pydantic")
# Settings that change speed or rounding. Never the whole environment: it holds secrets.
_VARIABLES = ("OMP_", "MKL_", "CUDA_", "TORCH_", "PYTORCH_", "NUMBA_")


class RunFolder:
    """The manifest of a run folder that this process holds.

    Attributes:
        directory: the folder.
        manifest: the content of `manifest.json`; its last attempt is this process.
    """

    def __init__(self, run: Run, used: Mapping[Any, Iterable[str]]) -> None:
        self.directory = run.directory
        self._used = used  # what `recording` gave
        path = run.directory / MANIFEST
        previous = _read_object(path) if path.exists() else {}
        self.manifest: dict[str, Any] = {
            "format": FORMAT,
            "run": run.id,
            **run.config,
            "seed": run.recipe.seed,
            "files": {n: hashlib.sha256(t.encode()).hexdigest() for n, t in run.files.items()},
            "attempts": [*previous.get("attempts", []), _attempt(run)],
        }

    @property
    def attempt(self) -> dict[str, Any]:
        """The facts about this process."""
        return self.manifest["attempts"][-1]

    def end(self, result: Result) -> None:
        """Note what the attempt reached."""
        self.attempt["exit"] = "finished" if result.finished else f"cut at step {result.step}"
        self.attempt["step"] = result.step
        if result.last and result.best:
            self.attempt["top1"] = result.last.top1
            self.attempt["best"] = {"step": result.best_step, "top1": result.best.top1}

    def note_kernels(self) -> None:
        """Note which kernels have run, on the disk if there are new ones: a run may be killed."""
        kernels = kernels_record(self._used)
        if self.attempt["kernels"] != kernels:
            self.attempt["kernels"] = kernels
            self.write()

    def write(self) -> None:
        """Put the manifest on the disk."""
        self.manifest["restarts"] = len(self.manifest["attempts"]) - 1
        _write_object(self.directory / MANIFEST, self.manifest)


@contextmanager
def open_run_folder(run: Run) -> Generator[RunFolder, None, None]:
    """Hold the run folder: locked, checked against `run`, its record begun and finally sealed.

    Raises:
        SetupProblem: Another process trains there, it belongs to a run of another config, or it is
            to be resumed and is no run folder; it is then not made one either.
        StorageProblem: The folder cannot be written.
    """
    directory = run.directory
    if run.resume == "must":
        read_config(directory)
    with ExitStack() as stack:
        with storing(directory):
            directory.mkdir(parents=True, exist_ok=True)
            try:
                stack.enter_context(exclusive(directory / LOCK, wait=False))
            except BlockingIOError as error:
                raise SetupProblem(
                    f"another process is training in {directory}",
                    "wait for it, or choose another --run",
                ) from error
        _claim(run)
        folder = RunFolder(run, stack.enter_context(recording()))
        folder.write()
        try:
            yield folder
        except BaseException as error:
            folder.attempt["exit"] = _reason(error)
            with suppress(StorageProblem):  # if the disk is what ended the run, that is known
                _seal(folder)
            raise
        _seal(folder)


def read_config(directory: Path) -> dict[str, Any]:
    """The config of the run in `directory`: model, its hash, recipe, data.

    Raises:
        SetupProblem: It is no run folder.
    """
    path = directory / CONFIG
    if not path.is_file():
        raise SetupProblem(
            f"{directory} is no run folder: it has no {CONFIG}",
            "give the folder that `linvit train` printed",
        )
    return _read_object(path)


def _claim(run: Run) -> None:
    """Record config and files, or check that the folder already records the same config."""
    path = run.directory / CONFIG
    with storing(run.directory):
        if path.exists():
            differences = list(_differences(_read_object(path), run.config))
            if differences:
                raise SetupProblem(
                    f"{run.directory} belongs to another run: {'; '.join(differences)}",
                    "choose another --run, or leave it out to have the folder named by its content",
                )
        else:
            _write_object(path, run.config)
        for name, text in run.files.items():
            replace_file(run.directory / name, text.encode())


def _differences(
    there: Mapping[str, Any], here: Mapping[str, Any], prefix: str = ""
) -> Iterator[str]:
    for name in sorted({*there, *here}):
        old, new = there.get(name), here.get(name)
        if isinstance(old, dict) and isinstance(new, dict):
            yield from _differences(old, new, f"{prefix}{name}.")
        elif old != new:
            yield f"`{prefix}{name}` is {json.dumps(old)} there and {json.dumps(new)} here"


def _attempt(run: Run) -> dict[str, Any]:
    cuda = torch.cuda.is_available()
    return {
        "started": _now(),
        "ended": None,
        "exit": None,
        "kernels": kernels_record({"forward": (), "backward": ()}),
        "argv": sys.argv,
        "python": platform.python_version(),
        "packages": {name: _version(name) for name in _PACKAGES},
        "machine": {
            "system": platform.platform(),
            "processor": platform.machine(),
            "cpus": os.cpu_count(),
            "torch_threads": torch.get_num_threads(),
            "device": run.device,
            "gpu": torch.cuda.get_device_name() if cuda else None,
            "cuda": torch.version.cuda,
        },
        "environment": {k: v for k, v in sorted(os.environ.items()) if k.startswith(_VARIABLES)},
    }


def _seal(folder: RunFolder) -> None:
    folder.attempt["ended"] = _now()
    folder.note_kernels()
    folder.write()


def kernels_record(used: Mapping[Any, Iterable[str]]) -> dict[str, list[str]]:
    """Which implementations of linear attention ran, for a record.

    Args:
        used: What `recording` gave: names by direction.

    Returns:
        Their names for `forward` and `backward`, in the order of their first use, none where the
        model has no linear attention; and `torch_because`, why `torch` is among them.
    """
    names = {str(direction): list(some) for direction, some in used.items()}
    fell_back = any("torch" in some for some in names.values())
    return {**names, "torch_because": list(torch_reasons()) if fell_back else []}


def _reason(error: BaseException) -> str:
    if isinstance(error, Stopped):
        return f"stopped by {error.signal.name} after step {error.step}"
    if isinstance(error, Diverged):
        return f"diverged: {error.message}"
    if isinstance(error, RunProblem):
        return error.message
    return f"failed: {type(error).__name__}"


def _read_object(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_bytes())
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise SetupProblem(f"{path} is damaged", "restore it, or choose another --run")
    return value


def _write_object(path: Path, value: Mapping[str, Any]) -> None:
    with storing(path):
        replace_file(path, json.dumps(value, indent=2).encode() + b"\n")


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
