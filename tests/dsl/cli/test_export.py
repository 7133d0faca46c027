"""`linvit export` and what it hands to `linvit eval`, from words to files and exit codes."""

import json
import sys
from pathlib import Path

import pytest
import torch

import linvit_dsl
from linvit_dsl.cli import main

SMALL = ("--set", "depth=1", "d=16", "heads=2")
SPEC = "ripplevit:RippleViTDigits"


@pytest.fixture(autouse=True)
def _in_an_empty_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a short training run."""
    folder = tmp_path_factory.mktemp("runs") / "small"
    recipe = ("schedule.warmup=1ep", "eval_every=1ep")
    assert main(["train", SPEC, *SMALL, *recipe, "--epochs", "2", "--run", str(folder)]) == 0
    return folder


def test_a_run_becomes_a_file_that_evaluates_the_same(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["export", SPEC, *SMALL, "--weights", str(run), "-o", "m.safetensors"]
    assert main(words) == 0
    out, err = capsys.readouterr()
    assert out.startswith("wrote m.safetensors, weights of step 21 of a run\nat batch 1 and 3 ")
    assert err == ""
    facts = []
    for trained in (str(run), "m.safetensors"):
        assert main(["eval", trained, "--format", "json"]) == 0
        facts.append(json.loads(capsys.readouterr().out))
    of_run, of_file = facts
    assert (of_run["step"], of_file["step"]) == (21, None)
    assert of_file["model"] == "RippleViTDigits"
    for name in ("data", "images", "top1", "top5", "loss"):
        assert of_file[name] == of_run[name]
    model = linvit_dsl.load_model("m.safetensors")
    assert model(torch.zeros(2, 1, 8, 8)).shape == (2, 10)


def test_a_model_file_is_exported_without_its_spec(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["export", SPEC, *SMALL, "--weights", str(run), "-o", "m.safetensors"]) == 0
    assert main(["export", "m.safetensors", "-o", "m.pt2", "--batch", "2"]) == 0
    assert "at batch 2 its results" in capsys.readouterr().out
    assert main(["export", "m.safetensors", "-o", "n.pt2", *SMALL]) == 2
    assert main(["export", "m.safetensors", "-o", "n.pt2", "--seed", "3"]) == 2
    assert main(["eval", "m.safetensors", "--weights", "last"]) == 2
    assert sorted(path.name for path in Path().iterdir()) == ["m.pt2", "m.safetensors"]


def test_a_model_file_of_a_model_file_is_the_same() -> None:
    assert main(["export", SPEC, *SMALL, "-o", "m.safetensors"]) == 0
    assert main(["export", "m.safetensors", "-o", "n.safetensors"]) == 0
    before, after = (linvit_dsl.load_model(f"{name}.safetensors").state_dict() for name in "mn")
    assert list(after) == list(before)
    assert all(torch.equal(after[key], before[key]) for key in before)


def test_fresh_weights_are_announced(capsys: pytest.CaptureFixture[str]) -> None:
    for name, seed in (("a", "0"), ("b", "0"), ("c", "1")):
        assert main(["export", SPEC, *SMALL, "-o", f"{name}.safetensors", "--seed", seed]) == 0
    out, err = capsys.readouterr()
    assert "no --weights: those of a.safetensors are random, of seed 0\n" in err
    assert "wrote c.safetensors, weights random, of seed 1\n" in out
    first, again, other = (Path(f"{name}.safetensors").read_bytes() for name in "abc")
    assert first == again != other


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["ripplevit", "-o", "m.pth"], 2, "no ending that says its format"),
        (["ripplevit", "-o", "none/m.pt2"], 2, "there is no folder none"),
        (["ripplevit", "-o", "m.pt2", "--opset", "18"], 2, "an opset is for .onnx files"),
        (["ripplevit", "-o", "m.pt2", "--batch", "0"], 2, "neither `dynamic` nor a batch size"),
        (["ripplevit", "-o", "m.pt2", "--batch", "many"], 2, "neither `dynamic` nor a batch"),
        (["ripplevit", "-o", "m.pt2", "--seed", "-1"], 2, "--seed is a whole number from 0"),
        (["ripplevit", "-o", "m.pt2", "--checkpoint", "last"], 2, "chooses from a run folder"),
        (["ripplevit", "-o", "m.pt2", "--weights", "none"], 2, "no run folder and no file none"),
        (["ripplevit", "-o", "m.pt2", "--weights", "."], 2, "cannot read model.py"),
        (["ripplevit:None", "-o", "m.pt2"], 1, "no model `None`"),
        (["ripplevitt", "-o", "m.pt2"], 2, "did you mean `ripplevit`?"),
        (["none.safetensors", "-o", "m.pt2"], 2, "no such file"),
        (["ripplevit", "--set", "heads=7", "-o", "m.pt2"], 1, "cannot be split into 7 heads"),
    ],
)
def test_a_mistake_is_named_and_nothing_is_written(
    words: list[str], code: int, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["export", *words]) == code
    out, err = capsys.readouterr()
    assert message in err
    assert out == ""
    assert list(Path().iterdir()) == []


def test_the_weights_of_another_model_are_refused(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    others = (
        (("depth=2", "d=16", "heads=2"), 74, "has nothing there"),
        (("depth=1", "d=32", "heads=2"), 74, "here, and 36 more"),
        (("depth=1", "d=16", "heads=4"), 1, "at batch 1 the results differ by up to"),
    )
    for statics, code, message in others:
        words = ["export", SPEC, "--set", *statics, "--weights", str(run), "-o", "m.pt2"]
        assert main(words) == code
        assert message in capsys.readouterr().err
    assert list(Path().iterdir()) == []


def test_packages_that_are_absent_are_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("linvit_runtime.export.onnx_file.find_spec", lambda _: None)
    assert main(["export", SPEC, "-o", "m.onnx"]) == 2
    assert "pip install 'linvit[onnx]'" in capsys.readouterr().err


def test_a_file_without_recipe_asks_for_data(capsys: pytest.CaptureFixture[str]) -> None:
    Path("m.vit").write_text(
        "model M(img: [B, 1, 8, 8]) -> [B, 10] {\n"
        '  return img |> rearrange["b c h w -> b (c h w)"] |> linear[10]@head\n}\n'
    )
    assert main(["export", "m.vit", "-o", "m.safetensors"]) == 0
    assert main(["eval", "m.safetensors"]) == 2
    assert "m.safetensors has no recipe\n  help: name the images with --data" in (
        capsys.readouterr().err
    )
    assert main(["eval", "m.safetensors", "--data", "digits"]) == 0
    assert "M of m.safetensors, on 450 images" in capsys.readouterr().out


def test_a_model_that_takes_no_such_images_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["export", SPEC, *SMALL, "image=16", "-o", "m.safetensors"]) == 0
    assert main(["eval", "m.safetensors"]) == 2
    assert "takes images of 16x16 pixels, 1 channel; those of digits" in capsys.readouterr().err


def test_a_full_disk_is_exit_code_74(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(path: Path, content: bytes) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(sys.modules["linvit_runtime.export.request"], "replace_file", full)
    assert main(["export", SPEC, *SMALL, "-o", "m.safetensors"]) == 74
    assert "cannot write m.safetensors: No space left on device" in capsys.readouterr().err
