"""The model of a run folder: built by the generated module that lies there."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

from linvit_dsl.cli.failures import UsageProblem

if TYPE_CHECKING:
    from torch import nn

MODULE = "model.py"


def build_model(directory: Path) -> nn.Module:
    """The model of the run in `directory`, with fresh weights. Runs the `model.py` in it.

    Raises:
        UsageProblem: There is none.
    """
    from linvit_dsl.api import class_name, import_file

    path = directory / MODULE
    try:
        text = path.read_bytes()
    except OSError as error:
        raise UsageProblem(f"cannot read {path}: {error.strerror}") from error
    # One name per place and content: a process may build the models of several runs.
    digest = hashlib.sha256(str(path.resolve()).encode() + b"\0" + text).hexdigest()
    module = import_file(path, f"linvit_run_{digest[:16]}")
    return getattr(module, class_name(module))()
