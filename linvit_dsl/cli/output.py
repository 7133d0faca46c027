"""Printing: diagnostics in the format asked for, JSON, and colour only for a person."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from typing import Any, TextIO

from linvit_dsl.errors import Diagnostic
from linvit_dsl.errors.render import NOTHING, Omitted, render_all


def show(diagnostics: Sequence[Diagnostic], *, stream: TextIO, omitted: Omitted = NOTHING) -> None:
    """Print diagnostics for a person; nothing if there are none."""
    if diagnostics:
        text = render_all(diagnostics, colour=_coloured(stream), omitted=omitted)
        print(text, file=stream)


def show_json(value: Any) -> None:
    """Print plain values as JSON on standard output."""
    json.dump(value, sys.stdout, indent=2, ensure_ascii=False)
    print()


def _coloured(stream: TextIO) -> bool:
    """Whether a terminal is there to show colour and nobody objects (https://no-color.org)."""
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
