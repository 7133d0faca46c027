"""Mistakes that a reader of `specs/qavit.vit` is likely to make, in copies of its text."""

from pathlib import Path

import pytest

from linvit_dsl.check import check_program, elaborate, find_spec, open_program
from linvit_dsl.errors import SpecError
from linvit_dsl.errors.render import render_all
from tests.conftest import Golden

SHIPPED = find_spec("qavit")[0].read_text(encoding="utf-8")


@pytest.fixture
def copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a copy of the spec; messages then name it without a path of this machine."""
    monkeypatch.chdir(tmp_path)
    path = Path("qavit.vit")
    path.write_text(SHIPPED, encoding="utf-8")
    return path


def test_a_fifth_of_the_channels_is_no_branch(copy: Path, golden: Golden) -> None:
    """Every model of the file has a width of its own, so each is told."""
    right, wrong = "dim d' = d / 4", "dim d' = d / 5"
    assert SHIPPED.count(right) == 1
    copy.write_text(SHIPPED.replace(right, wrong), encoding="utf-8")
    found = check_program(open_program(copy))
    assert {diagnostic.code for diagnostic in found} == {"E0301"}
    assert "`d` = 256 is not divisible by 5" in found[0].message
    golden.check("ui/qavit_fifth.txt", render_all(found) + "\n")


@pytest.mark.parametrize(
    ("name", "statics", "code", "words"),
    [
        ("heads", {"heads": "5"}, "E0301", "cannot be split into 5 heads"),
        ("groups", {"groups": "7"}, "E0300", "64 channels of a branch cannot be split into 7"),
        ("compress", {"compress": '"conv"'}, "E0300", "split, shared or linear, not conv"),
    ],
)
def test_a_setting_that_does_not_fit(
    name: str, statics: dict[str, str], code: str, words: str, copy: Path, golden: Golden
) -> None:
    with pytest.raises(SpecError) as caught:
        elaborate(open_program(copy), "QAViT_Tiny", statics)
    (found,) = caught.value.diagnostics
    assert found.code == code
    assert words in found.message
    golden.check(f"ui/qavit_{name}.txt", render_all([found]) + "\n")


def test_fewer_heads_than_rates_is_a_warning(copy: Path, golden: Golden) -> None:
    model = elaborate(open_program(copy), "QAViT_Tiny", {"heads": "2"})
    (found,) = model.warnings
    assert found.code == "W0300"
    assert "2 heads use only the first 2 of 3 rates" in found.message
    golden.check("ui/qavit_rates.txt", render_all([found]) + "\n")


@pytest.mark.parametrize("statics", [{}, {"image": "240", "width": "208"}])
def test_windows_of_7_fit_any_grid(statics: dict[str, str], copy: Path) -> None:
    """14 x 14 patches divide into windows, 15 x 13 are padded: neither is worth a word."""
    assert elaborate(open_program(copy), "QAViT_Tiny", statics).warnings == ()
