"""Bounded queues between threads, and items that are computed in another thread ahead of their use."""

import queue
import threading
from collections.abc import Generator, Iterable
from typing import Generic, TypeVar

Item = TypeVar("Item")
# Interval in seconds at which a waiting producer checks whether the consumer has left.
POLL = 0.1


class BoundedQueue(Generic[Item]):
    """Bounded queue of items from one producer thread to one consumer thread.

    Args:
        most: Maximum number of waiting items; `put` blocks beyond it.
    """

    def __init__(self, most: int) -> None:
        self._waiting: queue.Queue[tuple[Item | None, bool]] = queue.Queue(most)
        self._left = threading.Event()

    def put(self, item: Item) -> bool:
        """Add an item; return False if the consumer has left, which drops the item."""
        return self._put((item, False))

    def end(self) -> None:
        """Mark the end of the items."""
        self._put((None, True))

    def leave(self) -> None:
        """Tell the producer that no more items are consumed."""
        self._left.set()

    def _put(self, entry: tuple[Item | None, bool]) -> bool:
        while not self._left.is_set():
            try:
                self._waiting.put(entry, timeout=POLL)
            except queue.Full:
                continue
            return True
        return False

    def __iter__(self) -> Generator[Item, None, None]:
        while True:
            item, ended = self._waiting.get()
            if ended:
                return
            yield item  # type: ignore[misc]


def prefetch(items: Iterable[Item], most: int, *, name: str) -> Generator[Item, None, None]:
    """Iterate over items in another thread and yield them here.

    Closing the generator stops the thread, and closes `items` if it is a generator.

    Args:
        items: Iterated in the thread; its exceptions are raised here.
        most: Maximum number of waiting items.
        name: Name of the thread.
    """
    waiting: BoundedQueue[tuple[Item | None, BaseException | None]] = BoundedQueue(most)

    def work() -> None:
        try:
            for item in items:
                if not waiting.put((item, None)):
                    break
            if isinstance(items, Generator):
                items.close()
        except BaseException as error:  # noqa: BLE001  (passed to the consumer, which raises it)
            waiting.put((None, error))
        waiting.end()

    thread = threading.Thread(target=work, name=name, daemon=True)
    thread.start()
    try:
        for item, error in waiting:
            if error is not None:
                raise error
            yield item  # type: ignore[misc]
    finally:
        waiting.leave()
        thread.join()
