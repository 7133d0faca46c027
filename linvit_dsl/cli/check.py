"""`linvit check`: everything that is wrong with a spec."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from linvit_dsl.cli.arguments import add_format, add_overrides, open_spec, settings
from linvit_dsl.cli.failures import REJECTED, UsageProblem

if TYPE_CHECKING:
    from linvit_dsl.errors import Diagnostic
    from linvit_dsl.errors.render import Omitted

    Findings = tuple[Sequence[Diagnostic], Omitted]


EXAMPLES = """\
examples:
  linvit check my.vit                everything that is wrong with the file
  linvit check my.vit --fix --diff   what the certain fixes would change
  linvit check my.vit:Small --set heads=3
  linvit check my.vit --watch        again after every change, until Ctrl-C

Exit code 1 if there is an error; warnings alone give 0. `linvit explain CODE`
tells more about one.
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    parser.epilog = EXAMPLES
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument(
        "specs",
        metavar="SPEC[:MODEL]",
        nargs="+",
        help="a .vit file, or the name of a shipped spec; without MODEL all of its models",
    )
    parser.add_argument(
        "--fix",
        action="store_true",
        help="apply the fixes that are certain to the files themselves, then check again",
    )
    parser.add_argument(
        "--diff", action="store_true", help="with --fix: print the changes, write nothing"
    )
    parser.add_argument(
        "--definitions",
        action="store_true",
        help="list the blocks of each file, and whether their bodies fit them for every size",
    )
    parser.add_argument(
        "--watch",
        action="store_true",
        help="check again whenever the file or one that it imports changes, until Ctrl-C",
    )
    add_overrides(parser, "static parameter")
    add_format(parser)
    parser.set_defaults(handler=run)


def run(options: argparse.Namespace) -> int:
    """Print all findings, with `--watch` again and again; 1 if one of them is an error."""
    if not options.watch:
        return _check(options)
    from linvit_dsl.cli.watch import files_of, roots_of, watch

    if options.fix or options.format == "json":
        raise UsageProblem("--watch shows findings to a person: leave --fix and --format json out")
    settings(options.set)
    roots = roots_of(options.specs)
    watch(lambda: _check(options), lambda: files_of(roots))
    return 0


def _check(options: argparse.Namespace) -> int:
    from linvit_dsl.cli.output import show, show_json
    from linvit_dsl.errors.render import NOTHING, summary, to_json

    overrides = settings(options.set)
    if options.diff and not options.fix:
        raise UsageProblem("--diff shows what --fix would change: give both")
    if options.fix and overrides:
        raise UsageProblem("--fix changes a file for all values of its parameters: leave --set out")
    if options.diff and options.format == "json":
        raise UsageProblem("--diff prints a diff: leave --format json out")
    if options.definitions and (options.fix or overrides):
        other = "--fix" if options.fix else "--set"
        raise UsageProblem(
            f"--definitions is about all sizes and writes nothing: leave {other} out"
        )
    if options.definitions:
        return _definitions(options.specs, options.format)
    found: list[Diagnostic] = []
    omitted = NOTHING
    for text in options.specs:
        if options.fix:
            shown, more = _fixed(text, diff=options.diff)
        else:
            shown, more = _findings(text, overrides)
        found += shown
        omitted += more
    if options.diff:
        pass  # The changes are all that is printed.
    elif options.format == "json":
        show_json([to_json(diagnostic) for diagnostic in found])
    elif found:
        show(found, stream=sys.stdout, omitted=omitted)
    else:
        print(f"{', '.join(options.specs)}: {summary(found)}")
    return REJECTED if any(diagnostic.severity == "error" for diagnostic in found) else 0


def _fixed(text: str, *, diff: bool) -> Findings:
    from linvit_dsl.cli.fix import fix

    return fix(text, diff=diff)


def _findings(text: str, overrides: dict[str, str]) -> Findings:
    from linvit_dsl.check import elaborate, examine
    from linvit_dsl.errors import LinvitError
    from linvit_dsl.errors.render import NOTHING

    try:
        program, model = open_spec(text)
        if not overrides:
            examined = examine(program, model)
            return examined.diagnostics, examined.omitted
        return elaborate(program, model, overrides).warnings, NOTHING
    except LinvitError as error:
        return error.diagnostics, NOTHING


def _definitions(specs: list[str], format_: str) -> int:
    """Print a verdict for every block of the files; 1 if one of them is refuted."""
    from linvit_dsl.check.definitions import check_definitions
    from linvit_dsl.cli.output import show_json

    programs = [open_spec(text)[0] for text in specs]
    rows = [(p.root.source.name, d) for p in programs for d in check_definitions(p, p.root)]
    if format_ == "json":
        show_json(
            [
                {"file": file, "block": d.block, "verdict": d.verdict, "reason": d.reason}
                for file, d in rows
            ]
        )
    else:
        width = max((len(d.block) for _, d in rows), default=0)
        for _, definition in rows:
            print(f"{definition.block:<{width}}  {definition.verdict:<7}  {definition.reason}")
    return REJECTED if any(d.verdict == "refuted" for _, d in rows) else 0
