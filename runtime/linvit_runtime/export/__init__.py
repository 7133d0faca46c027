"""Models as files: programs of torch.export, ONNX, and weights together with their spec."""

from linvit_runtime.export.comparison import Comparison
from linvit_runtime.export.load import StoredModel, load_model, open_model_file
from linvit_runtime.export.model_file import read_model_file
from linvit_runtime.export.problems import (
    ExportMismatch,
    ExportRefused,
    MissingPackages,
    ModelFileProblem,
)
from linvit_runtime.export.request import FORMATS, Request, expect_format, export
from linvit_runtime.export.weights import Weights, random_weights, read_weights, weights_of

__all__ = [
    "FORMATS",
    "Comparison",
    "ExportMismatch",
    "ExportRefused",
    "MissingPackages",
    "ModelFileProblem",
    "Request",
    "StoredModel",
    "Weights",
    "expect_format",
    "export",
    "load_model",
    "open_model_file",
    "random_weights",
    "read_model_file",
    "read_weights",
    "weights_of",
]
