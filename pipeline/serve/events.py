"""Events of all jobs in one order, kept for a while so that a client can resume after a lost connection."""

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator
from dataclasses import dataclass
from itertools import takewhile

# Events that are kept. A client that has missed more gets the current state instead.
KEPT = 4096


@dataclass(frozen=True)
class Event:
    """A change.

    Args:
        number: Grows with each event, over restarts of the service, too.
        kind: "state", "progress", "removed", "training" or "runs".
        subject: Id of the job or training; empty for all runs.
        data: JSON text.
    """

    number: int
    kind: str
    subject: str
    data: str


class Events:
    """Receives events and passes them on to any number of clients. All methods run in the event loop."""

    def __init__(self) -> None:
        self._kept: deque[Event] = deque(maxlen=KEPT)
        # In milliseconds, so that the numbers of a restarted service are larger.
        self.newest = int(time.time() * 1000)
        self._news = asyncio.Event()
        self.closed = False

    def publish(self, kind: str, subject: str, data: str) -> None:
        """Add an event."""
        self.newest = max(self.newest + 1, int(time.time() * 1000))
        self._kept.append(Event(self.newest, kind, subject, data))
        self._wake()

    def close(self) -> None:
        """End all streams after the events so far."""
        self.closed = True
        self._wake()

    def _wake(self) -> None:
        news, self._news = self._news, asyncio.Event()
        news.set()

    def knows(self, number: int) -> bool:
        """Return whether all events after this number are still kept."""
        return bool(self._kept) and self._kept[0].number <= number <= self.newest

    def _since(self, number: int) -> list[Event]:
        return list(takewhile(lambda event: event.number > number, reversed(self._kept)))[::-1]

    async def after(self, number: int, subject: str | None = None) -> AsyncIterator[Event]:
        """Yield the events after a number as they arrive, until the service stops.

        Args:
            number: Number of the last event that the client knows.
            subject: Only events of this job; None for all.
        """
        while True:
            news = self._news
            for event in self._since(number):
                number = event.number
                if subject in (None, event.subject):
                    yield event
            if self.closed:
                return
            if news is self._news:
                await news.wait()
