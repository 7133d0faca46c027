"""`linvit check --watch`: the findings again whenever a file of a spec changes."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from linvit_dsl.cli.failures import UsageProblem

SECONDS = 0.2
"""Between two looks at the files."""
CLEAR = "\x1b[2J\x1b[H"

Stamps = Mapping[Path, tuple[int, int] | None]
"""Time of change and size of each file; None for one that is not there."""


def watch(
    check: Callable[[], object],
    files: Callable[[], Iterable[Path]],
    *,
    wait: Callable[[float], None] = time.sleep,
) -> None:
    """Check at once and again after each change, for ever.

    Args:
        check: Prints what is wrong.
        files: Which files a check reads: it is asked after each, since imports may change.
        wait: Waits that many seconds; what it raises ends the watch.
    """
    stamps = _stamps(files())
    while True:
        if sys.stdout.isatty():
            print(CLEAR, end="")
        try:
            check()
        except UsageProblem as problem:
            # A file that is gone may come back: some editors write by replacing.
            print(f"linvit: {problem}")
        # What changed while it was checked has its stamp from before, and is checked again.
        stamps = {path: stamps.get(path, stamp) for path, stamp in _stamps(files()).items()}
        number = "1 file" if len(stamps) == 1 else f"{len(stamps)} files"
        print(f"\nwatching {number}; Ctrl-C ends", flush=True)
        stamps = _changed(stamps, wait)


def _changed(stamps: Stamps, wait: Callable[[float], None]) -> Stamps:
    """Wait until a file changes, and then until none does for a moment."""
    seen = stamps
    while True:
        now = _stamps(stamps)
        if now == seen and now != stamps:
            return now
        seen = now
        wait(SECONDS)


def _stamps(paths: Iterable[Path]) -> Stamps:
    return {path: _stamp(path) for path in paths}


def _stamp(path: Path) -> tuple[int, int] | None:
    try:
        state = path.stat()
    except OSError:
        return None
    return state.st_mtime_ns, state.st_size


def roots_of(specs: Sequence[str]) -> tuple[Path, ...]:
    """The files that SPEC[:MODEL] words name.

    Raises:
        UsageProblem: One of them is none.
    """
    from linvit_dsl.check import SpecNotFound, find_spec

    try:
        return tuple(find_spec(spec)[0].resolve() for spec in specs)
    except SpecNotFound as problem:
        raise UsageProblem(str(problem)) from problem


def files_of(roots: Iterable[Path]) -> tuple[Path, ...]:
    """Specs with all that they import, found or not."""
    from linvit_dsl.check import open_program
    from linvit_dsl.errors import LinvitError
    from linvit_dsl.syntax import ast

    found: dict[Path, None] = {}
    for root in roots:
        found[root] = None
        try:
            modules = open_program(root).modules
        except LinvitError:
            continue
        for path, module in modules.items():
            found[path] = None
            for item in module.file.items:
                if isinstance(item, ast.Import) and item.path is not None:
                    found[(path.parent / item.path.value).resolve()] = None
    return tuple(found)
