"""Imports generated modules from real files, as users do."""

import importlib.util
import sys
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from types import ModuleType

import pytest

from linvit_codegen import Generated, write

Load = Callable[[Generated], ModuleType]
# Never the same twice: torch.compile remembers modules by their names.
NUMBERS = count()


@pytest.fixture
def load(tmp_path: Path) -> Iterator[Load]:
    """Give a function that writes a generated module and imports it."""
    names: list[str] = []

    def load_one(generated: Generated) -> ModuleType:
        name = f"generated_{next(NUMBERS)}"
        path = tmp_path / f"{name}.py"
        write(generated, path)
        spec = importlib.util.spec_from_file_location(name, path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        names.append(name)
        sys.modules[name] = module
        spec.loader.exec_module(module)
        return module

    yield load_one
    for name in names:
        sys.modules.pop(name, None)
