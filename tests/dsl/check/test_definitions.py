"""Blocks checked where they are declared: what holds, what cannot, and what nobody can know."""

from pathlib import Path

import pytest

from linvit_dsl.check import check_program, open_program
from linvit_dsl.check.definitions import Definition, check_definitions
from linvit_dsl.check.files import STANDARD_LIBRARY
from linvit_dsl.cli import main

LIBRARY = sorted(STANDARD_LIBRARY.glob("*.vit"))


def definition(folder: Path, text: str) -> Definition:
    path = folder / "a.vit"
    path.write_text(f"from std.nn import SplitHeads, MergeHeads, Mlp\n{text}\n", encoding="utf-8")
    program = open_program(path)
    (found,) = check_definitions(program, program.root)
    return found


@pytest.mark.parametrize(
    "text",
    [
        "block F(x: [B, n, d]) -> [B, n, d] { return x |> Mlp@mlp }",
        "block F[heads: dim](x: [B, n, d]) -> [B, n, d] { return x |> SplitHeads[heads]"
        " |> MergeHeads }",
        "block F[p: dim](x: [B, C, H, W]) -> [B, C, h * w, p^2] { dim h = H / p; dim w = W / p\n"
        '  return x |> rearrange["b c (h p) (w q) -> b c (h w) (p q)", p = p, q = p] }',
        "block F(x: [*s, c]) -> [*s, 2 * c] { return concat[-1](relu(x), relu(-x)) }",
        "block F(ys: list[k] of [B, n, d]) -> [B, n, k * d] { return concat[-1](*ys) }",
        "block F[grid: list[dim]](x: [B, n, d]) -> [B, d, h, w] { dim (h, w) = grid\n"
        '  return x |> rearrange["b (h w) d -> b d h w", h = h, w = w] }',
        "block F[rank: dim = d / 8](x: [B, n, d]) -> [B, n, d] {"
        " return x |> linear[rank]@a |> linear[d]@b }",
        'block F[k: dim](x: [B, n, d]) -> [B, n, d] { require k % 2 == 1, "odd"\n  return x }',
    ],
)
def test_a_sound_block_holds(text: str, tmp_path: Path) -> None:
    found = definition(tmp_path, text)
    assert (found.verdict, found.error) == ("holds", None), found.reason


WRONG = {
    "a declared width": "block F(x: [B, n, d]) -> [B, n, 2 * d] { return x |> linear[d]@fc }",
    "a token more": "block F(x: [B, n, d]) -> [B, n, d] {"
    "\n  param t: [1, 1, 4] ~ zeros\n  return pad[1, 1, 0](x) }",
    "axes of a concat": "block F(x: [B, n, d]) -> [B, n, 2 * d] {"
    " return concat[-1](x, transpose[1, 2](x)) }",
    "a missing transposition": "block F(x: [B, n, d]) -> [B, n, n] {"
    " return matmul(x |> linear[d]@q, x |> linear[d]@k) }",
    "a transposition too many": "block F(x: [B, n, d]) -> [B, n, d] { return transpose[1, 2](x) }",
    "a number of axes": "block F(x: [B, n, d]) -> [B, n, d] {"
    ' return x |> rearrange["b n d -> b (n d)"] }',
    "a number of results": "block F(x: [B, n, d]) -> ([B, n, d], [B, n, d]) { return x }",
    "an axis that is not there": "block F(x: [B, n, d]) -> [B, n] { return select[3, 0](x) }",
    "another static parameter": "block F[k: dim, p: prob](x: [B, n, d]) -> [B, n, d] {"
    " return x |> linear[k]@up |> dropout[p] |> linear[2 * d]@down }",
    "three heads too many": "block F[heads: dim](x: [B, n, d]) -> [B, heads, n, c] {"
    " dim c = d / heads; return x |> SplitHeads[heads] |> linear[3 * c]@wide }",
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_block_is_refuted(name: str, tmp_path: Path) -> None:
    found = definition(tmp_path, WRONG[name])
    assert found.verdict == "refuted", found.reason
    assert found.error is not None
    assert any(note.startswith("checked where it is declared") for note in found.error.notes)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("block F[f: block](x: [B, n, d]) -> [B, n, d] { return x |> f }", "`f`, a block"),
        ("block F[k: dim](x: [B, n, d]) -> [B, n, k] { return x }", "E0322"),
        ("block F(x: [B, n, d]) -> [B, 64, d] { return x }", "E0322"),
        ("block F(x: [B, n, c], y: [n, m]) -> [B, n, c] { return x * y }", "E0323"),
        ('block F(x: [B, n, d]) -> [B, n, d] { require d == 64, "narrow"; return x }', "E0300"),
        (
            "block F[wide: bool = false](x: [B, n, d]) -> [B, n, d] {\n"
            "  if wide { y = x } else { y = x |> linear[2 * d]@fc }\n  return y }",
            "E0322",
        ),
        (
            "block F[k: int = 3](x: [B, n, d]) -> [B, n, d] {\n"
            "  repeat k - 1 { x = concat[1](x, x) }\n  return x }",
            "E0322",
        ),
        ("block F[k: int](x: [B, n, d]) -> [B, n, d] { return pad[1, 0, k](x) }", "E0322"),
    ],
    ids=["block", "width", "one size", "two arguments", "require", "branch", "loop", "number"],
)
def test_what_values_may_put_right_is_left_to_callers(
    text: str, reason: str, tmp_path: Path
) -> None:
    found = definition(tmp_path, text)
    assert found.verdict == "unknown"
    assert reason in found.reason
    assert check_program(open_program(tmp_path / "a.vit")) == ()


def test_the_library_is_never_refuted_and_mostly_holds() -> None:
    found = [
        definition
        for path in LIBRARY
        for program in (open_program(path),)
        for definition in check_definitions(program, program.root)
    ]
    verdicts = [definition.verdict for definition in found]
    assert "refuted" not in verdicts
    assert verdicts.count("holds") >= 0.8 * len(verdicts)
    by_name = {definition.block: definition for definition in found}
    assert by_name["EncoderLayer"].reason == "`mixer`, a block, is known to callers only"
    assert by_name["QKV"].verdict == by_name["RippleAttention"].verdict == "holds"


@pytest.mark.parametrize("name", WRONG)
def test_check_reports_what_nothing_applies(name: str, tmp_path: Path) -> None:
    path = tmp_path / "a.vit"
    path.write_text(f"from std.nn import SplitHeads\n{WRONG[name]}\n", encoding="utf-8")
    (found,) = check_program(open_program(path))
    assert found.severity == "error"


def test_an_applied_block_is_told_once_with_real_sizes(tmp_path: Path) -> None:
    path = tmp_path / "a.vit"
    path.write_text(
        f"{WRONG['a declared width']}\nmodel M(x: [B, 4, 6]) -> [B, 4, 12] {{ return x |> F }}\n",
        encoding="utf-8",
    )
    (found,) = check_program(open_program(path))
    assert found.message == "axis 2 of `the result` is 6, declared `2 * d` = 12"


def test_the_table_of_definitions(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "a.vit"
    path.write_text(
        "block Good(x: [B, n, d]) -> [B, n, d] { return x }\n"
        "block Bad(x: [B, n, d]) -> [B, n] { return x }\n",
        encoding="utf-8",
    )
    assert main(["check", str(path), "--definitions"]) == 1
    assert capsys.readouterr().out.splitlines() == [
        "Good  holds    for all sizes",
        "Bad   refuted  `the result` is declared with 2 axes and has 3",
    ]
    assert main(["check", str(path), "--definitions", "--format", "json"]) == 1
    assert '"verdict": "holds"' in capsys.readouterr().out


def test_nothing_is_held_of_a_block_with_errors_of_its_own(tmp_path: Path) -> None:
    path = tmp_path / "a.vit"
    path.write_text(
        "block Misspelt(x: [B, n, d]) -> [B, n, d] { return x |> lineer[d]@f }\n"
        "block Caller(x: [B, n, d]) -> [B, n, d] { return x |> Misspelt@m }\n"
        "block Circle(x: [B, n, d]) -> [B, n, d] { return x |> Circle@c }\n"
        "block Broken(x: [B, n, d]) -> [B, n, d] { y = = x\n  return x }\n"
        "block Sound(x: [B, n, d]) -> [B, n, d] { return x }\n",
        encoding="utf-8",
    )
    program = open_program(path)
    verdicts = [found.verdict for found in check_definitions(program, program.root)]
    assert verdicts == ["unknown"] * 4 + ["holds"]


@pytest.mark.parametrize("other", [("--fix",), ("--set", "d=3")])
def test_the_table_takes_nothing_beside_it(
    other: tuple[str, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "a.vit"
    path.write_text("block F(x: [*s]) -> [*s] { return x }\n", encoding="utf-8")
    assert main(["check", str(path), "--definitions", *other]) == 2
    assert f"leave {other[0]} out" in capsys.readouterr().err
