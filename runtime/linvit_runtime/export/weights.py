"""Where the weights of an exported model come from: a run, a file, or a seed."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from linvit_codegen import Generated
from linvit_runtime.export.load import open_model_file
from linvit_runtime.export.model_file import has_spec, read_tensors
from linvit_runtime.export.problems import ModelFileProblem
from linvit_runtime.generated import build
from linvit_runtime.train import build_model, load_weights, read_config


@dataclass(frozen=True, slots=True)
class Weights:
    """The weights of a model.

    Attributes:
        tensors: the state dict.
        path: where they were read, for messages.
        origin: what they are, in a few words without a path.
        recipe: that of the run which they come from; None: they come from no run.
        trained: the module that they belong to as it was when they were saved, in evaluation mode:
            an export must compute what it computes. None where only tensors are known.
    """

    tensors: Mapping[str, Tensor]
    path: Path
    origin: str
    trained: nn.Module | None = None
    recipe: Mapping[str, Any] | None = None


def weights_of(module: nn.Module, origin: str = "given in Python") -> Weights:
    """The weights of a module of the same model, which stays as it is."""
    trained = copy.deepcopy(module).cpu().float().eval()
    return Weights(trained.state_dict(), Path("the given module"), origin, trained)


def random_weights(generated: Generated, seed: int) -> Weights:
    """Fresh weights, as training starts with; the global generator is left as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        module = build(generated, generated.name)
    return weights_of(module, f"random, of seed {seed}")


def read_weights(
    path: Path,
    which: Literal["best", "last"] = "best",
    warn: Callable[[str], None] = warnings.warn,
) -> Weights:
    """The weights of a run folder, or of a safetensors file.

    Args:
        path: The folder or the file.
        which: Of a run, the checkpoint of the best evaluation or the newest one.
        warn: Takes a sentence about a damaged checkpoint that is passed over.

    Raises:
        SetupProblem: The folder is no run folder, or its module cannot be built.
        CheckpointProblem: The run has no whole checkpoint.
        ModelFileProblem: The file cannot be read as weights.
        SpecError: The spec inside a model file has errors.
    """
    if path.is_dir():
        module = build_model(path)
        step = load_weights(path, module, which, warn)
        origin, recipe = f"of step {step:,} of a run", read_config(path)["recipe"]
        return Weights(module.state_dict(), path, origin, module.eval(), recipe)
    if not path.exists():
        raise ModelFileProblem(f"there is no run folder and no file {path}")
    if path.suffix != ".safetensors":
        raise ModelFileProblem(
            f"{path} is neither a run folder nor a .safetensors file",
            "other formats of weights may hold code, and are never read",
        )
    if has_spec(path):
        stored = open_model_file(path)
        module, recipe = stored.module(), stored.file.recipe
        return Weights(module.state_dict(), path, f"of {path.name}", module, recipe)
    return Weights(read_tensors(path), path, f"of {path.name}")
