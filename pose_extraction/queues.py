"""Bounded queues between threads, and items that are computed in another thread ahead of their use."""

import queue
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Generic, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")
# Interval in seconds at which a waiting producer checks whether the consumer has left.
POLL = 0.1


@dataclass(frozen=True)
class _End:
    """Last entry of a producer: it has no more items, or has failed."""

    error: BaseException | None = None


class BoundedQueue(Generic[Item]):
    """Bounded queue of items from producer threads to one consumer thread.

    Args:
        most: Maximum number of waiting items; `put` blocks beyond it.
        producers: Number of producers; the items end when each of them has called `end`.
    """

    def __init__(self, most: int, *, producers: int = 1) -> None:
        self._waiting: queue.Queue[Item | _End] = queue.Queue(most)
        self._producers = producers
        self._left = threading.Event()

    @property
    def left(self) -> bool:
        """Whether the consumer has left, so that producers can stop."""
        return self._left.is_set()

    def put(self, item: Item) -> bool:
        """Add an item; return False if the consumer has left, which drops the item."""
        return self._put(item)

    def end(self, error: BaseException | None = None) -> None:
        """Mark the end of a producer's items.

        Args:
            error: Raised in the consumer, after the items before it; None if the producer has not failed.
        """
        self._put(_End(error))

    def leave(self) -> None:
        """Tell the producers that no more items are consumed."""
        self._left.set()

    def _put(self, entry: Item | _End) -> bool:
        while not self._left.is_set():
            try:
                self._waiting.put(entry, timeout=POLL)
            except queue.Full:
                continue
            return True
        return False

    def __iter__(self) -> Generator[Item, None, None]:
        running = self._producers
        while running:
            entry = self._waiting.get()
            if not isinstance(entry, _End):
                yield entry
            elif entry.error is not None:
                raise entry.error
            else:
                running -= 1


def prefetch(items: Iterable[Item], most: int, *, name: str) -> Generator[Item, None, None]:
    """Iterate over items in another thread and yield them here.

    Closing the generator stops the thread, and closes `items` if it is a generator.

    Args:
        items: Iterated in the thread; its exceptions are raised here.
        most: Maximum number of waiting items.
        name: Name of the thread.
    """
    waiting: BoundedQueue[Item] = BoundedQueue(most)

    def work() -> None:
        try:
            for item in items:
                if not waiting.put(item):
                    break
            if isinstance(items, Generator):
                items.close()
        except BaseException as error:  # noqa: BLE001  (passed to the consumer, which raises it)
            waiting.end(error)
        else:
            waiting.end()

    thread = threading.Thread(target=work, name=name, daemon=True)
    thread.start()
    try:
        yield from waiting
    finally:
        waiting.leave()
        thread.join()


def map_ahead(
    call: Callable[[Item], Result], items: Iterable[Item], *, workers: int, name: str
) -> Generator[Result, None, None]:
    """Call a function with each item in other threads, and yield the results here, in the order of the items.

    Closing the generator waits for the calls that have begun.

    Args:
        call: The function; its exceptions are raised here when their turn comes.
        items: Iterated here, not more than `workers` ahead of the results.
        workers: Number of threads.
        name: Start of the names of the threads.
    """
    with ThreadPoolExecutor(workers, thread_name_prefix=name) as pool:
        begun: deque[Future[Result]] = deque()
        try:
            for item in items:
                begun.append(pool.submit(call, item))
                if len(begun) > workers:
                    yield begun.popleft().result()
            while begun:
                yield begun.popleft().result()
        finally:
            for future in begun:
                future.cancel()
