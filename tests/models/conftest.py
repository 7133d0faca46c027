"""Builds modules from texts written in a test."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

import linvit_dsl

Build = Callable[[str], nn.Module]


def module_of(text: str, folder: Path) -> nn.Module:
    """A float64 module, in evaluation mode, of a text's first model; the text goes to `folder`."""
    path = folder / "spec.vit"
    path.write_text(text, encoding="utf-8")
    spec = linvit_dsl.load(path)
    return getattr(spec, spec.models[0])().double().eval()


@pytest.fixture
def build(tmp_path: Path) -> Build:
    """Give a function that makes a module of a text."""
    return lambda text: module_of(text, tmp_path)


@pytest.fixture(autouse=True)
def seed() -> None:
    """Weights start alike whichever tests ran before."""
    torch.manual_seed(0)
