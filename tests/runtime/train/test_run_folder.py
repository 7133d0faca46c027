"""What a run folder records, and which runs it accepts."""

import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from linvit_runtime.train import Diverged, SetupProblem, StorageProblem, run_directory, train
from linvit_runtime.train.run_folder import open_run_folder, read_config
from tests.runtime.train.small import STEPS, SmallNet, printed, recipe, small_run


def test_the_folder_is_a_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_TEST_SETTING", "7")
    monkeypatch.setenv("SECRET_TOKEN", "hunter2")
    run = small_run(tmp_path)
    result = train(run)
    assert {p.name for p in tmp_path.iterdir()} == {
        ".lock",
        "checkpoints",
        "config.json",
        "manifest.json",
        "metrics.jsonl",
        "model.py",
        "spec.vit",
    }
    assert (tmp_path / "spec.vit").read_text() == "model SmallNet"
    text = (tmp_path / "manifest.json").read_text()
    manifest = json.loads(text)
    assert manifest["recipe"]["optimizer"]["lr"] == 0.01
    assert manifest["data"] == {"id": run.data.id, "sha256": run.data.sha256}
    assert (manifest["seed"], manifest["restarts"]) == (3, 0)
    (attempt,) = manifest["attempts"]
    assert (attempt["exit"], attempt["step"]) == ("finished", STEPS)
    assert attempt["started"] <= attempt["ended"]
    assert attempt["environment"]["OMP_TEST_SETTING"] == "7"
    assert "hunter2" not in text
    assert attempt["packages"]["torch"].startswith("2.")
    assert result.best is not None
    assert attempt["best"] == {"step": result.best_step, "top1": result.best.top1}


def test_the_name_follows_the_content(tmp_path: Path) -> None:
    run = small_run(tmp_path)
    assert run.id == small_run(tmp_path / "elsewhere").id
    others = [
        replace(run, recipe=recipe(seed=4)),
        replace(run, name="Other"),
        replace(run, files={"spec.vit": "other"}),
        replace(run, model_sha256="another variant"),
        replace(run, data=replace(run.data, id="other")),
    ]
    assert len({run.id, *(other.id for other in others)}) == 6
    name = run_directory(tmp_path, "ripplevit", run.id, "digits").name
    assert name == f"ripplevit-digits-{run.id[:8]}"


def test_a_folder_of_another_run_is_refused_with_both_values(tmp_path: Path) -> None:
    train(small_run(tmp_path, stop_after=2))
    with pytest.raises(SetupProblem) as caught:
        train(small_run(tmp_path, recipe=recipe(seed=4, optimizer={"lr": 0.02, "clip": 1.0})))
    assert "`recipe.optimizer.lr` is 0.01 there and 0.02 here" in caught.value.message
    assert "`recipe.seed` is 3 there and 4 here" in caught.value.message
    assert caught.value.exit_code == 2


def test_resume_may_be_demanded_or_forbidden(tmp_path: Path) -> None:
    with open_run_folder(small_run(tmp_path)):
        pass
    with pytest.raises(SetupProblem, match="no checkpoint to resume from"):
        train(small_run(tmp_path, resume="must"))
    train(small_run(tmp_path, resume="never", stop_after=2))
    with pytest.raises(SetupProblem, match="already holds step-00000002"):
        train(small_run(tmp_path, resume="never"))
    assert train(small_run(tmp_path, resume="must")).resumed_from == 2


def test_a_folder_to_resume_from_is_not_made(tmp_path: Path) -> None:
    """A mistyped name must stay one, not become a run folder without a checkpoint."""
    with pytest.raises(SetupProblem, match="typo is no run folder") as caught:
        train(small_run(tmp_path / "typo", resume="must"))
    assert caught.value.exit_code == 2
    assert not list(tmp_path.iterdir())
    with pytest.raises(SetupProblem, match="no run folder"):
        train(small_run(tmp_path, resume="must"))
    assert not list(tmp_path.iterdir()), "nor is one that exists already"


def test_every_attempt_is_listed_with_its_end(tmp_path: Path) -> None:
    train(small_run(tmp_path, stop_after=2))
    with pytest.raises(RuntimeError, match="broken"), open_run_folder(small_run(tmp_path)):
        raise RuntimeError("broken")
    with pytest.raises(Diverged), open_run_folder(small_run(tmp_path)):
        raise Diverged("loss nan")
    train(small_run(tmp_path))
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    exits = [attempt["exit"] for attempt in manifest["attempts"]]
    assert exits == ["cut at step 2", "failed: RuntimeError", "diverged: loss nan", "finished"]
    assert manifest["restarts"] == 3


def test_a_killed_attempt_has_no_end(tmp_path: Path) -> None:
    with open_run_folder(small_run(tmp_path)):
        manifest = json.loads((tmp_path / "manifest.json").read_text())
    assert manifest["attempts"][0]["ended"] is None


@pytest.mark.parametrize("file", ["config.json", "manifest.json"])
def test_a_damaged_record_is_named(tmp_path: Path, file: str) -> None:
    train(small_run(tmp_path, stop_after=1))
    (tmp_path / file).write_text("{")
    with pytest.raises(SetupProblem, match=f"{file} is damaged"):
        train(small_run(tmp_path))


def test_something_else_is_no_run_folder(tmp_path: Path) -> None:
    with pytest.raises(SetupProblem, match="no run folder"):
        read_config(tmp_path)


def test_a_folder_that_cannot_be_made_is_a_storage_problem(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageProblem, match=f"cannot write {tmp_path}/file"):
        train(small_run(tmp_path / "file" / "run"))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"image_shape": (3, 32, 32)},
            "SmallNet takes images of 32x32 pixels, 3 channels; "
            "those of digits are 8x8 pixels, 1 channel",
        ),
        ({"classes": 100}, "tells 100 classes apart; digits has 10"),
        (
            {"recipe": recipe(data={"name": "cifar10", "batch": 8})},
            "recipe is for `cifar10`, the data is digits",
        ),
        ({"device": "cuda"}, "torch sees no CUDA device"),
    ],
)
def test_model_recipe_and_data_must_fit(
    tmp_path: Path, settings: dict[str, Any], message: str
) -> None:
    if settings.get("device") == "cuda" and torch.cuda.is_available():
        pytest.skip("this machine has CUDA")
    with pytest.raises(SetupProblem, match=message):
        train(small_run(tmp_path, **settings))
    assert not list(tmp_path.iterdir()), "nothing was begun"


def test_progress_is_one_plain_line_per_epoch(tmp_path: Path) -> None:
    run = small_run(tmp_path)
    train(run)
    lines = printed(run).splitlines()
    assert [line.split()[1] for line in lines] == ["1/4", "2/4", "3/4", "4/4"]
    assert all("images/s" in line and "loss" in line for line in lines)
    assert ["test top-1" in line for line in lines] == [False, True, False, True]
    again = small_run(tmp_path)
    train(again)
    assert printed(again).startswith(f"resuming after step {STEPS}")


def test_a_terminal_gets_a_bar(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.delenv("NO_COLOR", raising=False)
    run = replace(small_run(tmp_path), output=Terminal())
    train(run)
    text = printed(run)
    assert f"{STEPS}/{STEPS}" in text
    assert "\x1b[" in text
    assert "epoch 4/4" in text


def test_the_model_is_built_from_the_seed(tmp_path: Path) -> None:
    drawn: list[Tensor] = []

    def build() -> SmallNet:
        model = SmallNet()
        drawn.append(model.hidden.weight.detach().clone())
        return model

    for directory, seed in [("a", 3), ("b", 3), ("c", 4)]:
        torch.rand(1)  # whatever was drawn before must not matter
        train(small_run(tmp_path / directory, build, recipe=recipe(seed=seed), stop_after=1))
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])


class Attending(SmallNet):
    """Linear attention over eight tokens, then a `SmallNet`."""

    def forward(self, images: Tensor) -> Tensor:
        from linvit_runtime.kernels import linear_attention

        rows = self.hidden(images.flatten(1)).view(-1, 2, 2, 4)  # [B, N, H, D]
        return self.head(linear_attention(rows, rows, rows).flatten(1))


def kernels_of(directory: Path) -> list[dict[str, list[str]]]:
    attempts = json.loads((directory / "manifest.json").read_text())["attempts"]
    return [attempt["kernels"] for attempt in attempts]


def test_the_kernels_that_ran_are_recorded(tmp_path: Path) -> None:
    train(small_run(tmp_path / "a", Attending, stop_after=1))
    train(small_run(tmp_path / "a", Attending, stop_after=2))
    ran = {"forward": ["numba-cpu"], "backward": ["numba-cpu"], "torch_because": []}
    assert kernels_of(tmp_path / "a") == [ran, ran]
    # Nothing of another run in the same process.
    train(small_run(tmp_path / "b", stop_after=1))
    assert kernels_of(tmp_path / "b") == [{"forward": [], "backward": [], "torch_because": []}]


def test_falling_back_to_torch_is_recorded_with_the_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from linvit_runtime.kernels import dispatch

    monkeypatch.setattr(dispatch, "_reasons", {})
    monkeypatch.setattr(dispatch, "_numba_problem", lambda _: "there is no compiler")
    dispatch._warn_of_fallback.cache_clear()
    with pytest.warns(RuntimeWarning, match="there is no compiler"):
        train(small_run(tmp_path, Attending, stop_after=1))
    because = ["on a CPU: there is no compiler"]
    assert kernels_of(tmp_path) == [
        {"forward": ["torch"], "backward": ["torch"], "torch_because": because}
    ]


def test_a_run_that_is_killed_has_recorded_what_ran(tmp_path: Path) -> None:
    seen: list[dict[str, list[str]]] = []

    class Looking(Attending):
        def forward(self, images: Tensor) -> Tensor:
            seen.extend(kernels_of(tmp_path))
            return super().forward(images)

    train(small_run(tmp_path, Looking, stop_after=2))
    assert seen[0] == {"forward": [], "backward": [], "torch_because": []}
    assert seen[1]["forward"] == seen[1]["backward"] == ["numba-cpu"]


def test_a_run_that_fails_has_recorded_what_ran(tmp_path: Path) -> None:
    class Failing(Attending):
        def forward(self, images: Tensor) -> Tensor:
            return super().forward(images) * float("nan")

    with pytest.raises(Diverged):
        train(small_run(tmp_path, Failing))
    assert kernels_of(tmp_path)[0]["forward"] == ["numba-cpu"]
