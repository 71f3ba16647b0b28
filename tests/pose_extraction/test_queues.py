"""Bounded queues between threads."""

import threading
from collections.abc import Iterator

import pytest

from pose_extraction.queues import BoundedQueue, map_ahead, prefetch


def test_items_end_with_the_last_of_several_producers() -> None:
    waiting: BoundedQueue[int] = BoundedQueue(2, producers=2)

    def produce(numbers: range) -> None:
        for number in numbers:
            assert waiting.put(number)
        waiting.end()

    threads = [threading.Thread(target=produce, args=(range(start, start + 20),)) for start in (0, 100)]
    for thread in threads:
        thread.start()
    found = list(waiting)
    # Those of each producer in order, however the two alternate.
    assert [number for number in found if number < 100] == list(range(20))
    assert [number for number in found if number >= 100] == list(range(100, 120))


def test_a_full_queue_blocks_until_the_consumer_leaves() -> None:
    waiting: BoundedQueue[int] = BoundedQueue(1)
    assert waiting.put(0) and not waiting.left
    accepted: list[bool] = []
    thread = threading.Thread(target=lambda: accepted.append(waiting.put(1)))
    thread.start()
    waiting.leave()
    thread.join()
    assert accepted == [False] and waiting.left


def test_an_error_is_raised_after_the_items_before_it() -> None:
    def items() -> Iterator[int]:
        yield 1
        yield 2
        raise ValueError("third")

    several = prefetch(items(), 4, name="test")
    assert (next(several), next(several)) == (1, 2)
    with pytest.raises(ValueError, match="third"):
        next(several)


def test_closing_stops_the_thread_and_closes_its_items() -> None:
    closed = threading.Event()

    def endless() -> Iterator[int]:
        number = 0
        try:
            while True:
                yield number
                number += 1
        finally:
            closed.set()

    items = prefetch(endless(), 2, name="prefetching")
    assert next(items) == 0
    items.close()
    assert closed.is_set()
    assert "prefetching" not in [thread.name for thread in threading.enumerate()]


def test_results_of_several_threads_come_in_the_order_of_the_items() -> None:
    second = threading.Event()

    def call(number: int) -> int:
        # The first result is there only after the second one.
        assert second.wait(10) if number == 0 else True
        if number == 1:
            second.set()
        if number == 3:
            raise ValueError("third")
        return number

    results = map_ahead(call, range(10), workers=2, name="test")
    assert [next(results) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(ValueError, match="third"):
        next(results)


def test_items_are_taken_only_as_far_ahead_as_there_are_threads() -> None:
    taken: list[int] = []

    def items() -> Iterator[int]:
        for number in range(100):
            taken.append(number)
            yield number

    results = map_ahead(lambda number: number, items(), workers=3, name="test")
    assert next(results) == 0 and taken == [0, 1, 2, 3]
    results.close()
    assert taken == [0, 1, 2, 3]
