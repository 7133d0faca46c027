"""`linvit render`: a picture of a model."""

from __future__ import annotations

import argparse
from pathlib import Path

from linvit_dsl.cli.arguments import add_spec, load_model, settings
from linvit_dsl.cli.failures import writing


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    add_spec(parser)
    parser.add_argument(
        "-o",
        metavar="FILE",
        type=Path,
        required=True,
        help="where to draw; its ending chooses the format: .svg, .png or .dot",
    )
    parser.set_defaults(handler=run)


def run(options: argparse.Namespace) -> int:
    """Draw the model."""
    from linvit_runtime.draw import render

    model = load_model(options.spec, settings(options.set))
    with writing(options.o):
        render(model.graph, options.o)
    print(f"wrote {options.o}")
    return 0
