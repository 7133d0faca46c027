"""Makes an error inside a generated module say which line of the `.vit` text it comes from.

A generated file ends with `trace.locate_errors(RippleViT, __file__)`. When a call of the model
raises, the exception gets a note for each generated frame of its traceback (PEP 678)::

    in ripplevit.vit:12: `z = z |> RipplePool@pool` (block std.ripple.RippleAttention)

Nothing else changes: the source map beside the generated file is read only after an error, and
compiled code (`torch.compile`, `torch.export`) does not contain any of this.
"""

from __future__ import annotations

import functools
import json
import types
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

SourceMap = Mapping[str, Any]
"""As `linvit_codegen.source_map` describes it."""

_maps: dict[str, SourceMap] = {}


def locate_errors(model: type[nn.Module], file: str) -> None:
    """Let errors inside calls of `model` name lines of the `.vit` text.

    Args:
        model: The class of a generated file.
        file: That file; its map is `<name>.map.json` beside it.
    """
    run = model.__call__

    @functools.wraps(run)
    def call(self: nn.Module, *arguments: Any, **keywords: Any) -> Any:
        # Compilers follow this function; what they compile is the plain call.
        if torch.compiler.is_compiling():
            return run(self, *arguments, **keywords)
        try:
            return run(self, *arguments, **keywords)
        except Exception as error:
            add_notes(error, file)
            raise

    model.__call__ = call


def add_notes(error: BaseException, file: str) -> None:
    """Add to `error` one note per frame of the generated `file`, innermost first.

    Without a readable map the error stays as it is: explaining it must not replace it.
    """
    lines = list(_lines_in(error.__traceback__, file))
    source_map = _map_of(file)
    if source_map is None:
        return
    notes = getattr(error, "__notes__", [])
    for line in reversed(lines):
        note = _note(source_map, line)
        if note and note not in notes:
            error.add_note(note)


def _lines_in(traceback: types.TracebackType | None, file: str) -> Iterator[int]:
    while traceback is not None:
        if traceback.tb_frame.f_code.co_filename == file:
            yield traceback.tb_lineno
        traceback = traceback.tb_next


def _map_of(file: str) -> SourceMap | None:
    if file not in _maps:
        try:
            source_map = json.loads(Path(file).with_suffix(".map.json").read_text("utf-8"))
            text = Path(file).read_text("utf-8")
        except (OSError, ValueError):
            return None
        # An edited file or a map of another build would point at wrong lines.
        if f"# body sha256:{source_map.get('body')}" not in text:
            return None
        _maps[file] = source_map
    return _maps[file]


def _note(source_map: SourceMap, line: int) -> str | None:
    index = source_map["lines"].get(str(line))
    if index is None:
        return None
    entry = source_map["statements"][index]
    return f"in {entry['file']}:{entry['line']}: `{entry['text']}` (block {entry['block']})"
