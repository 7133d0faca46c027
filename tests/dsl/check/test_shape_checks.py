"""`check M: [2, 3, 32, 32] -> [2, 100]`: models as compiled, blocks at the stated sizes."""

from __future__ import annotations

from pathlib import Path

import pytest

from linvit_dsl.check import check_program, open_program

VIT = (
    "from std.vit import ViT\nfrom std.attention import Attention\n"
    "model M = ViT[mixer = Attention[4], d = 64, depth = 1]\n"
)
BLOCKS = (
    "block Fc[o: dim](x: [*b, d]) -> [*b, o] { return x |> linear[o]@fc }\n"
    "block Two(x: [B, n, d], y: [B, m, d]) -> ([B, n + m, d], [B, d]) {\n"
    '  z = concat[1](x, y)\n  return z, reduce["b n d -> b d", sum](z)\n}\n'
    "block Many(xs: list[k] of [B, n]) -> list[k] of [B, n] { return [relu(x) for x in xs] }\n"
    'block Fold(x: [B, n, d]) -> [B * n, d] { return x |> rearrange["b n d -> (b n) d"] }\n'
)


@pytest.fixture(autouse=True)
def _in_an_empty_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)


def codes(text: str) -> list[str]:
    Path("m.vit").write_text(text, encoding="utf-8")
    return [found.code for found in check_program(open_program("m.vit"))]


@pytest.mark.parametrize(
    ("statement", "expected"),
    [
        ("check M: [2, 3, 32, 32] -> [2, 100]", []),
        ("check M: [B, 3, 32, 32] -> [B, 100]", []),
        ("check M: [1, 3, 32, 32] -> [1, 100]", []),
        ("check M: [2, 3, 32, 32] -> [3, 100]", ["E0512"]),
        ("check M: [2, 3, 32, 32] -> [B, 100]", ["E0512"]),
        ("check M: [2, 3, 32, 32] -> [2, 100, 1]", ["E0512"]),
        ("check M: [2, 3, 64, 64] -> [2, 100]", ["E0514"]),
        ("check M: [3, 32, 32] -> [100]", ["E0514"]),
        ("check M[image = 64]: [2, 3, 64, 64] -> [2, 100]", []),
        ("check M[image = 64, width = 32]: [2, 3, 64, 32] -> [2, 100]", []),
        ("check M[heads = 3]: [2, 3, 32, 32] -> [2, 100]", ["E0312"]),
        ("check ViT[mixer = Attention[4], d = 8, depth = 1]: [2, 3, 32, 32] -> [2, 100]", []),
        ("check Attention[4]: [2, 9, 8] -> [2, 9, 8]", []),
        ("check Attention[3]: [2, 9, 8] -> [2, 9, 8]", ["E0301"]),
        ("const n = 100\ncheck M: [2, 3, 32, 32] -> [2, n]", []),
        ("check M: [2, 3, 32, 32] -> [2, classes]", ["E0201"]),
        ("check M: [2, 3, 32, 0] -> [2, 100]", ["E0302"]),
        ("check M: [2, 3, *b] -> [2, 100]", ["E0201"]),
        ("check N: [2] -> [2]", ["E0201"]),
    ],
)
def test_models(statement: str, expected: list[str]) -> None:
    assert codes(f"{VIT}{statement}\n") == expected


@pytest.mark.parametrize(
    ("statement", "expected"),
    [
        ("check Fc[6]: [4] -> [6]", []),
        ("check Fc[6]: [2, 3, 4] -> [2, 3, 6]", []),
        ("check Fc[6]: [2, 3, 4] -> [2, 4, 6]", ["E0512"]),
        ("check Two: ([2, 3, 4], [2, 5, 4]) -> ([2, 8, 4], [2, 4])", []),
        ("check Two: ([2, 3, 4], [2, 5, 4]) -> ([2, 8, 4], [2, 8])", ["E0512"]),
        ("check Two: ([2, 3, 4], [2, 5, 6]) -> ([2, 8, 4], [2, 4])", ["E0322"]),
        ("check Two: ([2, 3, 4], [1, 5, 4]) -> ([2, 8, 4], [2, 4])", ["E0513"]),
        ("check Two: [2, 3, 4] -> ([2, 8, 4], [2, 4])", ["E0511"]),
        ("check Two: ([2, 3, 4], [2, 5, 4]) -> [2, 8, 4]", ["E0511"]),
        ("check Many: list[3] of [2, 4] -> list[3] of [2, 4]", []),
        ("check Many: list[3] of [2, 4] -> list[2] of [2, 4]", ["E0511"]),
        ("check Many: list[3] of [2, 4] -> list[3] of [2, 5]", ["E0512"]),
        ("check Fold: [2, 3, 4] -> [6, 4]", []),
        ("check Fold: [2, 3, 4] -> [5, 4]", ["E0512"]),
        ("check Fold: [B, 3, 4] -> [B * 3, 4]", []),
    ],
)
def test_blocks(statement: str, expected: list[str]) -> None:
    assert codes(f"{BLOCKS}{statement}\n") == expected


def test_the_message_names_both_shapes_and_where_the_size_comes_from() -> None:
    Path("m.vit").write_text(f"{VIT}check M: [2, 3, 32, 32] -> [2, 10]\n")
    (found,) = check_program(open_program("m.vit"))
    assert found.message == "`M` maps [2, 3, 32, 32] to [2, 100], not [2, 10]"
    assert found.notes[0].startswith("classes = 100   default of `ViT`   std/vit.vit:")


def test_a_model_with_errors_is_reported_once() -> None:
    text = VIT.replace("d = 64", "d = 65")
    assert codes(f"{text}check M: [2, 3, 32, 32] -> [2, 100]\n") == ["E0301"]
