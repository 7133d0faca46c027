"""The model of a run folder: built by the generated module that lies there."""

from __future__ import annotations

import hashlib
from pathlib import Path

from torch import nn

from linvit_codegen import NotGenerated
from linvit_runtime.generated import fresh_model, import_file
from linvit_runtime.train.problems import SetupProblem

MODULE = "model.py"


def build_model(directory: Path) -> nn.Module:
    """The model of the run in `directory`, with fresh weights. Runs the `model.py` in it.

    A run folder may come from somebody else: nothing runs but what linvit could have written.

    Raises:
        SetupProblem: There is none, or it holds what generated modules never do.
    """
    path = directory / MODULE
    try:
        text = path.read_bytes()
    except OSError as error:
        raise SetupProblem(f"cannot read {path}: {error.strerror}") from error
    # One name per place and content: a process may build the models of several runs.
    digest = hashlib.sha256(str(path.resolve()).encode() + b"\0" + text).hexdigest()
    try:
        module = import_file(path, f"linvit_run_{digest[:16]}")
    except NotGenerated as error:
        raise SetupProblem(
            f"{path} was not run: {error}",
            "restore it, or write it again with `linvit compile`, under the --set of the run",
        ) from error
    return fresh_model(module)
