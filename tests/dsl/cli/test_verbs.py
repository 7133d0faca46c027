"""What each verb does, from its words to what is printed and written."""

import json
import sys
from pathlib import Path

import pytest

from linvit_dsl.cli import main
from linvit_dsl.errors.catalogue import entry

SPEC = """\
model Wide[d: dim = 192](x: [B, 64, d]) -> [B, 64, d] {
  return x |> linear[4 * d]@up |> gelu |> linear[d]@down
}

model Split[heads: dim = 5](x: [B, 64, 192]) -> [B, 64, 192] {
  prefer heads < 6, "{heads} heads are many"
  dim c = 192 / heads
  return x |> linear[c]@down |> linear[192]@up
}
"""


@pytest.fixture(autouse=True)
def _in_a_folder_with_a_spec(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    Path("m.vit").write_text(SPEC)


def test_check_shows_the_excerpt_and_the_count(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "m.vit"]) == 1
    out, err = capsys.readouterr()
    assert "m.vit:7:11" in out
    assert "`192` = 192" in out or "192" in out
    assert out.endswith("\n\n1 error\n")
    assert err == ""


def test_check_says_that_nothing_is_wrong(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "m.vit:Wide"]) == 0
    assert capsys.readouterr().out == "m.vit:Wide: no problems\n"


def test_check_takes_overrides(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "m.vit:Split", "--set", "heads=4"]) == 0
    assert main(["check", "m.vit:Split", "--set", "heads=7"]) == 1
    assert main(["check", "m.vit:Split", "--set", "heads=six"]) == 1
    assert main(["check", "m.vit:Split", "--set", "haeds=6"]) == 1
    assert "did you mean `heads`?" in capsys.readouterr().out


def test_a_warning_is_printed_and_does_not_fail(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "m.vit:Split", "--set", "heads=8"]) == 0
    assert capsys.readouterr().out.endswith("\n1 warning\n")
    assert main(["cost", "m.vit:Split", "--set", "heads=8"]) == 0
    assert "warning[W0300]" in capsys.readouterr().err


def test_check_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "m.vit", "--format", "json"]) == 1
    (found,) = json.loads(capsys.readouterr().out)
    assert list(found) == [
        "code",
        "severity",
        "message",
        "file",
        "line",
        "column",
        "end_line",
        "end_column",
        "notes",
        "helps",
    ]
    assert (found["code"], found["file"], found["line"], found["column"]) == (
        "E0301",
        "m.vit",
        7,
        11,
    )
    assert main(["check", "m.vit:Wide", "--format", "json"]) == 0
    assert json.loads(capsys.readouterr().out) == []


def test_check_reports_a_file_that_is_no_text(capsys: pytest.CaptureFixture[str]) -> None:
    Path("image.vit").write_bytes(b"\x89PNG\r\n\x1a\n\xff\xfe")
    assert main(["check", "image.vit"]) == 1
    assert "error[E0" in capsys.readouterr().out


def test_explain(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", "e0301"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("E0301: a division leaves a rest\n")
    assert "This is rejected:" in out


def test_explain_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", "E0301", "--format", "json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["title"] == entry("E0301").title
    assert set(found) == {"code", "title", "message", "explanation", "wrong", "right"}


def test_cost(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["cost", "m.vit"]) == 0
    params = 192 * 768 + 768 + 768 * 192 + 192
    macs = 2 * 64 * 192 * 768
    out = capsys.readouterr().out
    assert f"{params:,}" in out
    assert f"{macs:,}" in out
    assert main(["cost", "m.vit", "--batch", "8", "--set", "d=96", "--format", "json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["model"] == "Wide"
    assert found["params"] == 2 * 96 * 384 + 96 + 384
    assert found["macs"] == 8 * 2 * 64 * 96 * 384
    assert found["flops"] == 2 * found["macs"]


def test_cost_at_a_depth_shows_less(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["cost", "ripplevit"]) == 0
    whole = capsys.readouterr().out
    assert main(["cost", "ripplevit", "--depth", "1"]) == 0
    assert len(capsys.readouterr().out.splitlines()) < len(whole.splitlines())


def test_compile_names_the_file_after_the_model(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compile", "m.vit"]) == 0
    assert capsys.readouterr().out == "wrote wide.py\n"
    written = Path("wide.py").read_text()
    assert "class Wide" in written
    assert main(["compile", "m.vit", "--stdout"]) == 0
    assert capsys.readouterr().out == written


def test_compile_never_overwrites_what_a_person_wrote(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compile", "m.vit", "-o", "net.py"]) == 0
    assert main(["compile", "m.vit", "-o", "net.py"]) == 0
    mine = Path("net.py").read_text() + "# mine\n"
    Path("net.py").write_text(mine)
    assert main(["compile", "m.vit", "-o", "net.py"]) == 2
    assert "--force" in capsys.readouterr().err
    assert Path("net.py").read_text() == mine
    assert main(["compile", "m.vit", "-o", "net.py", "--force"]) == 0
    assert "# mine" not in Path("net.py").read_text()


def test_render_writes_the_format_of_the_ending(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["render", "m.vit:Wide", "-o", "m.dot"]) == 0
    assert capsys.readouterr().out == "wrote m.dot\n"
    assert Path("m.dot").read_text().lstrip().startswith("digraph")
    assert main(["render", "m.vit:Wide", "-o", "m.gif"]) == 2
    assert ".gif" in capsys.readouterr().err


def test_a_drawing_opens_as_many_levels_as_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    lengths: list[int] = []
    for detail in ("1", "2", "all"):
        assert main(["render", "ripplevit", "-o", "m.dot", "--detail", detail]) == 0
        lengths.append(len(Path("m.dot").read_text()))
    assert lengths[0] < lengths[1] < lengths[2]
    assert main(["render", "ripplevit", "-o", "n.dot"]) == 0
    assert len(Path("n.dot").read_text()) == lengths[1]
    assert main(["render", "ripplevit", "-o", "n.dot", "--dark", "--costs"]) == 0
    assert len(Path("n.dot").read_text()) > lengths[1]
    capsys.readouterr()
    assert main(["render", "ripplevit", "-o", "n.dot", "--detail", "some"]) == 2
    assert "neither a number of levels nor `all`" in capsys.readouterr().err


def test_training_goes_on_where_it_stopped_and_is_measured(
    capsys: pytest.CaptureFixture[str],
) -> None:
    model = "ripplevit:RippleViTDigits"
    words = ["train", model, "--run", "run", "--device", "cpu"]
    words += ["--set", "stages=1", "depth=1", "schedule.warmup=0ep"]
    assert main([*words, "--epochs", "1", "--steps", "2"]) == 0
    assert main([*words, "--epochs", "1", "--steps", "3"]) == 2
    assert "--resume auto" in capsys.readouterr().err
    assert main([*words, "--epochs", "1", "--steps", "3", "--resume", "auto"]) == 0
    assert "resuming after step 2" in capsys.readouterr().out
    assert main([*words, "--epochs", "1", "--seed", "5", "--resume", "auto"]) == 2
    assert "seed" in capsys.readouterr().err
    config = json.loads(Path("run/config.json").read_text())
    assert config["model"] == "RippleViTDigits[depth = 1, stages = 1]"
    assert config["recipe"]["schedule"]["epochs"] == 1
    assert Path("run/spec.vit").is_file()

    assert main(["eval", "run", "--device", "cpu", "--format", "json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["images"], found["step"], found["device"]) == (450, 3, "cpu")
    assert 0 <= found["top1"] <= found["top5"] <= 1
    assert found["images_per_second"] > 0
    assert found["kernels"] == {"forward": ["numba-cpu"], "torch_because": []}
    assert main(["eval", "run", "--device", "cpu", "--weights", "last"]) == 0
    printed = capsys.readouterr().out
    assert f"top-1       {100 * found['top1']:.2f} %" in printed
    assert "attention   numba-cpu\n" in printed


def test_a_run_folder_is_named_by_its_content(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["train", "ripplevit:RippleViTDigits", "--set", "depth=1", "stages=1", "--steps", "1"]
    folders: list[str] = []
    for extra in ([], ["--resume", "auto"], ["--seed", "3"], ["--set", "heads=1"]):
        assert main([*words, *extra]) == 0
        folders.append(capsys.readouterr().out.splitlines()[0])
    assert folders[0] == folders[1]
    assert len(set(folders)) == 3
    assert all(folder.startswith("run folder runs/ripplevitdigits-digits-") for folder in folders)


def test_a_wrong_recipe_field_is_found(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["train", "ripplevit:RippleViTDigits", "--set"]
    assert main([*words, "optimizer.lrr=1e-3"]) == 1
    assert "E0600" in capsys.readouterr().err
    assert main([*words, "optimizer.lr=3"]) == 1
    assert "E0602" in capsys.readouterr().err
    assert main([*words, "seed=1", "--seed", "2"]) == 2
    assert main([*words[:2], "--data", "cifar11"]) == 2
    assert "did you mean `cifar10`?" in capsys.readouterr().err
    assert main([*words[:2], "--data", "."]) == 2
    assert "the digits come with linvit" in capsys.readouterr().err


def test_the_module_can_be_run(capsys: pytest.CaptureFixture[str]) -> None:
    import runpy

    arguments, sys.argv = sys.argv, ["linvit", "explain", "E0301"]
    try:
        with pytest.raises(SystemExit) as leaving:
            runpy.run_module("linvit_dsl", run_name="__main__")
    finally:
        sys.argv = arguments
    assert leaving.value.code == 0
    assert "E0301" in capsys.readouterr().out
