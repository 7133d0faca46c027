"""The model format: weights in safetensors, and in its metadata the texts that they belong to.

One file is the whole model. Loading compiles the texts, so no Python of a stranger runs, and
nothing is unpickled.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from linvit_dsl.check.recipe import Recipe, check_recipe
from linvit_runtime.export.problems import ModelFileProblem

FORMAT = "1"
"""Version of the metadata."""

_MODEL, _SOURCES, _OVERRIDES = "linvit.model", "linvit.sources", "linvit.overrides"
_RECIPE = "linvit.recipe"


@dataclass(frozen=True, slots=True)
class ModelFile:
    """What a model file holds.

    Attributes:
        model: the name of the model.
        texts: every `.vit` text that it was resolved from, by name, the spec itself first.
        overrides: static parameters with their text.
        recipe: that of the run which the weights come from; None: they come from no run.
        tensors: the state dict, on the CPU.
    """

    model: str
    texts: Mapping[str, str]
    overrides: Mapping[str, str]
    recipe: Mapping[str, Any] | None
    tensors: Mapping[str, Tensor]


def model_file_bytes(
    tensors: Mapping[str, Tensor],
    texts: Mapping[str, str],
    overrides: Mapping[str, str],
    recipe: Mapping[str, Any] | None,
    metadata: Mapping[str, str],
) -> bytes:
    """A model file. `metadata` names the model (`linvit.model`); the rest is for readers."""
    # A clone each: safetensors refuses tensors that share memory, and tied weights do.
    copies = {name: tensor.detach().cpu().clone().contiguous() for name, tensor in tensors.items()}
    own = {
        "format": "pt",
        "linvit.format": FORMAT,
        _SOURCES: json.dumps(dict(texts)),
        _OVERRIDES: json.dumps(dict(overrides)),
        _RECIPE: json.dumps(recipe),
    }
    return _ordered(safetensors.torch.save(copies, {**metadata, **own}))


def _ordered(content: bytes) -> bytes:
    """The same file with its header in order: safetensors shuffles the metadata.

    A file is the header's length in 8 bytes, the header in JSON, filled up with spaces, and the
    tensors, whose offsets count from the header's end.
    """
    (length,) = struct.unpack("<Q", content[:8])
    header = json.loads(content[8 : 8 + length])
    text = json.dumps(header, sort_keys=True, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + content[8 + length :]


def read_tensors(path: Path) -> dict[str, Tensor]:
    """The tensors of any safetensors file, on the CPU.

    Raises:
        ModelFileProblem: It cannot be read, or is none.
    """
    return _opened(path)[0]


def has_spec(path: Path) -> bool:
    """Whether a safetensors file is a model file: whether linvit wrote texts into it.

    Raises:
        ModelFileProblem: It cannot be read, or is no safetensors file.
    """
    return "linvit.format" in _opened(path)[1]


def read_model_file(path: Path) -> ModelFile:
    """A model file.

    Raises:
        ModelFileProblem: It cannot be read, is no safetensors file, or has no spec in it.
    """
    tensors, metadata = _opened(path)
    if "linvit.format" not in metadata:
        raise ModelFileProblem(
            f"{path} holds weights, but no spec",
            "name the spec, and give the file to it: linvit export SPEC --weights FILE",
        )
    if metadata["linvit.format"] != FORMAT:
        raise ModelFileProblem(
            f"{path} has format {metadata['linvit.format']!r}; this linvit reads format {FORMAT}",
            "use the version of linvit that wrote it",
        )
    texts, overrides = (_texts(path, metadata, key) for key in (_SOURCES, _OVERRIDES))
    if not texts or _MODEL not in metadata:
        raise ModelFileProblem(f"{path} names no spec or no model", "export it again")
    return ModelFile(metadata[_MODEL], texts, overrides, _recipe(path, metadata), tensors)


def _opened(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    if not path.is_file():
        raise ModelFileProblem(f"cannot read {path}: no such file")
    try:
        with safe_open(path, framework="pt") as file:
            metadata: dict[str, str] = file.metadata() or {}
            return {name: file.get_tensor(name) for name in file.keys()}, metadata  # noqa: SIM118
    except OSError as error:
        raise ModelFileProblem(f"cannot read {path}: {error.strerror or error}") from error
    except SafetensorError as error:
        raise ModelFileProblem(f"{path} is no safetensors file: {error}") from error


def _texts(path: Path, metadata: Mapping[str, str], key: str) -> dict[str, str]:
    """Texts by name, out of the JSON of a metadata entry."""
    value = _json(metadata.get(key, ""))
    if not isinstance(value, dict) or not all(isinstance(text, str) for text in value.values()):
        raise ModelFileProblem(f"{path} is damaged: its `{key}` is not texts by name")
    return value


def _recipe(path: Path, metadata: Mapping[str, str]) -> dict[str, Any] | None:
    """What training was told, as `Recipe` dumps it; None if the weights come from no run."""
    value = _json(metadata.get(_RECIPE, "null"))
    if value is None:
        return None
    checked = check_recipe(value) if isinstance(value, dict) else None
    if not isinstance(checked, Recipe):
        raise ModelFileProblem(f"{path} is damaged: its `{_RECIPE}` is no recipe")
    return checked.model_dump(mode="json")


def _json(text: str) -> Any:
    try:
        value = json.loads(text)
        # What JSON writes as half a surrogate pair is no text.
        json.dumps(value, ensure_ascii=False).encode()
    except (ValueError, RecursionError):
        return None
    return value
