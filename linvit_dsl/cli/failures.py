"""From an exception to a message and an exit code: no traceback for a user's mistake."""

from __future__ import annotations

import os
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from linvit_dsl.cli.output import show
from linvit_dsl.errors import LinvitError
from linvit_runtime.errors import RunProblem

REPORTS: Path | None = None
"""Where reports of internal errors are saved; None: in the folder for temporary files."""

REJECTED, USAGE, INTERNAL, STORAGE, INTERRUPTED, BROKEN_PIPE = 1, 2, 70, 74, 130, 141


class UsageProblem(Exception):
    """The words of the command line make no sense together (exit code 2)."""


class WriteProblem(Exception):
    """A result could not be written (exit code 74)."""


def report_failure(error: BaseException, *, debug: bool) -> int:
    """Say on standard error what went wrong, and return the exit code.

    Args:
        error: What ended the command.
        debug: Print the traceback of an internal error instead of saving it.
    """
    match error:
        case BrokenPipeError():
            # Python flushes once more at exit; let that go nowhere.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return BROKEN_PIPE
        case KeyboardInterrupt():
            _say("linvit: interrupted")
            return INTERRUPTED
        case LinvitError():
            show(error.diagnostics, stream=sys.stderr)
            return REJECTED
        case UsageProblem():
            _say(f"linvit: {error}")
            return USAGE
        case WriteProblem():
            _say(f"linvit: {error}")
            return STORAGE
        case RunProblem():
            _say(f"linvit: {error.message}")
            if error.hint:
                _say(f"  help: {error.hint}")
            return error.exit_code
        case _:
            return _report_bug(error, debug=debug)


@contextmanager
def writing(path: Path) -> Generator[None, None, None]:
    """Turn a failure to write `path` into a `WriteProblem`."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        raise WriteProblem(f"cannot write {path}: {reason}") from error


def _report_bug(error: BaseException, *, debug: bool) -> int:
    import tempfile
    import traceback

    text = "".join(traceback.format_exception(error))
    _say(f"linvit: internal error: {type(error).__name__}: {error}")
    if debug:
        _say(text.rstrip())
        return INTERNAL
    try:
        handle, path = tempfile.mkstemp(".txt", "linvit-report-", REPORTS, text=True)
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(f"command: {sys.argv}\n\n{text}")
        _say(f"  This is a bug in linvit. Please report it with the file {path}")
    except OSError:
        _say("  This is a bug in linvit. Please report it with what --debug prints")
    return INTERNAL


def _say(text: str) -> None:
    print(text, file=sys.stderr)
