"""`linvit cost`: what a model costs, without building it."""

from __future__ import annotations

import argparse

from linvit_dsl.cli.arguments import add_format, add_spec, load_model, settings
from linvit_dsl.cli.cost_kernels import add_kernel_options, refuse_kernel_options, show_kernels
from linvit_dsl.cli.failures import UsageProblem

EXAMPLES = """\
examples:
  linvit cost ripplevit                      every part of the model, for one image
  linvit cost my.vit:Small --depth 2 --batch 128
  linvit cost ripplevit --set image=64 --advice
  linvit cost ripplevit --kernels --arch sm_90 --batch 128

Counted from the spec, without torch: trained numbers, multiply-adds (1 MAC =
2 FLOP), and the bytes that backward keeps in float32.
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    parser.epilog = EXAMPLES
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    add_spec(parser)
    parser.add_argument(
        "--batch", metavar="N", type=int, default=1, help="images that are computed at once (1)"
    )
    parser.add_argument(
        "--depth", metavar="N", type=int, help="levels of the tree to show (default: all)"
    )
    parser.add_argument(
        "--advice",
        action="store_true",
        help="say where linear attention has so few tokens that scores would be cheaper",
    )
    add_kernel_options(parser)
    add_format(parser)
    parser.set_defaults(handler=run)


def run(options: argparse.Namespace) -> int:
    """Print the cost tree."""
    from linvit_dsl.cli.output import show_json
    from linvit_dsl.graph.advice import advice
    from linvit_dsl.graph.cost import cost
    from linvit_dsl.graph.cost_table import render_cost

    for name in ("batch", "depth"):
        value = getattr(options, name)
        if value is not None and value < 1:
            raise UsageProblem(f"--{name} must be at least 1, not {value}")
    if options.kernels:
        return show_kernels(options)
    refuse_kernel_options(options)
    graph = load_model(options.spec, settings(options.set)).graph
    if options.advice:
        _advise(tuple(advice(graph)), options.format)
        return 0
    costs = cost(graph, options.batch)
    if options.format == "json":
        show_json(costs.to_json())
    else:
        print(render_cost(costs, depth=options.depth), end="")
    return 0


def _advise(sentences: tuple[str, ...], format_: str) -> None:
    """Print the advice, also that there is none: silence could be taken for a failure."""
    from linvit_dsl.cli.output import show_json

    if format_ == "json":
        show_json(sentences)
    else:
        nothing = ("no linear attention here would be cheaper by scores",)
        print("\n".join(sentences or nothing))
