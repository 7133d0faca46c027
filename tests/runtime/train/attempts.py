"""Runs a small training in child processes that are killed on the way.

    python attempts.py DIRECTORY PLAN

PLAN is a JSON list with one entry per attempt: {"signal": number or null, "lines": number, "after":
seconds}. The signal is sent that long after the child has printed that many lines of progress, one
per step. The exit status of every attempt is printed as JSON, negative for a signal that killed it.

Attempts are forked from one process that has imported torch, and computed nothing: a real process
each, at a tenth of the price.
"""

import importlib
import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any, TextIO

from linvit_runtime.train import Run, Stopped, train
from tests.runtime.train.small import recipe, small_run

EPOCHS = 15


def long_run(directory: Path, output: TextIO) -> Run:
    """A run that saves and reports every step."""
    settings = recipe(
        schedule={"epochs": EPOCHS, "warmup": "2it"}, eval_every="1it", save_every="1it"
    )
    return small_run(directory, recipe=settings, output=output)


def child(directory: Path, progress: int) -> int:
    """Train; give the exit code that the command would give."""
    try:
        with os.fdopen(progress, "w", buffering=1) as output:
            train(long_run(directory, output))
    except Stopped as stopped:
        return stopped.exit_code
    return 0


def attempt(directory: Path, plan: dict[str, Any]) -> int:
    """Fork one attempt, send it what the plan says, and wait for its end."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(reading)
        os._exit(child(directory, writing))
    os.close(writing)
    with os.fdopen(reading) as output:
        for _ in range(plan["lines"]):
            output.readline()
        if plan["signal"] is not None:
            time.sleep(plan["after"])
            os.kill(pid, plan["signal"])
        output.read()  # a full pipe would stop the child
    _, status = os.waitpid(pid, 0)
    return os.waitstatus_to_exitcode(status)


def main() -> None:
    """Run the attempts of the command line."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    # torch's optimizers import it at their first step: once here, not for a second in each child.
    importlib.import_module("torch._dynamo")
    directory, plans = Path(sys.argv[1]), json.loads(sys.argv[2])
    print(json.dumps([attempt(directory, plan) for plan in plans]))


if __name__ == "__main__":
    main()
