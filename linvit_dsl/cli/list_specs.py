"""`linvit list`: the shipped specs with their true costs, or the blocks of the standard library."""

from __future__ import annotations

import argparse
import re
import shutil
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from linvit_dsl.cli.arguments import add_format
from linvit_dsl.cli.failures import REJECTED, UsageProblem

if TYPE_CHECKING:
    from linvit_dsl.check import Program
    from linvit_dsl.syntax import ast

EXAMPLES = """\
examples:
  linvit list                      every model of every shipped spec
  linvit list ripplevit swin       those of two specs
  linvit list --library            what `from std...` can import
  linvit list --format json

Costs are those of one image, counted from the spec, not copied from a paper:
trained numbers, multiply-adds (1 MAC = 2 FLOP), and the bytes that backward
keeps in float32.
"""


@dataclass(frozen=True, slots=True)
class _Row:
    """One model: costs at batch 1, `input` without the batch."""

    spec: str
    model: str
    input: tuple[int, ...]
    params: int
    macs: int
    flops: int
    activation_bytes: int
    doc: str


@dataclass(frozen=True, slots=True)
class _Block:
    """One block of the library: how it is imported, its static parameters, and its doc."""

    module: str
    name: str
    statics: tuple[str, ...]
    doc: str


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    parser.epilog = EXAMPLES
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument(
        "specs", metavar="SPEC", nargs="*", help="names of shipped specs (default: all)"
    )
    parser.add_argument(
        "--library", action="store_true", help="list the blocks of the standard library instead"
    )
    add_format(parser)
    parser.set_defaults(handler=run)


def run(options: argparse.Namespace) -> int:
    """Print one line per model, or per block."""
    from linvit_dsl.cli.output import show, show_json
    from linvit_dsl.errors import LinvitError

    if options.library:
        if options.specs:
            raise UsageProblem("--library lists the standard library; it takes no spec")
        blocks = list(_library())
        if options.format == "json":
            show_json([asdict(block) for block in blocks])
        else:
            _print_blocks(blocks)
        return 0
    rows: list[_Row] = []
    failed = False
    for spec in _chosen(options.specs):
        try:
            rows += _rows(spec)
        except LinvitError as error:
            show(error.diagnostics, stream=sys.stderr)
            failed = True
    if options.format == "json":
        show_json([asdict(row) for row in rows])
    else:
        _print_rows(rows)
    return REJECTED if failed else 0


def _chosen(names: Sequence[str]) -> Sequence[str]:
    """The shipped specs that are asked for, in the order of the names.

    Raises:
        UsageProblem: One is none of them.
    """
    from linvit_dsl.check import shipped_specs
    from linvit_dsl.errors.suggest import nearest

    shipped = shipped_specs()
    for name in names:
        if name not in shipped:
            near = nearest(name, shipped)
            hint = f"did you mean `{near}`?" if near else "for a file of yours: linvit cost FILE"
            raise UsageProblem(f"no shipped spec is called `{name}`; {hint}")
    return tuple(dict.fromkeys(names)) or shipped


def _rows(spec: str) -> Iterator[_Row]:
    from linvit_dsl.check import elaborate, open_program, specs_root
    from linvit_dsl.graph.cost import cost

    program = open_program(specs_root() / f"{spec}.vit")
    for name in program.models:
        graph = elaborate(program, name).graph
        costs = cost(graph)
        yield _Row(
            spec=spec,
            model=name,
            input=tuple(size for size in graph.inputs[0].type.sizes[1:] if isinstance(size, int)),
            params=costs.params,
            macs=costs.macs,
            flops=costs.flops,
            activation_bytes=costs.activation_bytes,
            doc=_doc_of(program, name),
        )


def _doc_of(program: Program, model: str) -> str:
    """The first sentence about a model: its own, or that of the file about the first one."""
    from linvit_dsl.syntax import ast

    for item in program.root.file.items:
        if isinstance(item, ast.Block | ast.Alias) and item.name.name == model and item.doc:
            return _first_sentence(item.doc)
    header = re.match(r"(?:#(?!#).*\n)*", program.root.source.text)
    if model != program.models[0] or header is None:
        return ""
    return _first_sentence(re.sub(r"^#\s?", "", header.group(), flags=re.MULTILINE))


def _first_sentence(text: str) -> str:
    line = " ".join(text.split())
    found = re.match(r".*?\.(?=\s|$)", line)
    return (found.group() if found else line).rstrip(".")


def _library() -> Iterator[_Block]:
    from linvit_dsl.check.files import STANDARD_LIBRARY
    from linvit_dsl.syntax import ast, parse, read_source

    for path in sorted(STANDARD_LIBRARY.glob("*.vit")):
        for item in parse(read_source(path)).file.items:
            if isinstance(item, ast.Block):
                statics = tuple(_static(parameter) for parameter in item.statics)
                doc = _first_sentence(item.doc)
                yield _Block(f"std.{path.stem}", item.name.name, statics, doc)


def _static(parameter: ast.StaticParameter) -> str:
    return " ".join(parameter.span.text.split())


def _print_rows(rows: Sequence[_Row]) -> None:
    from linvit_dsl.cli.table import table
    from linvit_dsl.graph.cost_table import bytes_text, shape_text

    headings = ("model", "input", "params", "MACs", "kept", "what it is")
    cells = [
        (
            f"{row.spec}:{row.model}",
            shape_text(row.input),
            f"{row.params:,}",
            f"{row.macs:,}",
            bytes_text(row.activation_bytes),
            row.doc,
        )
        for row in rows
    ]
    left = (True, False, False, False, False, True)
    print(table(headings, cells, left, _terminal_width()), end="")


def _print_blocks(blocks: Sequence[_Block]) -> None:
    from linvit_dsl.cli.table import table

    cells = [(block.module, block.name, block.doc) for block in blocks]
    print(table(("module", "block", "what it is"), cells, (True,) * 3, _terminal_width()), end="")


def _terminal_width() -> int | None:
    """The columns of the screen; None where the output goes elsewhere, and is never cut."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None
