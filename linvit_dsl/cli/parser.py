"""The command line as a whole: its verbs, and what it says to a word that is none."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from typing import NoReturn

from linvit_dsl import __version__
from linvit_dsl.cli import (
    check,
    cost,
    diff,
    doctor,
    explain,
    export,
    fmt,
    kernels,
    list_specs,
    new,
    render,
    train,
)
from linvit_dsl.cli import compile as compile_verb
from linvit_dsl.cli import eval as eval_verb
from linvit_dsl.cli.failures import UsageProblem
from linvit_dsl.errors.suggest import nearest

Configure = Callable[[argparse.ArgumentParser], None]

VERBS: dict[str, tuple[str, str, Configure]] = {
    "check": ("SPEC ...", "say everything that is wrong with a spec", check.configure),
    "explain": ("CODE", "say what the code of an error means", explain.configure),
    "new": ("NAME", "write a spec to start from", new.configure),
    "fmt": ("FILE ...", "write files in the layout of the language", fmt.configure),
    "list": ("[SPEC ...]", "list the shipped specs with their true costs", list_specs.configure),
    "cost": ("SPEC[:MODEL]", "count parameters, multiply-adds and memory", cost.configure),
    "diff": ("A[:MODEL] B[:MODEL]", "compare two models, part by part", diff.configure),
    "compile": ("SPEC[:MODEL]", "write the PyTorch module of a model", compile_verb.configure),
    "render": ("SPEC[:MODEL] -o FILE", "draw a model", render.configure),
    "train": ("SPEC[:MODEL]", "train a model by its recipe", train.configure),
    "eval": ("RUN|FILE", "measure a trained model", eval_verb.configure),
    "export": ("SPEC[:MODEL] -o FILE", "write a model for other programs", export.configure),
    "kernels": ("ACTION ...", "compile CUDA kernels ahead, or verify them", kernels.configure),
    "doctor": ("", "say what runs linear attention on this machine", doctor.configure),
}


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UsageProblem(f"{message}\n  help: {self.prog} --help")


def parse(words: Sequence[str]) -> argparse.Namespace:
    """What the words ask for; `handler` of the result, given it, does that and returns a code.

    Raises:
        UsageProblem: They make no sense.
        SystemExit: They asked for help or the version, which was printed.
    """
    verb = next((word for word in words if not word.startswith("-")), None)
    if verb is not None and verb not in VERBS:
        near = nearest(verb, VERBS)
        hint = f"did you mean `{near}`?" if near else f"verbs: {', '.join(VERBS)}"
        raise UsageProblem(f"no verb `{verb}`; {hint}")
    return build_parser().parse_args(words)


def build_parser() -> argparse.ArgumentParser:
    """The parser of all verbs."""
    parser = _Parser(
        prog="linvit",
        usage="linvit VERB ...",
        description="Vision Transformers with cheap attention, from text to trained model.",
        epilog="`linvit VERB --help` tells more about a verb.",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"linvit {__version__}")
    verbs = parser.add_subparsers(title="verbs", metavar="VERB", dest="verb", required=True)
    for name, (arguments, purpose, configure) in VERBS.items():
        verb = verbs.add_parser(
            name,
            prog=f"linvit {name}",
            usage=" ".join(filter(None, ("linvit", name, arguments, "[OPTIONS]"))),
            help=purpose,
            description=f"{purpose[0].upper()}{purpose[1:]}.",
            allow_abbrev=False,
        )
        configure(verb)
        # The traceback of an internal error on the screen instead of in a file.
        verb.add_argument("--debug", action="store_true", help=argparse.SUPPRESS)
    return parser
