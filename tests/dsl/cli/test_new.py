"""`linvit new`: what it writes is complete, formatted, and trains."""

from pathlib import Path

import pytest

from linvit_dsl.cli import main
from linvit_dsl.cli.new import NAMES


@pytest.fixture(autouse=True)
def _in_an_empty_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("template", NAMES)
def test_a_new_spec_has_no_problems_and_is_formatted(
    template: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["new", "my_idea", "--template", template]) == 0
    assert "wrote my_idea.vit" in capsys.readouterr().out
    text = Path("my_idea.vit").read_text()
    assert text.startswith("# MyIdea: ")
    assert "Template" not in text
    assert main(["check", "my_idea.vit"]) == 0
    assert capsys.readouterr().out == "my_idea.vit: no problems\n"
    assert main(["fmt", "--check", "my_idea.vit"]) == 0


@pytest.mark.parametrize("template", ["vit", "mixer"])
def test_its_second_model_trains_on_the_digits(
    template: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["new", "my_idea", "--template", template]) == 0
    last = capsys.readouterr().out.splitlines()[-1]
    words = last.removeprefix("  linvit ").split()
    assert main([*words, "--run", "run", "--steps", "2", "--device", "cpu"]) == 0
    assert "after step 2" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("name", "file", "model"),
    [
        ("vit2", "vit2.vit", "Vit2"),
        ("my-second_vit.vit", "my-second_vit.vit", "MySecondVit"),
        ("RippleNet", "RippleNet.vit", "RippleNet"),
        ("folder/x", "folder/x.vit", "X"),
        ("new/folder/x", "new/folder/x.vit", "X"),
        ("n" * 58, "n" * 58 + ".vit", "N" + "n" * 57),
    ],
)
def test_names(name: str, file: str, model: str) -> None:
    Path("folder").mkdir()
    assert main(["new", name]) == 0
    assert main(["fmt", "--check", file]) == 0
    assert f"\nmodel {model}[" in Path(file).read_text()


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("there",), 2, "there.vit exists, and is left as it is"),
        (("3d",), 2, "`3d` makes no name of a model"),
        (("été",), 2, "ASCII letters"),
        (("",), 2, "NAME is empty"),
        (("n" * 59,), 2, "is too long"),
        (("ViT",), 2, "`ViT` is a block that the spec imports"),
        (("QKV", "--template", "mixer"), 2, "`QKV` is a block"),
        (("x", "--template", "swin"), 2, "swin"),
        (("there.vit/x",), 74, "cannot write there.vit/x.vit"),
    ],
)
def test_words_that_make_no_sense(
    words: tuple[str, ...], code: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("there.vit").write_text("mine")
    assert main(["new", *words]) == code
    assert said in capsys.readouterr().err
    assert Path("there.vit").read_text() == "mine"
    assert [path.name for path in Path().iterdir()] == ["there.vit"]
