"""Compute items in a separate thread, ahead of the consumer, in bounded memory."""

import queue
import threading
from collections.abc import Generator, Iterable
from typing import Generic, TypeVar

Item = TypeVar("Item")
# Interval in seconds at which a waiting thread checks whether it should stop.
POLL = 0.1


def prefetch(items: Iterable[Item], most: int, *, name: str) -> Generator[Item, None, None]:
    """Iterate over items in another thread and yield them here.

    Closing the generator stops the thread, and closes `items` if it is a generator.

    Args:
        items: Iterated in the thread; its exceptions are raised here.
        most: Maximum number of waiting items.
        name: Name of the thread.
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


class BoundedQueue(Generic[Item]):
    """Bounded queue of items from one producer thread to one consumer thread.

    Args:
        most: Maximum number of waiting items; `put` blocks beyond it.
    """

    def __init__(self, most: int) -> None:
        self._waiting: queue.Queue[tuple[Item | None, bool]] = queue.Queue(most)
        self._left = threading.Event()

    def put(self, item: Item) -> None:
        """Add an item; it is dropped if the consumer has left."""
        self._wait_and_put((item, False))

    def end(self) -> None:
        """Mark the end of the items."""
        self._wait_and_put((None, True))

    def leave(self) -> None:
        """Tell the producer that no more items are consumed."""
        self._left.set()

    def _wait_and_put(self, item: tuple[Item | None, bool]) -> None:
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
