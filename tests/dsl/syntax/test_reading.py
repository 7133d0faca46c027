"""Reading files: encodings, line breaks, and what cannot be read."""

from pathlib import Path

import pytest

from linvit_dsl.errors import SpecError
from linvit_dsl.graph import limits
from linvit_dsl.syntax import parse, read_source


def test_a_source_carries_its_names(tmp_path: Path) -> None:
    path = tmp_path / "a.vit"
    path.write_text("const φ = 1\n", encoding="utf-8")
    source = read_source(path)
    assert (source.name, source.module, source.text) == (str(path), "a", "const φ = 1\n")
    named = read_source(path, name="std/a.vit", module="std.a")
    assert (named.name, named.module) == ("std/a.vit", "std.a")


def test_line_breaks_are_unified_and_the_mark_is_dropped(tmp_path: Path) -> None:
    path = tmp_path / "a.vit"
    path.write_bytes(b"\xef\xbb\xbfconst a = 1\r\nconst b = 2\r\n")
    source = read_source(path)
    assert source.text == "const a = 1\nconst b = 2\n"
    assert parse(source).diagnostics == ()


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"const a = 1\nconst \xff = 1\n", "byte 0xff in line 2 is not UTF-8"),
        (b"\x1f\x8b\x08\x00", "byte 0x8b in line 1 is not UTF-8"),
        (b"const a = \xed\xa0\x80", "byte 0xed in line 1 is not UTF-8"),
    ],
)
def test_what_is_not_utf8_is_refused(tmp_path: Path, data: bytes, reason: str) -> None:
    path = tmp_path / "a.vit"
    path.write_bytes(data)
    with pytest.raises(SpecError, match=reason) as error:
        read_source(path)
    assert [found.code for found in error.value.diagnostics] == ["E0701"]


def test_what_cannot_be_opened_is_refused(tmp_path: Path) -> None:
    for path, reason in [(tmp_path / "none.vit", "no such file"), (tmp_path, "is a directory")]:
        with pytest.raises(SpecError, match=reason) as error:
            read_source(path)
        assert [found.code for found in error.value.diagnostics] == ["E0701"]


def test_a_file_is_read_up_to_the_limit_and_no_further(tmp_path: Path) -> None:
    path = tmp_path / "a.vit"
    path.write_bytes(b"#" * limits.FILE_BYTES)
    assert len(read_source(path).text) == limits.FILE_BYTES
    path.write_bytes(b"#" * (limits.FILE_BYTES + 1))
    with pytest.raises(SpecError, match=r"256\.1 KiB; the limit is 256 KiB") as error:
        read_source(path)
    assert [found.code for found in error.value.diagnostics] == ["E0702"]
