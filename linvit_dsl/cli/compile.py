"""`linvit compile`: the PyTorch module of a model, as a file."""

from __future__ import annotations

import argparse
from pathlib import Path

from linvit_dsl.cli.arguments import add_spec, load_model, settings
from linvit_dsl.cli.failures import UsageProblem, writing


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    add_spec(parser)
    parser.add_argument(
        "-o", metavar="FILE", type=Path, help="where to write (default: named after the model)"
    )
    parser.add_argument(
        "--force", action="store_true", help="overwrite a file that was edited by hand"
    )
    parser.add_argument("--stdout", action="store_true", help="print the module, write no file")
    parser.set_defaults(handler=run)


def run(options: argparse.Namespace) -> int:
    """Write the module, or print it."""
    from linvit_codegen import OverwriteRefused, generate, write

    if options.stdout and options.o:
        raise UsageProblem("--stdout and -o exclude each other")
    if options.o and options.o.suffix != ".py":
        raise UsageProblem(f"-o takes a file that ends in .py, not {options.o}")
    model = load_model(options.spec, settings(options.set))
    generated = generate(model.graph, sources=model.program.sources)
    if options.stdout:
        print(generated.text, end="")
        return 0
    path = options.o or Path(f"{file_stem(model.name)}.py")
    try:
        with writing(path):
            write(generated, path, force=options.force)
    except OverwriteRefused as refusal:
        raise UsageProblem(f"{refusal} with --force") from refusal
    print(f"wrote {path}")
    return 0


def file_stem(model: str) -> str:
    """The name of a file about a model: `RippleViT` -> `ripplevit`, `φNet'` -> `_net_`."""
    return "".join(char if char.isascii() and char.isalnum() else "_" for char in model).lower()
