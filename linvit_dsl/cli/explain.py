"""`linvit explain`: the long text about a code."""

from __future__ import annotations

import argparse
from dataclasses import asdict

from linvit_dsl.cli.arguments import add_format
from linvit_dsl.cli.failures import UsageProblem


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    parser.add_argument("code", metavar="CODE", help="the code of an error or warning: E0301")
    add_format(parser)
    parser.set_defaults(handler=run)


def run(options: argparse.Namespace) -> int:
    """Print the entry of the catalogue."""
    from linvit_dsl.cli.output import show_json
    from linvit_dsl.errors.catalogue import catalogue
    from linvit_dsl.errors.explain import explain
    from linvit_dsl.errors.suggest import nearest

    entries = catalogue()
    entry = entries.get(options.code.upper())
    if entry is None:
        near = nearest(options.code, entries)
        hint = (
            f"did you mean {near}?" if near else f"codes run from {min(entries)} to {max(entries)}"
        )
        raise UsageProblem(f"no error has the code `{options.code}`; {hint}")
    if options.format == "json":
        show_json(asdict(entry))
    else:
        print(explain(entry))
    return 0
