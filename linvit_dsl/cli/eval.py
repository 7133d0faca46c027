"""`linvit eval`: accuracy, loss and speed of a trained model."""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from linvit_dsl.cli.arguments import add_format, add_run_options, data_source, load_data
from linvit_dsl.cli.failures import UsageProblem


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    parser.add_argument(
        "run", metavar="RUN", type=Path, help="a run folder; its model.py is executed"
    )
    parser.add_argument(
        "--weights",
        metavar="WHICH",
        choices=("best", "last"),
        default="best",
        help="of the best evaluation (default) or of the last checkpoint",
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
    from linvit_runtime.train import Dist, build_model, evaluate, load_weights, read_config

    config = read_config(options.run)
    recipe = config["recipe"]
    name, folder = data_source(options.data)
    data = load_data(name or recipe["data"]["name"], folder, recipe["data"].get("resize"))
    with Dist.from_env(options.device) as dist:
        model = build_model(options.run)
        step = load_weights(options.run, model, options.weights)
        model, data = model.to(dist.device), data.to(dist.device)
        begin = time.perf_counter()
        reached = evaluate(model, data, batch=options.batch, precision=recipe["precision"])
        seconds = time.perf_counter() - begin
    if reached is None:
        raise RuntimeError("an evaluation that nobody can stop was stopped")
    facts = {
        "model": config["model"],
        "data": data.id,
        "images": reached.images,
        "step": step,
        "top1": reached.top1,
        "top5": reached.top5,
        "loss": reached.loss,
        "images_per_second": reached.images / seconds,
        "device": str(dist.device),
    }
    if options.format == "json":
        show_json(facts)
        return 0
    print(f"{config['model']} after step {step:,}, on {reached.images:,} images of {data.id}")
    print(f"top-1       {100 * reached.top1:.2f} %")
    print(f"top-5       {100 * reached.top5:.2f} %")
    print(f"loss        {reached.loss:.4f}")
    print(f"throughput  {facts['images_per_second']:,.0f} images/s on {dist.device}")
    return 0
