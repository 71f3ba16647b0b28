"""Ctrl-C and SIGTERM (sent by cluster schedulers) set a flag that the loop polls, so that it can save and then exit."""

import multiprocessing
import os
import signal
import threading
from contextlib import suppress
from time import monotonic
from types import FrameType
from typing import Any

SIGNALS = (signal.SIGINT, signal.SIGTERM)
# A terminal sends Ctrl-C to every process of a run, and the main process forwards it: signals within this time, in
# seconds, count as one.
SAME_SIGNAL = 1.0


class StopSignals:
    """Context manager that turns the first SIGINT or SIGTERM into a flag; a later one ends the process.

    The first signal sets `received` to its name. Every signal is forwarded to the child processes. Outside the main
    thread, where Python delivers no signals, this class does nothing.
    """

    def __init__(self) -> None:
        self.received: str | None = None
        self._when = 0.0
        self._before: dict[int, Any] = {}

    def __enter__(self) -> "StopSignals":
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._receive) for number in SIGNALS}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _receive(self, number: int, _frame: FrameType | None) -> None:
        if self.received is None:
            self.received = signal.Signals(number).name
            self._when = monotonic()
        elif monotonic() - self._when > SAME_SIGNAL:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
        for child in multiprocessing.active_children():
            # Daemons are the data loader's workers, which exit with it.
            if child.pid is not None and not child.daemon:
                with suppress(ProcessLookupError):
                    os.kill(child.pid, number)
