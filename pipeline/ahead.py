"""Work done in a thread of its own, ahead of those who wait for it, in bounded memory."""

import queue
import threading
from collections.abc import Generator, Iterable
from typing import Generic, TypeVar

Item = TypeVar("Item")
# Seconds after which a thread that waits looks whether it is still wanted.
POLL = 0.1


def ahead(items: Iterable[Item], most: int, *, name: str) -> Generator[Item, None, None]:
    """The same items, taken from their source by another thread.

    Closing the generator ends the thread, and closes the source if that is a generator.

    Args:
        items: What the thread goes through; what it raises is raised here.
        most: Items that may wait.
        name: Of the thread.
    """
    waiting: queue.Queue[tuple[Item | None, BaseException | None, bool]] = queue.Queue(most)
    stop = threading.Event()

    def put(item: Item | None, error: BaseException | None, ended: bool) -> bool:
        while not stop.is_set():
            try:
                waiting.put((item, error, ended), timeout=POLL)
            except queue.Full:
                continue
            return True
        return False

    def work() -> None:
        try:
            for item in items:
                if not put(item, None, False):
                    break
            if isinstance(items, Generator):
                items.close()
            put(None, None, True)
        except BaseException as error:  # noqa: BLE001  (handed to the consumer, which raises it)
            put(None, error, True)

    thread = threading.Thread(target=work, name=name, daemon=True)
    thread.start()
    try:
        while True:
            item, error, ended = waiting.get()
            if error is not None:
                raise error
            if ended:
                return
            yield item  # type: ignore[misc]
    finally:
        stop.set()
        thread.join()


class Feed(Generic[Item]):
    """Items that one thread gives and another goes through as they come, as many as `most` waiting at a time.

    Args:
        most: Items that may wait; the giver waits beyond them.
    """

    def __init__(self, most: int) -> None:
        self._waiting: queue.Queue[tuple[Item | None, bool]] = queue.Queue(most)
        self._left = threading.Event()

    def give(self, item: Item) -> None:
        """Adds an item; it is lost when the taker has left."""
        self._put((item, False))

    def end(self) -> None:
        """Says that no more will come."""
        self._put((None, True))

    def leave(self) -> None:
        """Says that no more will be taken."""
        self._left.set()

    def _put(self, item: tuple[Item | None, bool]) -> None:
        while not self._left.is_set():
            try:
                self._waiting.put(item, timeout=POLL)
            except queue.Full:
                continue
            return

    def __iter__(self) -> Generator[Item, None, None]:
        while True:
            item, ended = self._waiting.get()
            if ended:
                return
            yield item  # type: ignore[misc]
