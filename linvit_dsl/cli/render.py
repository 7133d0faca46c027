"""`linvit render`: a picture of a model."""

from __future__ import annotations

import argparse
from pathlib import Path

from linvit_dsl.cli.arguments import add_spec, load_model, settings
from linvit_dsl.cli.failures import writing

EXAMPLES = """\
examples:
  linvit render my.vit -o my.svg               two levels of blocks
  linvit render ripplevit -o ripple.pdf --detail 3 --costs
  linvit render my.vit:Small -o small.mmd      Mermaid, for a README

Labels are those of the spec, and the keys of checkpoints.
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    parser.epilog = EXAMPLES
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    add_spec(parser)
    parser.add_argument(
        "-o",
        metavar="FILE",
        type=Path,
        required=True,
        help="where to draw; its ending chooses the format: .svg .png .pdf .dot .mmd .txt",
    )
    parser.add_argument(
        "--detail",
        metavar="N|all",
        type=_levels,
        default=2,
        help="levels of blocks to open (default: 2)",
    )
    parser.add_argument("--costs", action="store_true", help="write the costs into the boxes")
    parser.add_argument("--dark", action="store_true", help="light lines on dark ground")
    parser.set_defaults(handler=run)


def run(options: argparse.Namespace) -> int:
    """Draw the model."""
    from linvit_runtime.draw import render

    model = load_model(options.spec, settings(options.set))
    theme = "dark" if options.dark else "light"
    with writing(options.o):
        render(model.graph, options.o, detail=options.detail, costs=options.costs, theme=theme)
    print(f"wrote {options.o}")
    return 0


def _levels(text: str) -> int | None:
    if text == "all":
        return None
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"`{text}` is neither a number of levels nor `all`")
    return int(text)
