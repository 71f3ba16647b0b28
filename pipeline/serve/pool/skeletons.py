"""Requests for skeletons on their way to a worker and back, and what becomes of them when the worker dies."""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pipeline.serve import messages
from pipeline.serve.pool.worker import Worker
from pipeline.serve.requests.errors import ServiceError


class SkeletonRequests:
    """The requests without an answer. All methods run in the event loop."""

    def __init__(self) -> None:
        self._waiting: dict[int, asyncio.Future[messages.Predicted]] = {}
        self._asked: dict[int, Worker] = {}
        self._newest = 0

    @property
    def open(self) -> int:
        """Number of requests without an answer."""
        return len(self._asked)

    async def ask(self, workers: Sequence[Worker], path: Path, run: Path, threshold: Any) -> messages.Predicted:
        """Send a request to the worker with the fewest requests, and return the answer.

        Args:
            workers: Workers to choose from.
            path: Skeleton file.
            run: The run.
            threshold: See `JobSettings`.

        Raises:
            ServiceError: The worker died.
        """
        load = list(self._asked.values())
        worker = min(workers, key=load.count)
        self._newest += 1
        number, waiting = self._newest, asyncio.get_running_loop().create_future()
        self._waiting[number], self._asked[number] = waiting, worker
        worker.send(messages.PredictSkeletons(number, path, run, threshold))
        try:
            answer: messages.Predicted = await waiting
            return answer
        finally:
            self._waiting.pop(number, None)
            self._asked.pop(number, None)

    def answered(self, message: messages.Predicted) -> None:
        """Pass an answer on to the request."""
        self._asked.pop(message.request, None)
        waiting = self._waiting.get(message.request)
        if waiting is not None and not waiting.done():
            waiting.set_result(message)

    def worker_ended(self, worker: Worker, reason: str, *, killed: bool) -> None:
        """End the requests of a worker that has died.

        Args:
            worker: The worker.
            reason: How it ended.
            killed: Whether the service ended it, so that no request can be the cause.
        """
        computed = () if killed else worker.answering or ()
        for number in [one for one, asked in self._asked.items() if asked is worker]:
            self._asked.pop(number)
            waiting = self._waiting[number]
            if not waiting.done():
                waiting.set_exception(_failure(number in computed, len(computed), reason))


def _failure(computed: bool, together: int, reason: str) -> ServiceError:
    """Return the error of a request whose worker has died.

    Args:
        computed: Whether its answer was being computed.
        together: Number of requests that were computed together.
        reason: How the worker ended.
    """
    if computed and together == 1:
        return ServiceError(
            500,
            "worker_died",
            f"the worker ended {reason} while it computed these skeletons; check them, then send them again",
        )
    why = f"computed this request and {together - 1} others" if computed else "was to answer this request"
    return ServiceError(503, "worker_died", f"the worker that {why} ended {reason}; try again", {"Retry-After": "5"})
