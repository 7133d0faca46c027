"""From a checked graph to readable PyTorch source."""

from linvit_codegen.generate import Generated, Options, generate
from linvit_codegen.header import is_untouched
from linvit_codegen.output import OverwriteRefused, map_path, write

__all__ = [
    "Generated",
    "Options",
    "OverwriteRefused",
    "generate",
    "is_untouched",
    "map_path",
    "write",
]
