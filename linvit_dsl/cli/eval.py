"""`linvit eval`: accuracy, loss and speed of a trained model."""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from linvit_dsl.cli.arguments import add_format, add_run_options, data_source, load_data
from linvit_dsl.cli.failures import UsageProblem
from linvit_dsl.errors import SpecError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import nn

    from linvit_runtime.data import DataSet
    from linvit_runtime.export import StoredModel

SAFETENSORS = ".safetensors"


@dataclass(frozen=True, slots=True)
class Trained:
    """A trained model, and the images to measure it on. `step` is that of a run's checkpoint."""

    name: str
    module: nn.Module
    data: DataSet
    precision: Literal["float32", "bfloat16"]
    step: int | None = None


EXAMPLES = """\
examples:
  linvit eval runs/a                          its best weights on the test images
  linvit eval runs/a --weights last --format json
  linvit eval small.safetensors --data digits

The model of a run folder is Python that is executed: evaluate runs that you
trust. A .safetensors file holds its spec as text, and runs nothing of its own.
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    parser.epilog = EXAMPLES
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument(
        "trained",
        metavar="RUN|FILE",
        type=Path,
        help="a run folder, whose model.py is executed, or a .safetensors file of `linvit export`",
    )
    parser.add_argument(
        "--weights",
        metavar="WHICH",
        choices=("best", "last"),
        help="of a run: of the best evaluation (default) or of the last checkpoint",
    )
    parser.add_argument(
        "--batch", metavar="N", type=int, default=256, help="images that are computed at once (256)"
    )
    add_run_options(parser)
    add_format(parser)
    parser.set_defaults(handler=run)


def run(options: argparse.Namespace) -> int:
    """Evaluate on the test split and print the result."""
    if options.batch < 1:
        raise UsageProblem(f"--batch must be at least 1, not {options.batch}")
    from linvit_dsl.cli.output import show_json
    from linvit_runtime.kernels.dispatch import recording
    from linvit_runtime.train import Dist, evaluate, kernels_record

    trained = _of_file(options) if options.trained.suffix == SAFETENSORS else _of_run(options)
    data = trained.data
    with Dist.from_env(options.device) as dist, recording() as used:
        model, data = trained.module.to(dist.device), data.to(dist.device)
        begin = time.perf_counter()
        reached = evaluate(model, data, batch=options.batch, precision=trained.precision)
        seconds = time.perf_counter() - begin
        kernels = kernels_record(used)
    if reached is None:
        raise RuntimeError("an evaluation that nobody can stop was stopped")
    facts = {
        "model": trained.name,
        "data": data.id,
        "images": reached.images,
        "step": trained.step,
        "top1": reached.top1,
        "top5": reached.top5,
        "loss": reached.loss,
        "images_per_second": reached.images / seconds,
        "device": str(dist.device),
        "kernels": {name: kernels[name] for name in ("forward", "torch_because")},
    }
    if options.format == "json":
        show_json(facts)
        return 0
    where = f"of {options.trained}" if trained.step is None else f"after step {trained.step:,}"
    print(f"{trained.name} {where}, on {reached.images:,} images of {data.id}")
    print(f"top-1       {100 * reached.top1:.2f} %")
    print(f"top-5       {100 * reached.top5:.2f} %")
    print(f"loss        {reached.loss:.4f}")
    print(f"throughput  {facts['images_per_second']:,.0f} images/s on {dist.device}")
    if kernels["forward"]:
        print(f"attention   {'; '.join((*kernels['forward'], *kernels['torch_because']))}")
    return 0


def _of_run(options: argparse.Namespace) -> Trained:
    from linvit_runtime.train import build_model, load_weights, read_config

    config = read_config(options.trained)
    data = _data(options, config["recipe"])
    module = build_model(options.trained)
    step = load_weights(options.trained, module, options.weights or "best")
    return Trained(config["model"], module, data, config["recipe"]["precision"], step)


def _of_file(options: argparse.Namespace) -> Trained:
    if options.weights is not None:
        raise UsageProblem(f"--weights chooses from a run folder; {options.trained} is one model")
    from linvit_dsl.check import classifier
    from linvit_runtime.export import open_model_file
    from linvit_runtime.train import expect_fit

    stored = open_model_file(options.trained)
    model = stored.model
    recipe = _recipe(stored, options)
    data = _data(options, recipe)
    takes = classifier(model.graph, model.graph.span)
    expect_fit(model.name, takes.image, takes.classes, data)
    return Trained(model.name, stored.module(), data, recipe["precision"])


def _recipe(stored: StoredModel, options: argparse.Namespace) -> Mapping[str, Any]:
    """Of the run that gave the weights, else of the spec, else just the data that are named."""
    from linvit_dsl.check import recipe_for

    if stored.file.recipe is not None:
        return stored.file.recipe
    try:
        recipe = recipe_for(stored.model.program, stored.model.name)
    except SpecError as error:
        if options.data is None:
            help_ = "name the images with --data"
            raise UsageProblem(f"{options.trained} has no recipe\n  help: {help_}") from error
        return {"data": {"name": options.data}, "precision": "float32"}
    return recipe.model_dump(mode="json")


def _data(options: argparse.Namespace, recipe: Mapping[str, Any]) -> DataSet:
    name, folder = data_source(options.data)
    return load_data(name or recipe["data"]["name"], folder, recipe["data"].get("resize"))
