"""`linvit train`: a model, trained by the recipe of its spec."""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from linvit_dsl.cli.arguments import (
    add_run_options,
    add_spec,
    data_source,
    load_data,
    load_model,
    settings,
)
from linvit_dsl.cli.failures import UsageProblem

if TYPE_CHECKING:
    from linvit_dsl.check import Model
    from linvit_dsl.errors import Span
    from linvit_runtime.train import Result, Run

RUNS = Path("runs")


EXAMPLES = """\
examples:
  linvit train my.vit:SmallDigits               by the recipe of its `train` line
  linvit train my.vit --set optimizer.lr=1e-3 stages=2 --epochs 5
  linvit train my.vit --run runs/a --resume auto
  torchrun --nproc-per-node 2 -m linvit_dsl -- train my.vit --run runs/b

A run ended by Ctrl-C or SIGTERM is saved, and goes on with --resume. Exit code 3
if the loss is no number any more.
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    parser.epilog = EXAMPLES
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    add_spec(parser, overrides="static parameter (stages=2) or recipe field (optimizer.lr=1e-3)")
    parser.add_argument(
        "--run", metavar="DIR", type=Path, help="the run folder (default: in runs/, by content)"
    )
    parser.add_argument(
        "--resume",
        metavar="auto|DIR",
        help="go on from the newest checkpoint: if there is one (auto), or of that run folder",
    )
    parser.add_argument("--seed", metavar="N", help="the recipe's seed")
    parser.add_argument("--epochs", metavar="N", help="the recipe's number of epochs")
    parser.add_argument(
        "--steps", metavar="N", type=int, help="stop, saved and resumable, after N steps in all"
    )
    add_run_options(parser)
    parser.set_defaults(handler=run)


def run(options: argparse.Namespace) -> int:
    """Train, and say what was reached and where it is recorded."""
    if options.steps is not None and options.steps < 1:
        raise UsageProblem(f"--steps must be at least 1, not {options.steps}")
    request = prepare(options)
    from linvit_runtime.train import Stopped, is_main_process, train

    main = is_main_process()
    if main:
        print(f"run folder {request.directory}", flush=True)
    try:
        result = train(request)
    except Stopped as stopped:
        if main:
            print(f"linvit: {stopped}\n  help: add --resume {request.directory}", file=sys.stderr)
        return stopped.exit_code
    if main:
        _report(result)
    return 0


def prepare(options: argparse.Namespace) -> Run:
    """The run that the options describe.

    Raises:
        UsageProblem: They contradict each other.
        SpecError: The model or its recipe is rejected.
        DataProblem: The data are absent or damaged.
    """
    statics, fields = _overrides(options)
    model = load_model(options.spec, statics)
    from linvit_codegen import generate
    from linvit_dsl.check import classifier, recipe_for
    from linvit_runtime.train import MODULE, Run, build_model, run_directory

    program = model.program
    data, folder = data_source(options.data)
    recipe = recipe_for(program, model.name, fields, data)
    trained = classifier(model.graph, _train_line(model))
    generated = generate(model.graph, sources=program.sources)
    directory, resume = _place(options)
    request = Run(
        name=_title(model.name, statics),
        build_model=partial(build_model, directory or RUNS),
        recipe=recipe,
        data=load_data(recipe.data.name, folder, recipe.data.resize),
        directory=directory or RUNS,
        files={
            "spec.vit": program.root.source.text,
            MODULE: generated.text,
            "model.map.json": generated.map_text,
        },
        image_shape=trained.image,
        classes=trained.classes,
        device=options.device,
        resume=resume,
        stop_after=options.steps,
    )
    if directory is None:
        directory = run_directory(RUNS, model.name.lower(), request.id, recipe.data.name)
        build = partial(build_model, directory)
        request = replace(request, directory=directory, build_model=build)
    return request


def _overrides(options: argparse.Namespace) -> tuple[dict[str, str], dict[str, str]]:
    """Static parameters and recipe fields among the overrides: a field's name tells it."""
    from linvit_dsl.check.recipe import Recipe

    statics: dict[str, str] = {}
    fields: dict[str, str] = {}
    for name, value in settings(options.set).items():
        is_field = name.partition(".")[0] in Recipe.model_fields
        (fields if is_field else statics)[name] = value
    for field, value in (("seed", options.seed), ("schedule.epochs", options.epochs)):
        if value is not None:
            if field in fields:
                raise UsageProblem(f"`{field}` is given twice: {fields[field]} and {value}")
            fields[field] = value
    return statics, fields


def _place(options: argparse.Namespace) -> tuple[Path | None, Literal["auto", "must", "never"]]:
    """The run folder if one is named, and whether to go on from a checkpoint in it."""
    if options.resume in (None, "auto"):
        return options.run, "auto" if options.resume else "never"
    if options.run is not None:
        raise UsageProblem("--run and --resume both name a folder; one of them is enough")
    return Path(options.resume), "must"


def _title(name: str, statics: dict[str, str]) -> str:
    """The model with its overrides, as the language writes it: `RippleViT[stages = 2]`."""
    given = ", ".join(f"{name} = {value}" for name, value in sorted(statics.items()))
    return f"{name}[{given}]" if given else name


def _train_line(model: Model) -> Span:
    """Where the file says that the model is trained, which it does if it has a recipe."""
    from linvit_dsl.syntax import ast

    return model.program.items(ast.Train)[model.name].span


def _report(result: Result) -> None:
    if result.best:
        print(f"best test top-1 {100 * result.best.top1:.2f} % after step {result.best_step:,}")
    end = "finished" if result.finished else "stopped, resumable,"
    last = "test" if result.finished else "last test"  # which is older than the last step
    parts = [f"{end} after step {result.step:,} in {result.seconds:.1f} s"]
    if result.last:
        parts.append(f"{last} top-1 {100 * result.last.top1:.2f} %, loss {result.last.loss:.4f}")
    print("; ".join(parts))
