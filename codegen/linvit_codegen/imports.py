"""The first statements of a generated module: what it imports, and what it carries along."""

from __future__ import annotations

import ast

from linvit_codegen.embedded import Embedding, import_lines

_BEFORE = (
    "# From linvit_runtime, as it stands there: this file needs torch only.",
    "# ruff: noqa: E501",
    "# fmt: off",
)
_AFTER = "# fmt: on"


def module_head(name: str, code: str, embedding: Embedding | None) -> list[str]:
    """The lines above the first class or function of a model.

    Args:
        name: The class of the model.
        code: The text that follows.
        embedding: Of a standalone module: what `code` uses of the runtime.
    """
    used = {node.id for node in ast.walk(ast.parse(code)) if isinstance(node, ast.Name)}
    export = f'__all__ = ["{name}"]'
    if embedding is None:
        lines = ["import torch"] if "torch" in used else []
        lines += ["import torch.nn.functional as F"] if "F" in used else []
        runtime = [word for word in ("init", "kernels", "layers", "trace") if word in used]
        lines.append(f"from linvit_runtime import {', '.join(runtime)}")
        return [*lines, "from torch import Tensor, nn", "", export]
    pieces = embedding.pieces
    carried = "\n\n\n".join(piece.text for piece in pieces.values())
    used |= {node.id for node in ast.walk(ast.parse(carried)) if isinstance(node, ast.Name)}
    imports = [place for piece in pieces.values() for place in piece.imports]
    imports += [("torch", "Tensor"), ("torch", "nn")]
    imports += [("torch", "")] if "torch" in used else []
    imports += [("torch.nn.functional as F", "")] if "F" in used else []
    head = ["from __future__ import annotations", "", *import_lines(imports), "", export]
    if not pieces:
        return head
    return [*head, "", *_BEFORE, "", "", *carried.split("\n"), "", "", _AFTER]
