"""linvit from Python: `load("ripplevit").RippleViT(stages=2)` is an `nn.Module`.

The module is the generated file: see `linvit_runtime.generated`.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

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
    from linvit_runtime.export import Comparison

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


def load_model(path: str | Path) -> nn.Module:
    """The model of a `.safetensors` file that `linvit export` wrote, in evaluation mode.

    Architecture and weights both come from the file: the texts in it are compiled.

    Raises:
        ModelFileProblem: It is no model file.
        SpecError: The spec in it has errors.
        CheckpointProblem: Its weights do not fit its spec.
    """
    from linvit_runtime.export import load_model

    return load_model(path)


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
        from linvit_runtime.generated import build

        return build(self.generate(**statics), self.name)

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

    def export(
        self,
        path: str | Path,
        *,
        weights: nn.Module | str | Path | None = None,
        batch: int | None = None,
        opset: int | None = None,
        **statics: Static,
    ) -> Comparison:
        """Write the model as a file, if that computes what the model computes.

        Args:
            path: Its ending chooses the format: `.pt2`, `.onnx` or `.safetensors`.
            weights: A module of this model, a run folder or a `.safetensors` file; None: fresh.
            batch: The only batch size that a program takes; None for any.
            opset: Version of the ONNX operators; None for the exporter's own.
            statics: Override static parameters.

        Returns:
            How far the file is from the model.

        Raises:
            SpecError: The model with these parameters has errors.
            RunProblem: It was not exported, with the reason; see `linvit_runtime.export`.
            OSError: The file system refused.
        """
        from linvit_codegen import generate
        from linvit_runtime.export import (
            Request,
            expect_format,
            export,
            random_weights,
            read_weights,
            weights_of,
        )

        expect_format(Path(path), batch, opset)
        model = self.elaborate(**statics)
        match weights:
            case None:
                generated = generate(model.graph, sources=model.program.sources)
                found = random_weights(generated, seed=0)
            case str() | Path():
                found = read_weights(Path(weights))
            case _:
                found = weights_of(weights)
        overrides = {name: static_text(value) for name, value in statics.items()}
        request = Request(model=model, weights=found, overrides=overrides, batch=batch, opset=opset)
        return export(Path(path), request)

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
    "load_model",
    "sweeps",
]
