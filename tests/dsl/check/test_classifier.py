"""Only models that map images to scores of classes are trained: `check` and `train` say so."""

from __future__ import annotations

from pathlib import Path

import pytest

from linvit_dsl import load
from linvit_dsl.check import check_program, classifier, elaborate, open_program
from linvit_dsl.cli import main
from linvit_dsl.errors import SpecError

RECIPE = """
recipe short {
  data { name = "digits"; batch = 64 }
  optimizer { lr = 1e-3 }
  schedule { epochs = 1ep }
}
train M with short
"""
PLAIN = (
    'model M(img: [B, 1, 8, 8]) -> [B, 10] { return img |> rearrange["b c h w -> b (c h w)"] '
    "|> linear[10] }"
)
REFUSED = {
    "gives [B, 10, 8, 8], which is no [B, classes]":
        "model M(img: [B, 1, 8, 8]) -> [B, 10, 8, 8] { return img |> conv2d[10] }",
    "takes [B, 1, 2, 8, 8], which is no [B, channels, rows, columns]":
        'model M(img: [B, 1, 2, 8, 8]) -> [B, 8] { return reduce["b c t h w -> b w", mean](img) }',
    "takes [1, 8, 8, 8], which is no [B, channels, rows, columns]":
        'model M(img: [1, 8, 8, 8]) -> [1, 8] { return img |> reduce["b c h w -> b c", mean] }',
    "gives 2 tensors":
        "model M(img: [B, 1, 8, 8]) -> ([B, 1, 8, 8], [B, 1, 8, 8]) { return relu(img), img }",
    "takes 2 tensors":
        "model M(a: [B, 8, 2, 2], b: [B, 8, 2, 2]) -> [B, 8] { return "
        'reduce["b c h w -> b c", mean](a + b) }',
}  # fmt: skip


def spec(folder: Path, model: str) -> Path:
    path = folder / "spec.vit"
    path.write_text(model + RECIPE, encoding="utf-8")
    return path


@pytest.mark.parametrize("problem", REFUSED)
def test_what_is_no_classifier_is_refused(
    tmp_path: Path, problem: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = spec(tmp_path, REFUSED[problem])
    (found,) = check_program(open_program(path))
    assert (found.code, found.message) == ("E0376", f"`M` cannot be trained here: it {problem}")
    assert main(["train", str(path), "--run", str(tmp_path / "run")]) == 1
    assert f"error[E0376]: {found.message}" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("problem", REFUSED)
def test_without_a_train_line_it_is_a_model_like_any_other(tmp_path: Path, problem: str) -> None:
    path = spec(tmp_path, REFUSED[problem])
    path.write_text(REFUSED[problem], encoding="utf-8")
    assert check_program(open_program(path)) == ()


def test_a_classifier_tells_its_images_and_classes(tmp_path: Path) -> None:
    """The control: the plain model is no finding, and its sizes are found."""
    program = open_program(spec(tmp_path, PLAIN))
    assert check_program(program) == ()
    graph = elaborate(program).graph
    found = classifier(graph, graph.span)
    assert (found.image, found.classes) == ((1, 8, 8), 10)


def test_shipped_models_for_pixels_and_clips_are_no_classifiers() -> None:
    for spec_name, name in (("dense", "DenseViT"), ("video", "VideoViT")):
        graph = getattr(load(spec_name), name).graph()
        with pytest.raises(SpecError, match=name):
            classifier(graph, graph.span)
