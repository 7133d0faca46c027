"""`linvit export`: a model as a file for other programs, or with its weights."""

from __future__ import annotations

import argparse
import sys
from functools import partial
from pathlib import Path

from linvit_dsl.cli.arguments import add_overrides, load_model, settings
from linvit_dsl.cli.failures import UsageProblem, writing

EXAMPLES = """\
examples:
  linvit export my.vit:Small -o small.pt2 --weights runs/a
  linvit export my.vit -o small.onnx --weights runs/a --batch 1
  linvit export my.vit -o small.safetensors --weights runs/a

The file is compared with the model on random images before it is written; what
differs is not written.
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    parser.epilog = EXAMPLES
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument(
        "spec",
        metavar="SPEC[:MODEL]",
        help="a .vit file, a shipped spec, or a .safetensors file that has its spec inside",
    )
    add_overrides(parser, "static parameter")
    parser.add_argument(
        "-o",
        metavar="FILE",
        type=Path,
        required=True,
        help="what to write; its ending chooses the format: .pt2 (torch.export), .onnx,"
        " .safetensors (weights with their spec)",
    )
    parser.add_argument(
        "--weights",
        metavar="RUN|FILE",
        type=Path,
        help="a run folder or a .safetensors file (default: fresh weights)",
    )
    parser.add_argument(
        "--checkpoint",
        metavar="WHICH",
        choices=("best", "last"),
        help="of a run folder, that of the best evaluation (default) or the last one",
    )
    parser.add_argument(
        "--seed", metavar="N", type=int, help="draws fresh weights from this seed (0)"
    )
    parser.add_argument(
        "--batch",
        metavar="dynamic|N",
        type=_batch,
        default="dynamic",
        help="the batch sizes that the program takes: any (default), or this one",
    )
    parser.add_argument(
        "--opset", metavar="N", type=int, help="version of the ONNX operators (torch's own choice)"
    )
    parser.set_defaults(handler=run)


def run(options: argparse.Namespace) -> int:
    """Compare, write, and say how close the file is to the model."""
    _expect_sense(options)
    from linvit_runtime.export import (
        Request,
        Weights,
        expect_format,
        export,
        open_model_file,
        random_weights,
        read_weights,
    )

    batch = None if options.batch == "dynamic" else options.batch
    expect_format(options.o, batch, options.opset)
    overrides = settings(options.set)
    weights: Weights | None = None
    if options.spec.endswith(".safetensors"):
        stored = open_model_file(Path(options.spec))
        model, overrides = stored.model, dict(stored.file.overrides)
        options.weights = options.weights or stored.path
    else:
        model = load_model(options.spec, overrides)
    if options.weights is None:
        from linvit_codegen import generate

        generated = generate(model.graph, sources=model.program.sources)
        weights = random_weights(generated, options.seed or 0)
        print(f"no --weights: those of {options.o} are {weights.origin}", file=sys.stderr)
    else:
        which, warn = options.checkpoint or "best", partial(print, file=sys.stderr)
        weights = read_weights(options.weights, which, warn)
    request = Request(
        model=model, weights=weights, overrides=overrides, batch=batch, opset=options.opset
    )
    with writing(options.o):
        comparison = export(options.o, request)
    print(f"wrote {options.o}, weights {weights.origin}")
    print(comparison)
    return 0


def _expect_sense(options: argparse.Namespace) -> None:
    if options.weights is not None and options.seed is not None:
        raise UsageProblem("--weights and --seed exclude each other")
    if options.seed is not None and not 0 <= options.seed < 2**63:
        raise UsageProblem(f"--seed is a whole number from 0 to 2^63 - 1, not {options.seed}")
    if options.checkpoint and not (options.weights and options.weights.is_dir()):
        raise UsageProblem("--checkpoint chooses from a run folder, given by --weights")
    if options.spec.endswith(".safetensors") and (options.set or options.seed is not None):
        other = "--set" if options.set else "--seed"
        raise UsageProblem(f"{options.spec} holds a model with its weights; it takes no {other}")


def _batch(text: str) -> int | str:
    if text == "dynamic":
        return text
    if not (text.isascii() and text.isdecimal()) or not 1 <= int(text) <= 2**20:
        raise argparse.ArgumentTypeError(f"`{text}` is neither `dynamic` nor a batch size")
    return int(text)
