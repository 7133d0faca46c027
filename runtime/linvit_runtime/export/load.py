"""From a model file back to a module: the texts in it are compiled, then the weights are loaded."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from torch import nn

from linvit_codegen import Options, generate
from linvit_dsl.check import Model, elaborate, has_library_of_today, open_texts
from linvit_runtime.export.model_file import ModelFile, read_model_file
from linvit_runtime.generated import build
from linvit_runtime.train.weights import load_tensors


@dataclass(frozen=True, slots=True)
class StoredModel:
    """A model file, and the checked model that its texts describe."""

    path: Path
    file: ModelFile
    model: Model

    def module(self) -> nn.Module:
        """The module with the weights of the file, in evaluation mode, on the CPU.

        Raises:
            CheckpointProblem: The weights do not fit the spec beside them.
        """
        # A kernel computes what this linvit's library says; the library in the file may be another.
        kernels = "auto" if has_library_of_today(self.file.texts) else "reference"
        options = Options(kernels=kernels)
        generated = generate(self.model.graph, sources=self.model.program.sources, options=options)
        module = build(generated, generated.name)
        load_tensors(module, self.file.tensors, self.path)
        return module.eval()


def open_model_file(path: Path) -> StoredModel:
    """Read a model file and check the model in it, by its own texts only.

    Raises:
        ModelFileProblem: It is no model file.
        SpecError: The spec in it has errors.
    """
    file = read_model_file(path)
    model = elaborate(open_texts(file.texts), file.model, file.overrides)
    return StoredModel(path, file, model)


def load_model(path: str | Path) -> nn.Module:
    """The model of a `.safetensors` file that `linvit export` wrote, in evaluation mode.

    Architecture and weights both come from the file; no Python in it is executed.

    Raises:
        ModelFileProblem: It is no model file.
        SpecError: The spec in it has errors.
        CheckpointProblem: Its weights do not fit its spec.
    """
    return open_model_file(Path(path)).module()
