"""Import generated modules: the one place where text of the compiler becomes running Python.

A module is written to a cache folder under its own content's hash and imported from there, so
tracebacks, debuggers and `inspect` see real source.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import sys
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import CodeType, ModuleType
from typing import TYPE_CHECKING

from linvit_codegen import Generated, expect_generated, write

if TYPE_CHECKING:
    from torch import nn


def build(generated: Generated, name: str) -> nn.Module:
    """The model of a generated module with fresh weights, drawn from torch's global generator.

    Args:
        generated: The module.
        name: Of the model; its file is called so.
    """
    return fresh_model(import_generated(generated, name))


def import_generated(generated: Generated, name: str) -> ModuleType:
    """Write a generated module to the cache, under its content's hash, and import it."""
    digest = hashlib.sha256(generated.text.encode()).hexdigest()[:16]
    path = cache_folder() / digest / f"{name.lower()}.py"
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        write(generated, path, force=True)
    return import_file(path, f"linvit_generated.{digest}_{name.lower()}")


class _Loader(SourceFileLoader):
    """Runs just the text that was verified: no `.pyc` beside it, and under no other encoding."""

    def get_code(self, fullname: str) -> CodeType:
        path = self.get_filename(fullname)
        text = self.get_data(path).decode(errors="replace")
        return self.source_to_code(expect_generated(text), path)


def import_file(path: Path, name: str) -> ModuleType:
    """Import a generated file under `name`; a second time gives the same module.

    Raises:
        NotGenerated: It holds something that generated modules never do; nothing of it was run.
    """
    if name in sys.modules:
        return sys.modules[name]
    loader = _Loader(name, str(path))
    spec = importlib.util.spec_from_file_location(name, path, loader=loader)
    assert spec is not None, "a file with a loader has a spec"
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def fresh_model(module: ModuleType) -> nn.Module:
    """The model of a generated module, the one name that it exports, with fresh weights."""
    (name,) = module.__all__
    return getattr(module, name)()


def cache_folder() -> Path:
    """`$LINVIT_CACHE`, else `linvit` in the user's cache folder."""
    if "LINVIT_CACHE" in os.environ:
        return Path(os.environ["LINVIT_CACHE"])
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "linvit" / "generated"
