"""The first statements of a generated module: what it imports, and what it carries along."""

from __future__ import annotations

from collections.abc import Set

from linvit_codegen.embedded import LIBRARIES, Embedding, import_lines

_BEFORE = (
    "# From linvit_runtime, as it stands there: this file needs torch only.",
    "# ruff: noqa: E501",
    "# fmt: off",
)
_AFTER = "# fmt: on"


def module_head(name: str, libraries: Set[str], embedding: Embedding | None) -> list[str]:
    """The lines above the first class or function of a model.

    Args:
        name: The class of the model.
        libraries: Which of the modules that may be imported its code uses.
        embedding: Of a standalone module: which pieces of the runtime it uses.
    """
    export = f'__all__ = ["{name}"]'
    if embedding is None:
        lines = ["import torch"] if "torch" in libraries else []
        lines += ["import torch.nn.functional as F"] if "F" in libraries else []
        runtime = sorted({*libraries, "trace"} - {"torch", "F"})
        lines.append(f"from linvit_runtime import {', '.join(runtime)}")
        return [*lines, "from torch import Tensor, nn", "", export]
    pieces = embedding.pieces.values()
    imports = [place for piece in pieces for place in piece.imports]
    imports += [LIBRARIES[library] for library in sorted(libraries)]
    imports += [("torch", "Tensor"), ("torch", "nn")]
    head = ["from __future__ import annotations", "", *import_lines(imports), "", export]
    if not pieces:
        return head
    carried = "\n\n\n".join(piece.text for piece in pieces)
    return [*head, "", *_BEFORE, "", "", *carried.split("\n"), "", "", _AFTER]
