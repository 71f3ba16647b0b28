"""Ctrl-C and a cluster's SIGTERM as a question that the loop asks, so that it can save before it leaves."""

import multiprocessing
import os
import signal
import threading
from contextlib import suppress
from time import monotonic
from types import FrameType
from typing import Any

SIGNALS = (signal.SIGINT, signal.SIGTERM)
# A terminal sends Ctrl-C to every process of a run, and the first of them passes it on: that is one wish, not two.
ONE_WISH = 1.0


class StopSignals:
    """A context manager; within it, the first signal only sets `received`, and a later one ends the process.

    The signal is passed on to the processes that this one started. Outside the main thread, where Python delivers no
    signals, it does nothing.
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
        elif monotonic() - self._when > ONE_WISH:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
        for child in multiprocessing.active_children():
            # Daemons are the workers of a loader, which end with it.
            if child.pid is not None and not child.daemon:
                with suppress(ProcessLookupError):
                    os.kill(child.pid, number)
