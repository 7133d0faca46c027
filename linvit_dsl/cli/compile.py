"""`linvit compile`: the PyTorch module of a model, as a file."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from linvit_dsl.cli.arguments import add_spec, load_model, settings
from linvit_dsl.cli.failures import REJECTED, UsageProblem, writing

if TYPE_CHECKING:
    from linvit_codegen import Generated


EXAMPLES = """\
examples:
  linvit compile my.vit:Small              small.py, a module to import and read
  linvit compile my.vit -o net.py --standalone
  linvit compile my.vit --check            is the file on the disk up to date?
  linvit compile ripplevit --set stages=2 --stdout

A file that was edited by hand is not overwritten without --force.
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    parser.epilog = EXAMPLES
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    add_spec(parser)
    parser.add_argument(
        "-o", metavar="FILE", type=Path, help="where to write (default: named after the model)"
    )
    parser.add_argument(
        "--force", action="store_true", help="overwrite a file that was edited by hand"
    )
    parser.add_argument("--stdout", action="store_true", help="print the module, write no file")
    parser.add_argument(
        "-O",
        metavar="LEVEL",
        dest="level",
        type=int,
        choices=(0, 1, 2),
        default=1,
        help="-O0 writes what the text says, -O1 (default) what computes the same with less,"
        " -O2 also what pays on some machines only; checkpoints fit at every level",
    )
    parser.add_argument(
        "--standalone",
        action="store_true",
        help="write one file that needs torch only: no kernels, no notes on errors",
    )
    parser.add_argument(
        "--check",
        action="store_true",
        help="write nothing; exit 1 if the file is not what would be written now",
    )
    parser.set_defaults(handler=run)


def run(options: argparse.Namespace) -> int:
    """Write the module, or print it."""
    from linvit_codegen import Options, OverwriteRefused, generate, write

    if options.stdout and (options.o or options.check):
        other = "-o" if options.o else "--check"
        raise UsageProblem(f"--stdout and {other} exclude each other")
    if options.check and options.force:
        raise UsageProblem("--check writes nothing, so there is nothing to --force")
    if options.o and options.o.suffix != ".py":
        raise UsageProblem(f"-o takes a file that ends in .py, not {options.o}")
    model = load_model(options.spec, settings(options.set))
    how = Options(level=options.level, standalone=options.standalone, validated=options.debug)
    generated = generate(model.graph, sources=model.program.sources, options=how)
    if options.stdout:
        print(generated.text, end="")
        return 0
    path = options.o or Path(f"{file_stem(model.name)}.py")
    if options.check:
        return check(generated, path)
    try:
        with writing(path):
            write(generated, path, force=options.force)
    except OverwriteRefused as refusal:
        raise UsageProblem(f"{refusal} with --force") from refusal
    print(f"wrote {path}")
    return 0


def check(generated: Generated, path: Path) -> int:
    """Say whether the file is what would be written now; the exit code."""
    from linvit_codegen import staleness

    try:
        reasons = staleness(generated, path)
    except OSError as error:
        raise UsageProblem(f"cannot read {path}: {error.strerror or error}") from error
    if not reasons:
        print(f"{path} is up to date")
        return 0
    print(f"{path} is not what `linvit compile` writes now:", file=sys.stderr)
    for reason in reasons:
        print(f"  {reason}", file=sys.stderr)
    print(
        "  help: run the same command without --check (an edited file needs --force)",
        file=sys.stderr,
    )
    return REJECTED


def file_stem(model: str) -> str:
    """The name of a file about a model: `RippleViT` -> `ripplevit`, `φNet'` -> `_net_`."""
    return "".join(char if char.isascii() and char.isalnum() else "_" for char in model).lower()
