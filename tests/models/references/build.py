"""Modules of a block alone, built from a line of the language."""

from __future__ import annotations

import hashlib
from pathlib import Path

from torch import nn

import linvit_dsl


def built(folder: Path, imports: str, signature: str, body: str) -> nn.Module:
    """A float64 module in evaluation mode.

    Args:
        folder: Where the spec is written.
        imports: `std.linformer import Linformer`.
        signature: `(x: [B, 11, 24]) -> [B, 11, 24]`.
        body: What is returned, an expression of the inputs.
    """
    text = f"from {imports}\nmodel M{signature} {{\n  return {body}\n}}\n"
    path = folder / f"{hashlib.sha256(text.encode()).hexdigest()[:12]}.vit"
    path.write_text(text, encoding="utf-8")
    return linvit_dsl.load(path).M().double().eval()
