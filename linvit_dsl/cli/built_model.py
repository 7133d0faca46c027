"""The model of a run folder: built by the generated module that lies there."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from linvit_dsl.cli.failures import UsageProblem

if TYPE_CHECKING:
    from torch import nn

MODULE = "model.py"


def build_model(directory: Path) -> nn.Module:
    """The model of the run in `directory`, with fresh weights. Runs the `model.py` in it.

    A run folder may come from somebody else: nothing runs but what linvit could have written.

    Raises:
        UsageProblem: There is none, or it holds what generated modules never do.
    """
    import hashlib

    from linvit_codegen import NotGenerated
    from linvit_dsl.api import class_name, import_file

    path = directory / MODULE
    try:
        text = path.read_bytes()
    except OSError as error:
        raise UsageProblem(f"cannot read {path}: {error.strerror}") from error
    # One name per place and content: a process may build the models of several runs.
    digest = hashlib.sha256(str(path.resolve()).encode() + b"\0" + text).hexdigest()
    try:
        module = import_file(path, f"linvit_run_{digest[:16]}")
    except NotGenerated as error:
        raise UsageProblem(
            f"{path} was not run: {error}\n  help: restore it, or write it again with"
            " `linvit compile`, under the --set of the run"
        ) from error
    return getattr(module, class_name(module))()
