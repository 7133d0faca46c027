"""Arguments that several verbs share: the spec with its overrides, and the output format."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from linvit_dsl.cli.failures import UsageProblem

if TYPE_CHECKING:
    from linvit_dsl.check import Model, Program
    from linvit_runtime.data import DataSet


def add_spec(parser: argparse.ArgumentParser, *, overrides: str = "static parameter") -> None:
    """Add SPEC and `--set`."""
    parser.add_argument(
        "spec",
        metavar="SPEC[:MODEL]",
        help="a .vit file, or a shipped spec such as ripplevit; without MODEL its first model",
    )
    add_overrides(parser, overrides)


def add_overrides(parser: argparse.ArgumentParser, overrides: str) -> None:
    """Add `--set`; `overrides` is what it overrides."""
    parser.add_argument(
        "--set",
        metavar="NAME=VALUE",
        type=_assignment,
        action="extend",
        nargs="+",
        default=[],
        help=f"give a {overrides} another value, written as in the spec; repeatable",
    )


def add_format(parser: argparse.ArgumentParser) -> None:
    """Add `--format`."""
    parser.add_argument(
        "--format",
        metavar="FORMAT",
        choices=("human", "json"),
        default="human",
        help="human (default) or json",
    )


def add_run_options(parser: argparse.ArgumentParser) -> None:
    """Add `--data` and `--device`."""
    parser.add_argument(
        "--data",
        metavar="NAME|DIR",
        help="another data set than the recipe's, or the folder with the files of that one",
    )
    parser.add_argument(
        "--device",
        metavar="DEVICE",
        choices=("auto", "cpu", "cuda"),
        default="auto",
        help="auto (default: CUDA if there is one), cpu or cuda",
    )


def data_source(text: str | None) -> tuple[str | None, Path | None]:
    """What `--data` means: the name of a data set, or a folder.

    Raises:
        UsageProblem: It is neither.
    """
    from linvit_dsl.errors.suggest import nearest
    from linvit_runtime.data import DATA_SETS

    if text is None or text in DATA_SETS:
        return text, None
    if Path(text).is_dir():
        return None, Path(text)
    near = nearest(text, DATA_SETS)
    hint = f"did you mean `{near}`?" if near else f"data sets: {', '.join(DATA_SETS)}"
    raise UsageProblem(f"--data `{text}` is no data set and no folder; {hint}")


def load_data(name: str, folder: Path | None, size: int | None = None) -> DataSet:
    """The data set of that name, from `folder` if one is given, its images scaled to `size`.

    Raises:
        UsageProblem: It comes with linvit, and no folder can replace it.
        DataProblem: Its files are absent or damaged.
    """
    from linvit_runtime.data import load

    if name == "digits" and folder is not None:
        raise UsageProblem(f"the digits come with linvit; --data {folder} cannot replace them")
    return replace(load(name, folder), size=size)


def _assignment(word: str) -> tuple[str, str]:
    name, _, value = (part.strip() for part in word.partition("="))
    if not (name and value):
        raise argparse.ArgumentTypeError(
            f"`{word}` is not NAME=VALUE; the spec stands before --set"
        )
    return name, value


def settings(pairs: list[tuple[str, str]]) -> dict[str, str]:
    """What `--set` was given, by name.

    Raises:
        UsageProblem: A name comes twice.
    """
    found: dict[str, str] = {}
    for name, value in pairs:
        if name in found:
            raise UsageProblem(f"--set gives `{name}` twice: {found[name]} and {value}")
        found[name] = value
    return found


def open_spec(text: str) -> tuple[Program, str | None]:
    """The program that SPEC[:MODEL] names, and the model.

    Raises:
        UsageProblem: Neither a file nor a shipped spec.
        SpecError: The file cannot be read.
    """
    from linvit_dsl.check import SpecNotFound, find_spec, open_program

    try:
        path, model = find_spec(text)
    except SpecNotFound as problem:
        raise UsageProblem(str(problem)) from problem
    return open_program(path), model


def load_model(text: str, overrides: Mapping[str, str]) -> Model:
    """The checked model that SPEC[:MODEL] names; its warnings go to standard error.

    Raises:
        UsageProblem: Neither a file nor a shipped spec.
        SpecError: The spec is rejected.
    """
    from linvit_dsl.check import elaborate
    from linvit_dsl.cli.output import show

    program, name = open_spec(text)
    model = elaborate(program, name, overrides)
    show(model.warnings, stream=sys.stderr)
    return model
