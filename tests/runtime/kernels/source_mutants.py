"""Modules of kernel steps with one mistake in their source, for tests that must notice it."""

import importlib.util
import itertools
from collections.abc import Generator, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from unittest import mock


@contextmanager
def mutated(
    directory: Path, module: Any, right: str, wrong: str, users: tuple[Any, ...]
) -> Generator[None, None, None]:
    """Replace what `module` defines, wherever `users` refer to it, by what a mistake makes of it.

    Raises:
        AssertionError: The source no longer contains what is to be replaced.
    """
    source = Path(module.__file__).read_text()
    assert right in source, f"{module.__name__} no longer contains {right!r}"
    path = directory / "mutant.py"
    path.write_text(source.replace(right, wrong))
    spec = importlib.util.spec_from_file_location("mutant", path)
    assert spec is not None
    assert spec.loader is not None
    mutant = importlib.util.module_from_spec(spec)
    with ExitStack() as stack:
        with mock.patch.dict("sys.modules", {"mutant": mutant}):  # dataclasses look there
            spec.loader.exec_module(mutant)
        for user, (name, value) in itertools.product(users, _defined_in(module)):
            if vars(user).get(name) is value:
                stack.enter_context(mock.patch.object(user, name, vars(mutant)[name]))
        yield


def _defined_in(module: Any) -> Iterator[tuple[str, Any]]:
    for name, value in vars(module).items():
        if getattr(value, "__module__", None) == module.__name__ and callable(value):
            yield name, value
