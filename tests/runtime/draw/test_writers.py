"""Pictures as text and as files."""

import os
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ET
from collections.abc import Callable
from pathlib import Path

import pytest

from linvit_runtime.draw import (
    Arrow,
    Box,
    DrawProblem,
    Frame,
    MissingTool,
    Picture,
    check_output,
    picture,
    render,
    to_dot,
    to_mermaid,
    to_text,
)
from tests.conftest import Golden
from tests.dsl.graph.build import model

needs_dot = pytest.mark.skipif(shutil.which("dot") is None, reason="needs Graphviz's `dot`")
ROOT = Path(__file__).parents[3]
HOSTILE = [
    'a"]; b [label="c',
    "<b>&amp;</b>",
    "\\N \\\\",
    "ends in \\",
    "new\nline\x00\x1b[31m",
    "--> ]:::x",
    "日本 φ d'",
]


def hostile(text: str) -> Picture:
    box = Box(f"box {text}", "block", text, (text,), "linear", text, 1, 2, 3, f"{text}:1")
    frame = Frame(f"frame {text}", text, (box,), 12, 1, 2, f"{text}:1")
    end = Box("out", "output", text, (text,))
    return Picture(text, (frame, end), (Arrow(box.id, "out", "data", text),))


@pytest.mark.parametrize("write", [to_dot, to_text, to_mermaid])
def test_goldens(write: Callable[[Picture], str], golden: Golden) -> None:
    ending = {"to_dot": "dot", "to_text": "txt", "to_mermaid": "mmd"}[write.__name__]
    golden.check(f"draw/toy.{ending}", write(picture(model(12))))


def test_equal_bytes_whatever_the_hash_seed() -> None:
    code = (
        "from tests.dsl.graph.build import model\n"
        "from linvit_runtime.draw import picture, to_dot, to_mermaid, to_text\n"
        "drawn = picture(model(12))\n"
        "print(to_dot(drawn), to_text(drawn), to_mermaid(drawn))\n"
    )
    path = os.pathsep.join([str(ROOT), str(ROOT / "codegen"), str(ROOT / "runtime")])
    outputs = set()
    for seed in ("0", "1", "2"):
        environment = os.environ | {
            "PYTHONHASHSEED": seed,
            "PYTHONPATH": path,
            "PYTHONIOENCODING": "utf-8",
        }
        run = subprocess.run(
            [sys.executable, "-c", code], env=environment, capture_output=True, check=True
        )
        outputs.add(run.stdout)
    assert len(outputs) == 1


@needs_dot
@pytest.mark.parametrize("text", HOSTILE)
def test_no_label_can_break_out(text: str) -> None:
    """Graphviz reads the file, draws one box and one frame, and shows the text as it is."""
    import graphviz

    svg = graphviz.pipe("dot", "svg", to_dot(hostile(text)).encode(), quiet=True)
    root = ET.fromstring(svg)
    groups = [g.get("class", "-").split()[0] for g in root.iter("{http://www.w3.org/2000/svg}g")]
    assert (groups.count("node"), groups.count("cluster"), groups.count("edge")) == (2, 1, 1)
    shown = "".join(root.itertext()).replace("\xa0", " ")
    visible = "".join(c if c.isprintable() else "�" for c in text)
    assert visible in shown
    assert not list(root.iter("{http://www.w3.org/2000/svg}script"))


@pytest.mark.parametrize("text", HOSTILE)
def test_no_label_can_break_out_of_mermaid(text: str) -> None:
    lines = to_mermaid(hostile(text)).splitlines()
    assert len([line for line in lines if line.lstrip().startswith("subgraph")]) == 1
    assert all(line.count('"') in (0, 2) for line in lines)
    assert not any("-->" in line and "|" not in line for line in lines)


def test_control_a_label_that_is_not_escaped_breaks_out() -> None:
    """The sample would do harm: as bare text it closes its box and opens another."""
    assert '"' in HOSTILE[0]
    assert HOSTILE[0] not in to_dot(hostile(HOSTILE[0]))


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_colours_have_six_digits(theme: str) -> None:
    """Graphviz 2.43 reads `#fff` as unknown, and draws black."""
    import re

    colours = re.findall(r'"(#[0-9A-Fa-f]+)"', to_dot(picture(model(2)), theme=theme))
    assert colours
    assert all(len(colour) == 7 for colour in colours)


@needs_dot
@pytest.mark.parametrize(
    ("ending", "magic"), [(".svg", b"<?xml"), (".png", b"\x89PNG"), (".pdf", b"%PDF")]
)
def test_render_through_graphviz(ending: str, magic: bytes, tmp_path: Path) -> None:
    path = render(model(2), tmp_path / f"toy{ending}")
    assert path.read_bytes().startswith(magic)
    assert sorted(tmp_path.iterdir()) == [path]


@needs_dot
def test_the_spine_is_straight_and_the_residual_is_a_rail() -> None:
    """Boxes from input to output share one x; the rail has two corners at one other x."""
    import graphviz

    text = to_dot(picture(model(12)))
    plain = graphviz.pipe("dot", "plain", text.encode(), quiet=True).decode()
    places = {
        words[1].strip('"'): float(words[2])
        for words in map(str.split, plain.splitlines())
        if words[0] == "node" and not words[1].startswith('"spacer:')
    }
    rail = {x for name, x in places.items() if name.startswith("rail:")}
    spine = {x for name, x in places.items() if not name.startswith("rail:")}
    assert max(spine) - min(spine) < 0.02
    assert max(rail) - min(rail) < 0.02
    assert max(rail) < min(spine) - 0.4


@pytest.mark.parametrize("ending", [".dot", ".txt", ".mmd"])
def test_render_without_any_program(
    ending: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "")
    path = render(model(2), tmp_path / f"toy{ending}")
    assert path.read_text(encoding="utf-8")


@pytest.fixture
def no_graphviz(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine with neither `dot` nor the wheel that carries Graphviz."""
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr("linvit_runtime.draw.output.find_spec", lambda name: None)


@pytest.mark.parametrize("ending", [".svg", ".png", ".pdf", ".SVG"])
@pytest.mark.usefixtures("no_graphviz")
def test_without_graphviz_the_dot_file_is_written_and_the_remedy_told(
    ending: str, tmp_path: Path
) -> None:
    with pytest.raises(MissingTool) as caught:
        render(model(2), tmp_path / f"toy{ending}")
    problem = caught.value
    assert problem.exit_code == 2
    assert problem.written == tmp_path / "toy.dot"
    assert (tmp_path / "toy.dot").read_text(encoding="utf-8").startswith("digraph")
    assert f"Wrote {problem.written} instead" in problem.message
    assert "apt install graphviz" in problem.hint
    assert "brew install graphviz" in problem.hint
    assert "winget install" in problem.hint


@pytest.mark.usefixtures("no_graphviz")
def test_the_missing_program_is_found_out_before_any_work(tmp_path: Path) -> None:
    with pytest.raises(MissingTool, match="no `dot` on PATH"):
        check_output(tmp_path / "toy.svg")
    assert not list(tmp_path.iterdir())
    check_output(tmp_path / "toy.dot")


@pytest.mark.parametrize(
    ("ending", "magic"), [(".svg", b"<?xml"), (".png", b"\x89PNG"), (".pdf", b"%PDF")]
)
def test_the_wheel_draws_without_the_program(
    ending: str, magic: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("pygraphviz", reason="needs the extra `graphviz`")
    monkeypatch.setenv("PATH", "")
    assert render(model(2), tmp_path / f"toy{ending}").read_bytes().startswith(magic)


@pytest.mark.parametrize("name", ["toy.gif", "toy", "toy.svgz"])
def test_an_unknown_ending(name: str, tmp_path: Path) -> None:
    with pytest.raises(DrawProblem, match="no format of a picture") as caught:
        render(model(2), tmp_path / name)
    assert ".svg" in caught.value.hint
    assert not list(tmp_path.iterdir())


def test_an_unknown_theme(tmp_path: Path) -> None:
    with pytest.raises(DrawProblem, match="sepia") as caught:
        render(model(2), tmp_path / "toy.dot", theme="sepia")
    assert "light or dark" in caught.value.hint


def test_a_graphviz_that_fails_is_a_message(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "dot"
    program.write_text("#!/bin/sh\necho 'Format: \"png\" not recognized' >&2\nexit 1\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")
    with pytest.raises(DrawProblem, match='Format: "png" not recognized'):
        render(model(2), tmp_path / "toy.png")


def test_importing_the_package_is_cheap() -> None:
    code = (
        "import linvit_runtime.draw, sys\n"
        "assert not {'torch', 'numba', 'graphviz', 'networkx'} & set(sys.modules)"
    )
    path = os.pathsep.join([str(ROOT), str(ROOT / "codegen"), str(ROOT / "runtime")])
    environment = os.environ | {"PYTHONPATH": path}
    subprocess.run([sys.executable, "-c", code], env=environment, check=True)
