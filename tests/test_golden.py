"""The golden-file checker itself: it must be able to fail, and never write unless told to."""

from pathlib import Path

import pytest
from _pytest.outcomes import Failed

from tests.conftest import Golden


def test_equal_text_passes(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes("dim d' = d/4 → 96\n".encode())
    Golden(update=False, root=tmp_path).check("a.txt", "dim d' = d/4 → 96\n")


@pytest.mark.parametrize("text", ["one\n", "one\ntwo", "one\r\ntwo\n", ""])
def test_any_other_byte_fails_and_shows_the_difference(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.txt").write_bytes(b"one\ntwo\n")
    with pytest.raises(Failed, match="--update-golden"):
        Golden(update=False, root=tmp_path).check("a.txt", text)


def test_a_missing_file_fails_and_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(Failed, match=r"no golden file .* create it with"):
        Golden(update=False, root=tmp_path).check("deep/a.txt", "one\n")
    assert not list(tmp_path.iterdir())


def test_update_writes_what_a_check_then_accepts(tmp_path: Path) -> None:
    Golden(update=True, root=tmp_path).check("deep/a.txt", "one\n")
    Golden(update=False, root=tmp_path).check("deep/a.txt", "one\n")


def test_a_path_outside_the_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Failed, match="leaves"):
        Golden(update=True, root=tmp_path / "golden").check("../stray.txt", "one\n")
    assert not (tmp_path / "stray.txt").exists()
