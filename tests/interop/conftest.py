"""Makes timm importable beside any build of torch.

The package index's torchvision is built for CUDA: beside another torch its compiled operators are
missing, and importing it fails where it describes their shapes. timm imports it for transforms
that no test here uses, so those operators are declared, without a body, when they are missing.
"""

from __future__ import annotations

import importlib

import torch

try:
    importlib.import_module("torchvision")
except RuntimeError:
    # Declarations live as long as the object that made them.
    _operators = torch.library.Library("torchvision", "DEF")
    for _name in ("nms", "qnms"):
        _operators.define(f"{_name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
