"""Checkpoints under damage, crashes and full disks."""

import errno
import hashlib
import json
import os
import pickle  # noqa: TID251 - what the attacks are made of
import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from torch import Tensor

from linvit_runtime import durable
from linvit_runtime.train import CheckpointProblem, StorageProblem
from linvit_runtime.train import checkpoint as checkpoint_module
from linvit_runtime.train.checkpoint import Checkpoint, CheckpointStore

FILES = ("model.safetensors", "optim.safetensors", "state.json", "MANIFEST.json")


def tensors(step: int) -> dict[str, dict[str, Tensor]]:
    """Two parts whose values tell the step."""
    weight = torch.arange(40, dtype=torch.float32).view(8, 5) + step
    return {"model": {"w": weight, "n": torch.tensor(step)}, "optim": {"w.exp_avg": weight / 3}}


@pytest.fixture
def warnings() -> list[str]:
    return []


@pytest.fixture
def store(tmp_path: Path, warnings: list[str]) -> CheckpointStore:
    """A store with checkpoints of steps 10 and 20."""
    made = CheckpointStore(tmp_path / "checkpoints", warnings.append)
    for step in (10, 20):
        made.save(step, tensors(step), {"step": step, "note": "x" * 50})
    return made


def check_content(checkpoint: Checkpoint | None, step: int) -> None:
    """The checkpoint is that of `step`, to the bit."""
    assert checkpoint is not None
    assert checkpoint.step == checkpoint.state["step"] == step
    for part, named in tensors(step).items():
        for name, tensor in named.items():
            assert torch.equal(checkpoint.tensors[part][name], tensor)


def test_a_checkpoint_comes_back(store: CheckpointStore, warnings: list[str]) -> None:
    check_content(store.load_latest(), 20)
    check_content(store.load(10), 10)
    assert not warnings
    assert {path.name for path in store.path(20).iterdir()} == set(FILES)


def test_an_empty_store_has_nothing(tmp_path: Path) -> None:
    assert CheckpointStore(tmp_path / "none", pytest.fail).load_latest() is None


def test_the_last_two_and_the_best_are_kept(store: CheckpointStore) -> None:
    for step in (30, 40, 50):
        store.save(step, tensors(step), {"step": step}, best=20)
    assert store.steps() == [20, 40, 50]
    assert {path.name for path in store.directory.iterdir()} == {
        "step-00000020",
        "step-00000040",
        "step-00000050",
    }


def test_tensors_that_share_memory_are_saved(store: CheckpointStore) -> None:
    weight = torch.rand(3, 3)
    store.save(30, {"model": {"a": weight, "b": weight, "c": weight.T}}, {"step": 30})
    model = store.load(30).tensors["model"]
    assert torch.equal(model["a"], weight)
    assert torch.equal(model["b"], weight)
    assert torch.equal(model["c"], weight.T)


def corruptions(path: Path, draw: random.Random) -> Iterator[tuple[str, bytes]]:
    """Ways to damage the file at `path`, as (what, new content)."""
    content = path.read_bytes()
    for _ in range(12):
        flipped = bytearray(content)
        flipped[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
        yield "bit flip", bytes(flipped)
    for _ in range(4):
        yield "truncation", content[: draw.randrange(len(content))]
    for _ in range(4):
        start = draw.randrange(len(content) - 8)
        zeros = content[:start] + bytes(8) + content[start + 8 :]
        if zeros != content:
            yield "zeros", zeros
    yield "tail", content + b"\0"
    yield "empty", b""
    yield "page of zeros", bytes(4096)


@pytest.mark.parametrize("name", FILES)
def test_damage_is_found_named_and_stepped_back_from(
    store: CheckpointStore, warnings: list[str], name: str
) -> None:
    path = store.path(20) / name
    whole = path.read_bytes()
    count = 0
    for what, content in corruptions(path, random.Random(7)):
        path.write_bytes(content)
        warnings.clear()
        check_content(store.load_latest(), 10)
        (warning,) = warnings
        assert str(path) in warning, what
        assert "falling back to step-00000010" in warning
        with pytest.raises(CheckpointProblem, match=name):
            store.load(20)
        count += 1
    assert count >= 20
    path.write_bytes(whole)
    check_content(store.load_latest(), 20)


def test_without_the_manifest_safetensors_would_load_damage(store: CheckpointStore) -> None:
    """The control of the test above: the format itself notices nothing."""
    path = store.path(20) / "model.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    loaded = safetensors.torch.load(bytes(content))
    assert not torch.equal(loaded["w"], tensors(20)["model"]["w"])


@pytest.mark.parametrize("name", FILES)
def test_files_of_another_checkpoint_are_found(
    store: CheckpointStore, warnings: list[str], name: str
) -> None:
    shutil.copy(store.path(10) / name, store.path(20) / name)
    check_content(store.load_latest(), 10)
    assert warnings


def test_a_renamed_checkpoint_is_found(store: CheckpointStore, warnings: list[str]) -> None:
    shutil.copytree(store.path(10), store.path(30))
    check_content(store.load_latest(), 20)
    assert "MANIFEST.json was altered" in warnings[0]


@pytest.mark.parametrize("name", FILES)
def test_a_missing_file_is_found(store: CheckpointStore, warnings: list[str], name: str) -> None:
    (store.path(20) / name).unlink()
    check_content(store.load_latest(), 10)
    assert name in warnings[0]


def test_if_every_checkpoint_is_damaged_nothing_is_loaded(store: CheckpointStore) -> None:
    for step in (10, 20):
        (store.path(step) / "model.safetensors").write_bytes(b"")
    with pytest.raises(CheckpointProblem, match="every checkpoint") as caught:
        store.load_latest()
    assert caught.value.exit_code == 74
    assert str(store.path(10) / "model.safetensors") in caught.value.message


def forge(store: CheckpointStore, step: int, change: Callable[[dict[str, Any]], None]) -> None:
    """Rewrite a manifest with a right hash of its own, as an attacker could."""
    path = store.path(step) / "MANIFEST.json"
    manifest = json.loads(path.read_text())
    del manifest["sha256"]
    change(manifest)
    manifest["sha256"] = checkpoint_module._hash(manifest)
    path.write_bytes(checkpoint_module._json(manifest))


@pytest.mark.parametrize(
    "name", ["../../secret", "/etc/passwd", "x.pt", "model.safetensors/../../s", "", "a\0b"]
)
def test_a_forged_manifest_opens_no_other_file(
    store: CheckpointStore, warnings: list[str], name: str
) -> None:
    def change(manifest: dict[str, Any]) -> None:
        manifest["files"][name] = {"bytes": 0, "sha256": "00"}

    forge(store, 20, change)
    check_content(store.load_latest(), 10)
    assert "lists other files" in warnings[0]


@pytest.mark.parametrize(
    "files", [None, [], {"state.json": 3}, {"state.json": {"bytes": "x", "sha256": 1}}, {}]
)
def test_a_manifest_without_sense_is_damage(
    store: CheckpointStore, warnings: list[str], files: Any
) -> None:
    forge(store, 20, lambda manifest: manifest.update(files=files))
    check_content(store.load_latest(), 10)
    assert warnings


def test_deep_json_is_damage(store: CheckpointStore, warnings: list[str]) -> None:
    (store.path(20) / "MANIFEST.json").write_bytes(b"[" * 200_000)
    check_content(store.load_latest(), 10)
    assert warnings


def test_a_newer_format_is_not_damage(store: CheckpointStore) -> None:
    forge(store, 20, lambda manifest: manifest.update(format=2))
    with pytest.raises(CheckpointProblem, match="format 2; this linvit reads format 1"):
        store.load_latest()


def test_pickle_is_never_opened(
    store: CheckpointStore, warnings: list[str], tmp_path: Path
) -> None:
    class Payload:
        def __reduce__(self) -> Any:
            return (os.mkdir, (str(tmp_path / "canary"),))

    payload = pickle.dumps(Payload())
    (store.path(20) / "model.safetensors").write_bytes(payload)

    def change(manifest: dict[str, Any]) -> None:
        entry = {"bytes": len(payload), "sha256": hashlib.sha256(payload).hexdigest()}
        manifest["files"]["model.safetensors"] = entry

    forge(store, 20, change)
    check_content(store.load_latest(), 10)
    assert "not a safetensors file" in warnings[0]
    assert not (tmp_path / "canary").exists()
    pickle.loads(payload)
    assert (tmp_path / "canary").exists(), "the control: opened, it runs"


def test_damaged_checkpoints_are_set_aside(store: CheckpointStore) -> None:
    (store.path(20) / "state.json").write_bytes(b"")
    store.set_aside(after=10)
    assert store.steps() == [10]
    assert (store.directory / "damaged-step-00000020").is_dir()
    store.save(20, tensors(20), {"step": 20})
    check_content(store.load_latest(), 20)


class PowerCut(BaseException):
    """The machine stops: nothing after it runs, not even `except OSError`."""


class Failing:
    """Lets `number` operations on files through; the next one and all later ones fail.

    A failing write leaves the first half of its content, as a real one may.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch, number: int, error: BaseException) -> None:
        self.left, self.error, self.failed = number, error, False
        write = durable.write_file
        for module, name in [(os, "mkdir"), (os, "rename"), (checkpoint_module, "sync_directory")]:
            monkeypatch.setattr(module, name, self.wrap(getattr(module, name)))
        monkeypatch.setattr(checkpoint_module, "write_file", self.wrap(write, self.torn))

    def wrap(
        self, operation: Callable[..., Any], before_failure: Callable[..., None] = lambda *_: None
    ) -> Callable[..., Any]:
        def counted(*arguments: Any, **keywords: Any) -> Any:
            if self.left == 0:
                self.failed = True
                before_failure(*arguments)
                raise self.error
            self.left -= 1
            return operation(*arguments, **keywords)

        return counted

    @staticmethod
    def torn(path: Path, content: bytes) -> None:
        path.write_bytes(content[: len(content) // 2])


MOST_OPERATIONS = 40


def save_problem(store: CheckpointStore, step: int) -> StorageProblem | None:
    """Save; give what went wrong."""
    try:
        store.save(step, tensors(step), {"step": step})
    except StorageProblem as problem:
        return problem
    return None


def test_a_crash_at_any_operation_loses_no_acknowledged_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    completed = 0
    for number in range(MOST_OPERATIONS):
        directory = tmp_path / str(number)
        store = CheckpointStore(directory, pytest.fail)
        for step in (10, 20):
            store.save(step, tensors(step), {"step": step})
        acknowledged = 20
        with monkeypatch.context() as patch:
            failing = Failing(patch, number, PowerCut())
            try:
                store.save(30, tensors(30), {"step": 30}, best=10)
                acknowledged = 30
            except PowerCut:
                pass
        completed += not failing.failed
        after = CheckpointStore(directory, pytest.fail)
        loaded = after.load_latest()
        assert loaded is not None
        assert loaded.step >= acknowledged
        check_content(loaded, loaded.step)
        after.sweep()
        assert not [path for path in directory.iterdir() if path.name.startswith(".")]
        after.save(40, tensors(40), {"step": 40})
        check_content(after.load_latest(), 40)
    assert 0 < completed < MOST_OPERATIONS - 5, "the crashes covered the whole save"


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS, errno.EACCES])
def test_a_failure_at_any_operation_leaves_the_previous_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    failures = 0
    for number in range(MOST_OPERATIONS):
        directory = tmp_path / str(number)
        store = CheckpointStore(directory, pytest.fail)
        store.save(10, tensors(10), {"step": 10})
        before = {path.name: path.read_bytes() for path in store.path(10).iterdir()}
        with monkeypatch.context() as patch:
            failing = Failing(patch, number, OSError(code, os.strerror(code)))
            problem = save_problem(store, 20)
        assert (problem is not None) == failing.failed
        if problem is not None:
            failures += 1
            assert problem.exit_code == 74
            for part in (os.strerror(code), "it needs", "bytes", str(store.path(20))):
                assert part in problem.message
        assert {path.name: path.read_bytes() for path in store.path(10).iterdir()} == before
        assert not [path for path in directory.iterdir() if path.name.startswith(".tmp")]
    assert failures > 5


def test_a_full_disk_is_tried_again_after_making_room(
    store: CheckpointStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = durable.write_file

    def full(path: Path, content: bytes) -> str:
        if len(store.steps()) > 1:
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(path, content)

    monkeypatch.setattr(checkpoint_module, "write_file", full)
    store.save(30, tensors(30), {"step": 30}, best=None)
    assert store.steps() == [20, 30]


def test_old_checkpoints_that_cannot_be_removed_are_only_warned_about(
    store: CheckpointStore, warnings: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_path: Path, **_options: object) -> None:
        raise OSError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(shutil, "rmtree", fail)
    monkeypatch.setattr(CheckpointStore, "_write", lambda *_: None)
    store.save(30, tensors(30), {"step": 30})
    assert not warnings, "there was nothing to remove yet"
    store.save(15, tensors(15), {"step": 15})
    assert "cannot remove old checkpoints" in warnings[0]


def test_leftovers_under_the_same_process_id_are_overwritten(store: CheckpointStore) -> None:
    (store.directory / f".tmp-30-{os.getpid()}" / "deep").mkdir(parents=True)
    (store.directory / f".trash-step-00000010-{os.getpid()}" / "deep").mkdir(parents=True)
    store.save(30, tensors(30), {"step": 30})
    check_content(store.load_latest(), 30)
    assert store.steps() == [20, 30]


def test_replacing_a_file_is_all_or_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "config.json"
    durable.replace_file(path, b"old")

    def fail(_descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fail)
        with pytest.raises(OSError, match="No space"):
            durable.replace_file(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]
    durable.replace_file(path, b"new")
    assert path.read_bytes() == b"new"
