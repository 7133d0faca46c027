"""The command line: one file per verb, and no logic but that of a command line.

Exit codes: 0 done; 1 the spec was rejected; 2 usage, or a tool or a file is missing; 3 training
stopped (NaN); 70 an error inside linvit; 74 storage; 75 stopped by SIGTERM or SIGUSR1 after saving;
130 Ctrl-C (after saving, in training); 141 whoever read the output went away.
"""

from __future__ import annotations

import gc
import io
import os
import sys
from collections.abc import Sequence

from linvit_dsl.cli.failures import report_failure
from linvit_dsl.cli.parser import parse


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code.

    Args:
        arguments: The words after `linvit`; None takes those of the process.

    Raises:
        SystemExit: Help or the version was asked for and printed.
    """
    # Read once, when torch loads its OpenMP: idle threads that spin slow a busy machine down.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    # pydantic would read the metadata of every installed package in search of plug-ins.
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
    # Imports and syntax trees are many objects that stay: looking for garbage among them again and
    # again would take a tenth of a short command's time.
    gc.set_threshold(100_000, 50, 50)
    words = list(sys.argv[1:] if arguments is None else arguments)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # A terminal that cannot show a character of a spec must not end the command.
            stream.reconfigure(errors="backslashreplace")
    try:
        options = parse(words)
        code: int = options.handler(options)
        sys.stdout.flush()
    except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001 - what nobody expected is exit code 70
        return report_failure(error, debug="--debug" in words)
    return code
