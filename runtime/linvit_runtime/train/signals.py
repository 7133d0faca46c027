"""Ask a run to stop: the first signal lets it finish and save, the second ends the process."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Generator
from contextlib import contextmanager
from signal import Signals
from types import FrameType

STOP_SIGNALS = (Signals.SIGINT, Signals.SIGTERM, Signals.SIGUSR1)


class StopRequest:
    """Whether and how the run was asked to stop. True once it was.

    Every loop that lasts polls it: one that is only looked at between training steps is missed
    by a scheduler's grace period that ends during an evaluation.
    """

    def __init__(self) -> None:
        self.signal: Signals | None = None

    def __bool__(self) -> bool:
        return self.signal is not None

    def receive(self, number: int, _frame: FrameType | None) -> None:
        """Note the first signal; end the process at the second one."""
        if self.signal is not None:
            # Without cleaning up: a checkpoint that is being written has no name yet.
            os._exit(128 + number)
        self.signal = Signals(number)


@contextmanager
def stop_on_signal() -> Generator[StopRequest, None, None]:
    """Turn SIGINT, SIGTERM and SIGUSR1 into a `StopRequest` for the length of a `with`.

    In any thread but the main one Python delivers no signals, and the request stays false.
    """
    request = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield request
        return
    previous = {number: signal.signal(number, request.receive) for number in STOP_SIGNALS}
    try:
        yield request
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
