"""linvit from Python: `load("ripplevit").RippleViT(stages=2)` is an `nn.Module`.

The module is the generated file, written to a cache folder under its own content's hash and
imported from there, so tracebacks, debuggers and `inspect` see real source.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import sys
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import CodeType, ModuleType
from typing import TYPE_CHECKING, Any

from linvit_dsl.check import (
    Expectation,
    Model,
    Program,
    SpecNotFound,
    Sweep,
    SweepPoint,
    check_program,
    elaborate,
    examine,
    find_spec,
    open_program,
)
from linvit_dsl.check.recipe import Recipe
from linvit_dsl.check.training import recipe_for
from linvit_dsl.errors import Diagnostic, SpecError

if TYPE_CHECKING:
    from torch import nn

    from linvit_codegen import Generated
    from linvit_dsl.graph.cost import Cost
    from linvit_dsl.graph.ir import Graph

Static = int | float | bool | str | list["Static"] | tuple["Static", ...]
"""What Python may give a static parameter; blocks and initialisations are chosen in the text."""


def load(spec: str | Path) -> Spec:
    """Open a spec: a path, or the name of a shipped one.

    Raises:
        SpecNotFound: No such file or shipped spec.
        SpecError: The text has errors.
    """
    path, _ = find_spec(str(spec))
    program = open_program(path)
    errors = tuple(found for found in program.diagnostics if found.severity == "error")
    if errors:
        raise SpecError(*errors)
    return Spec(program)


def check_spec(spec: str | Path) -> tuple[Diagnostic, ...]:
    """All findings about a spec, in the order of the text; empty when it is sound.

    Raises:
        SpecNotFound: No such file or shipped spec.
    """
    path, _ = find_spec(str(spec))
    return check_program(open_program(path))


def expectations(spec: str | Path) -> tuple[Expectation, ...]:
    """What a spec says about costs, by `expect` and `claim`, beside what is true.

    Statements about models with errors are left out.

    Raises:
        SpecNotFound: No such file or shipped spec.
    """
    path, _ = find_spec(str(spec))
    return examine(open_program(path)).expectations


def sweeps(spec: str | Path) -> tuple[Sweep, ...]:
    """The sweeps of a spec; every point was elaborated, and its recipe validated.

    Raises:
        SpecNotFound: No such file or shipped spec.
        SpecError: The spec has errors.
    """
    path, _ = find_spec(str(spec))
    examined = examine(open_program(path))
    errors = tuple(found for found in examined.diagnostics if found.severity == "error")
    if errors:
        raise SpecError(*errors)
    return examined.sweeps


class Spec:
    """An opened spec; its models are its attributes."""

    def __init__(self, program: Program) -> None:
        self.program = program

    @property
    def models(self) -> tuple[str, ...]:
        """Names of its models."""
        return self.program.models

    def __getattr__(self, name: str) -> ModelBuilder:
        if name.startswith("_") or name not in self.program.models:
            known = ", ".join(self.program.models)
            raise AttributeError(f"no model `{name}` in {self.program.root.source.name}: {known}")
        return ModelBuilder(self.program, name)

    def __dir__(self) -> list[str]:
        return [*super().__dir__(), *self.program.models]

    def __repr__(self) -> str:
        return f"<linvit spec {self.program.root.source.name}: {', '.join(self.models)}>"


class ModelBuilder:
    """One model of a spec. Calling it builds the module; keywords override static parameters."""

    def __init__(self, program: Program, name: str) -> None:
        self.program = program
        self.name = name

    def __call__(self, **statics: Static) -> nn.Module:
        """Generate the module, import it, and build it with fresh weights.

        Raises:
            SpecError: The model with these parameters has errors.
        """
        module = import_generated(self.generate(**statics), self.name)
        return getattr(module, class_name(module))()

    def elaborate(self, **statics: Static) -> Model:
        """The checked model.

        Raises:
            SpecError: The model with these parameters has errors.
        """
        overrides = {name: static_text(value) for name, value in statics.items()}
        return elaborate(self.program, self.name, overrides)

    def graph(self, **statics: Static) -> Graph:
        """The checked graph."""
        return self.elaborate(**statics).graph

    def cost(self, batch: int = 1, **statics: Static) -> Cost:
        """Parameters, MACs and activation bytes, exact, as a tree."""
        from linvit_dsl.graph.cost import cost

        return cost(self.graph(**statics), batch)

    def generate(self, **statics: Static) -> Generated:
        """The generated PyTorch source and its map."""
        from linvit_codegen import generate

        return generate(self.graph(**statics), sources=self.program.sources)

    def recipe(self, **fields: Static) -> Recipe:
        """The recipe of its `train` statement."""
        overrides = {name: static_text(value) for name, value in fields.items()}
        return recipe_for(self.program, self.name, overrides)

    def __repr__(self) -> str:
        return f"<linvit model {self.name} of {self.program.root.source.name}>"


def static_text(value: Static) -> str:
    """A Python value as the language writes it: `true`, `[1, 2]`, `"cls"`.

    Raises:
        TypeError: It has no form in the language.
    """
    match value:
        case bool():
            return "true" if value else "false"
        case int() | float():
            return repr(value)
        case str():
            escaped = value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
            return f'"{escaped}"'
        case list() | tuple():
            return "[" + ", ".join(static_text(item) for item in value) + "]"
        case _:
            raise TypeError(f"a static parameter cannot be a {type(value).__name__}")


def import_generated(generated: Generated, name: str) -> ModuleType:
    """Write a generated module to the cache, under its content's hash, and import it."""
    digest = hashlib.sha256(generated.text.encode()).hexdigest()[:16]
    path = cache_folder() / digest / f"{name.lower()}.py"
    if not path.is_file():
        from linvit_codegen import write

        path.parent.mkdir(parents=True, exist_ok=True)
        write(generated, path, force=True)
    return import_file(path, f"linvit_generated.{digest}_{name.lower()}")


class _Loader(SourceFileLoader):
    """Runs just the text that was verified: no `.pyc` beside it, and under no other encoding."""

    def get_code(self, fullname: str) -> CodeType:
        from linvit_codegen import expect_generated

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


def class_name(module: ModuleType) -> str:
    """The model's class in a generated module, the one name that it exports."""
    exported: list[Any] = module.__all__
    return str(exported[0])


def cache_folder() -> Path:
    """`$LINVIT_CACHE`, else `linvit` in the user's cache folder."""
    if "LINVIT_CACHE" in os.environ:
        return Path(os.environ["LINVIT_CACHE"])
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "linvit" / "generated"


__all__ = [
    "Expectation",
    "ModelBuilder",
    "Spec",
    "SpecError",
    "SpecNotFound",
    "Sweep",
    "SweepPoint",
    "check_spec",
    "expectations",
    "load",
    "sweeps",
]
