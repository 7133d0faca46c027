"""Generated files: never over somebody's work, the same bytes every time."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from linvit_codegen import OverwriteRefused, generate, is_untouched, map_path, write
from linvit_dsl.errors import Source
from tests.codegen.samples import bank, transformer

ROOT = Path(__file__).parents[2]


def test_a_generated_file_may_be_replaced(tmp_path: Path) -> None:
    path = tmp_path / "model.py"
    write(generate(bank()), path)
    write(generate(transformer()), path)
    assert path.read_text() == generate(transformer()).text
    assert sorted(p.name for p in tmp_path.iterdir()) == ["model.map.json", "model.py"]
    assert map_path(path).is_file()


@pytest.mark.parametrize(
    "edit",
    [
        lambda text: "print('mine')\n",
        lambda text: "",
        lambda text: text + "\n",
        lambda text: text.replace("self.fuse(x)", "self.fuse(2 * x)"),
        lambda text: text.split("\n", 1)[1],
    ],
)
def test_anything_else_is_kept(tmp_path: Path, edit: Callable[[str], str]) -> None:
    path = tmp_path / "model.py"
    mine = edit(generate(bank()).text)
    path.write_text(mine)
    with pytest.raises(OverwriteRefused, match=r"model\.py is not an unedited file"):
        write(generate(transformer()), path)
    assert path.read_text() == mine
    write(generate(transformer()), path, force=True)
    assert is_untouched(path.read_text())


def test_a_file_that_is_no_text_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "model.py"
    path.write_bytes(b"\xff\x00\r\n")
    with pytest.raises(OverwriteRefused):
        write(generate(bank()), path)
    assert path.read_bytes() == b"\xff\x00\r\n"


@pytest.mark.parametrize("mine", [b'{"theirs": 1}', b"[1]", b"", b"\xff", b"[" * 100_000])
def test_a_file_in_the_place_of_the_map_is_kept(tmp_path: Path, mine: bytes) -> None:
    path = tmp_path / "keep.py"
    map_path(path).write_bytes(mine)
    with pytest.raises(OverwriteRefused, match=r"keep\.map\.json is not a source map"):
        write(generate(bank()), path)
    assert map_path(path).read_bytes() == mine
    assert not path.exists()
    write(generate(bank()), path, force=True)
    write(generate(transformer()), path)
    assert map_path(path).read_text() == generate(transformer()).map_text


def test_a_failed_write_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "model.py"
    write(generate(bank()), path)
    before = path.read_bytes()

    def fail(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="No space"):
        write(generate(transformer()), path)
    assert path.read_bytes() == before
    assert len(list(tmp_path.iterdir())) == 2


def test_only_python_files_are_written(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"does not end in \.py"):
        write(generate(bank()), tmp_path / "model.vit")


def test_the_header_says_what_it_was_made_from() -> None:
    spec, other = Source("/home/me/secret/a.vit", "model", "a"), Source("b.vit", "block", "b")
    text = generate(bank(), sources=(spec, other)).text
    assert "from a.vit: edit the spec" in text
    assert "/home" not in text
    assert "360 parameters" in text
    assert text != generate(bank(), sources=(spec,)).text
    moved = Source("elsewhere/a.vit", "model", "a")
    assert text == generate(bank(), sources=(moved, other)).text


@pytest.mark.parametrize("name", ["my first.vit", "a: b.vit", "a\nb.vit"])
def test_a_file_of_any_name_can_be_replaced(name: str) -> None:
    text = generate(bank(), sources=(Source(name, "model", "a"),)).text
    assert is_untouched(text)
    assert text.split("\n")[0].endswith("edit the spec, not this file.")


def test_two_processes_write_the_same_bytes() -> None:
    program = (
        "from tests.codegen.samples import SAMPLES\n"
        "from linvit_codegen import generate\n"
        "import hashlib\n"
        "made = [generate(build()) for build in SAMPLES.values()]\n"
        "print(hashlib.sha256(repr([(g.text, g.map_text) for g in made]).encode()).hexdigest())\n"
    )
    found = set()
    for seed in ("0", "1", "4"):
        path = os.pathsep.join(str(ROOT / folder) for folder in (".", "codegen", "runtime"))
        environment = os.environ | {"PYTHONHASHSEED": seed, "PYTHONPATH": path}
        done = subprocess.run(
            [sys.executable, "-c", program],
            env=environment,
            capture_output=True,
            text=True,
            check=True,
        )
        found.add(done.stdout)
    assert len(found) == 1


def test_generating_loads_no_torch() -> None:
    program = (
        "import sys\n"
        "from tests.codegen.samples import transformer\n"
        "from linvit_codegen import generate\n"
        "generate(transformer())\n"
        "print(*sorted({'torch', 'numba', 'networkx'} & sys.modules.keys()))\n"
    )
    path = os.pathsep.join(str(ROOT / folder) for folder in (".", "codegen", "runtime"))
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=os.environ | {"PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == []
