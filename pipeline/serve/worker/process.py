"""A worker process: keeps the networks loaded, and processes one job at a time."""

import logging
import os
import queue
import threading
from multiprocessing.connection import Connection
from typing import Any

from pipeline.serve import messages
from pipeline.serve.worker.child import begin_child
from pose_extraction.errors import SkelpipeError

NICENESS = 5

log = logging.getLogger(__name__)


def work(connection: Connection, settings: messages.WorkerSettings) -> None:
    """Run a worker until the service ends or closes the pipe; the target of the process.

    Args:
        connection: Pipe to the service.
        settings: Settings of the worker.
    """
    begin_child(NICENESS)
    _Worker(connection, settings).run()


class _Worker:
    def __init__(self, connection: Connection, settings: messages.WorkerSettings) -> None:
        self._connection, self._settings = connection, settings
        self._sending = threading.Lock()
        self._jobs: queue.Queue[messages.RunJob] = queue.Queue()
        self._cancelled: set[str] = set()
        self._requests: queue.Queue[messages.Describe | messages.PredictSkeletons] = queue.Queue()

    def run(self) -> None:
        """Load the networks, and process jobs."""
        # Listens already while libraries and networks are loaded, so that the process ends with the service.
        threading.Thread(target=self._listen, name="messages", daemon=True).start()
        from pipeline.serve.worker.job import JobContext, run_job
        from pipeline.serve.worker.networks import NetworkCache
        from pipeline.serve.worker.requests import answer_requests

        settings = self._settings
        self._cache = NetworkCache(settings.engine, settings.allow_agpl)
        context = JobContext(
            self._cache, settings.networks, settings.allow, settings.most_frames, self._send,
            self._cancelled.__contains__,
        )  # fmt: skip
        try:
            self._cache.get(settings.run, settings.networks)
        except (SkelpipeError, OSError) as error:
            self._send(messages.Ready(str(error)))
        else:
            self._send(messages.Ready())
        threading.Thread(
            target=answer_requests, args=(self._requests, self._cache, settings.engine, self._send), daemon=True
        ).start()
        while True:
            order = self._jobs.get()
            self._send(run_job(order, context))
            self._cancelled.discard(order.job)

    def _send(self, message: Any) -> None:
        with self._sending:
            self._connection.send(message)

    def _listen(self) -> None:
        while True:
            try:
                message = self._connection.recv()
            except (EOFError, OSError):
                # The service has ended.
                os._exit(0)
            if isinstance(message, messages.RunJob):
                self._jobs.put(message)
            elif isinstance(message, messages.CancelJob):
                self._cancelled.add(message.job)
            else:
                self._requests.put(message)
