"""From a checked graph to readable PyTorch source."""

from linvit_codegen.generate import Generated, Options, generate
from linvit_codegen.header import is_untouched, sources_hash
from linvit_codegen.output import OverwriteRefused, map_path, write
from linvit_codegen.staleness import staleness
from linvit_codegen.verify import NotGenerated, expect_generated

__all__ = [
    "Generated",
    "NotGenerated",
    "Options",
    "OverwriteRefused",
    "expect_generated",
    "generate",
    "is_untouched",
    "map_path",
    "sources_hash",
    "staleness",
    "write",
]
