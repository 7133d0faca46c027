"""`check --fix`: what it writes, what it leaves alone, and that it never makes a text worse."""

import stat
from dataclasses import replace
from pathlib import Path

import pytest

from linvit_dsl.check import Examined, Program, fixes, open_program
from linvit_dsl.check.fixes import edited, fix_spec
from linvit_dsl.cli import main
from linvit_dsl.errors import Diagnostic, Fix, Label, Source, Span
from linvit_dsl.errors.render import NOTHING

WRONG = """\
# A header.

block Gate[width: dim, p: prob, q: prob, act: block](x: [B, n, d]) -> [B, n, d] {
  h = x |> linear[width ** 1] |> act |> dropout[p]
  return h * h |> linar[d] |> dropout[q]
}

model M(x: [B, 64, 192]) -> [B, 64, 192] {
  x += x |> layernorm |> Mlp@m |> Gate[192, 0.1, 0, gelu]
  y = x |> rearrange['b n d -> b d n'] |> rearrange["b d n -> b n d"]
  return x + y |> linear[192]
}
"""
RIGHT = """\
# A header.
from std.nn import Mlp

block Gate[width: dim, p: prob, q: prob, act: block](x: [B, n, d]) -> [B, n, d] {
  h = x |> linear[width ^ 1]@linear |> act |> dropout[p]
  return (h * h) |> linear[d]@linear2 |> dropout[q]
}

model M(x: [B, 64, 192]) -> [B, 64, 192] {
  x += x |> layernorm |> Mlp@m |> Gate[192, 0.1, 0, act = gelu]
  y = x |> rearrange["b n d -> b d n"] |> rearrange["b d n -> b n d"]
  return (x + y) |> linear[192]
}
"""


@pytest.fixture
def spec(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    path = Path("a.vit")
    path.write_text(WRONG, encoding="utf-8")
    return path


def test_a_file_is_fixed_and_reported(spec: Path, capsys: pytest.CaptureFixture[str]) -> None:
    spec.chmod(0o640)
    assert main(["check", "a.vit", "--fix"]) == 0
    out, err = capsys.readouterr()
    assert spec.read_text(encoding="utf-8") == RIGHT
    assert out == "a.vit: no problems\n"
    assert "fixed E0203: a.vit:9:26: import it from `std.nn`\n" in err
    assert len(err.splitlines()) == 8
    assert stat.S_IMODE(spec.stat().st_mode) == 0o640
    assert [path.name for path in Path().iterdir()] == ["a.vit"]


def test_imports_from_one_module_share_a_line(spec: Path) -> None:
    spec.write_text("""\
model M(x: [B, 4, 8]) -> [B, 4, 8] { return x |> Mlp@a |> Relu6@b }
block Relu6(x: [B, n, d]) -> [B, n, d] { return x |> Mlp@m |> EncoderLayer[Attention[2]]@e }
""")
    assert main(["check", "a.vit", "--fix"]) == 0
    imports = [line for line in spec.read_text().splitlines() if line.startswith("from")]
    assert sorted(imports) == [
        "from std.attention import Attention",
        "from std.nn import Mlp, EncoderLayer",
    ]


def test_what_is_fixed_has_nothing_more_to_fix(spec: Path) -> None:
    spec.write_text(RIGHT, encoding="utf-8")
    assert fix_spec(spec) == fixes.FixedSpec(RIGHT, RIGHT, (), (), NOTHING)


def test_a_diff_is_printed_and_nothing_written(
    spec: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["check", "a.vit", "--fix", "--diff"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("--- a.vit\n+++ a.vit (fixed)\n")
    assert "-  return x + y |> linear[192]\n" in out
    assert "+  return (x + y) |> linear[192]\n" in out
    assert spec.read_text(encoding="utf-8") == WRONG


def test_what_nobody_can_be_sure_of_stays(spec: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A bracket too many, a statement without use, a wrong size: a person decides."""
    text = "model M(x: [B, 4]) -> [B, 5] {\n  y = x |> linear[4])\n  return x * x |> relu\n}\n"
    spec.write_text(text, encoding="utf-8")
    assert main(["check", "a.vit", "--fix"]) == 1
    assert "E0103" in capsys.readouterr().out
    assert spec.read_text(encoding="utf-8") == text.replace("x * x", "(x * x)")


def test_labels_keep_the_keys_of_checkpoints(spec: Path) -> None:
    import linvit_dsl

    text = (
        "model M(x: [B, 4]) -> [B, 4] {\n  repeat 2 { x += x |> linear[6] |> gelu |> linear[4] }\n"
        "  return x |> linear[4]@linear3 |> linear[4]\n}\n"
    )
    spec.write_text(text, encoding="utf-8")
    before = list(linvit_dsl.load(spec).M().state_dict())
    fixed = fix_spec(spec)
    assert [diagnostic.code for diagnostic in fixed.done] == ["W0303"]
    assert fixed.after.count("@") == 4
    spec.write_text(fixed.after, encoding="utf-8")
    assert list(linvit_dsl.load(spec).M().state_dict()) == before


def test_a_fix_that_does_not_help_is_taken_back(
    spec: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The control: of two fixes one is made to break the text; only the other is kept."""
    true_check = fixes.examine

    def sabotaged(program: Program) -> Examined:
        examined = true_check(program)
        found = examined.diagnostics
        for diagnostic in found:
            if diagnostic.code == "E0201":
                (fix,) = diagnostic.fixes
                bad = Fix(fix.span, "((", "break it")
                changed = Diagnostic(
                    diagnostic.code, diagnostic.message, diagnostic.primary, fixes=(bad,)
                )
                found = tuple(changed if d is diagnostic else d for d in found)
        return replace(examined, diagnostics=found)

    monkeypatch.setattr(fixes, "examine", sabotaged)
    text = "model M(x: [B, 4]) -> [B, 4] {\n  y = x |> relo\n  return x * y |> linear[4]\n}\n"
    spec.write_text(text, encoding="utf-8")
    fixed = fix_spec(spec)
    assert "relo" in fixed.after
    assert "((" not in fixed.after
    assert [diagnostic.code for diagnostic in fixed.left] == ["E0201"]


def test_edits_that_touch_are_not_applied_together() -> None:
    source = Source("a.vit", "abcdef")

    def finding(start: int, end: int, text: str) -> Diagnostic:
        span = Span(source, start, end)
        return Diagnostic("W0309", text, Label(span), fixes=(Fix(span, text, text),))

    chosen = fixes._compatible(
        [finding(0, 2, "X"), finding(1, 3, "Y"), finding(2, 2, "Z"), finding(4, 5, "W")]
    )
    assert [diagnostic.message for diagnostic in chosen] == ["X", "W"]
    assert edited("abcdef", [fix for d in chosen for fix in d.fixes]) == "XcdWf"


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["check", "ripplevit", "--fix"], "comes with linvit"),
        (["check", "link.vit", "--fix"], "link"),
        (["check", "a.vit", "--diff"], "--fix"),
        (["check", "a.vit", "--fix", "--set", "d=3"], "--set"),
        (["check", "absent.vit", "--fix"], "no such file"),
    ],
)
def test_files_that_are_not_the_users_are_refused(
    words: list[str], told: str, spec: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("link.vit").symlink_to(spec)
    assert main(words) == 2
    assert told in capsys.readouterr().err
    assert spec.read_text(encoding="utf-8") == WRONG


def test_imported_files_are_not_edited(spec: Path) -> None:
    blocks = "block F(x: [B, d]) -> [B, d] { return x |> linear[d] |> linear[d] }\n"
    Path("blocks.vit").write_text(blocks, encoding="utf-8")
    spec.write_text(
        'from "./blocks.vit" import F\nmodel M(x: [B, 4]) -> [B, 4] { return x |> F@f }\n',
        encoding="utf-8",
    )
    fixed = fix_spec(spec)
    assert fixed.after == fixed.before
    assert [diagnostic.code for diagnostic in fixed.left] == ["W0303"]
    assert Path("blocks.vit").read_text(encoding="utf-8") == blocks


def test_a_text_can_be_checked_before_it_is_saved(spec: Path) -> None:
    assert open_program(spec, RIGHT).root.source.text == RIGHT
    assert open_program(spec).root.source.text == WRONG


def test_line_ends_stay_as_they_are(tmp_path: Path) -> None:
    path = tmp_path / "a.vit"
    path.write_bytes(b"block F(x: [B, n]) -> [B, n] {\r\n  return relu(x) ** 2\r\n}\r\n")
    assert main(["check", str(path), "--fix"]) == 0
    assert path.read_bytes() == b"block F(x: [B, n]) -> [B, n] {\r\n  return relu(x) ^ 2\r\n}\r\n"
