"""A worker process as the service sees it: messages in both directions, and how it ended."""

import asyncio
import logging
import multiprocessing
import signal
import threading
from collections.abc import Callable
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from typing import Any

from pipeline.serve import messages
from pipeline.serve.records import Job

log = logging.getLogger(__name__)


class Worker:
    """A worker process.

    Args:
        settings: Settings of the process.
        receive: Called in the event loop with each message, and with None when the process has ended.
    """

    def __init__(self, settings: messages.WorkerSettings, receive: "Callable[[Worker, Any], None]") -> None:
        from pipeline.serve.worker.process import work

        context = multiprocessing.get_context("spawn")
        self._connection: Connection
        self._connection, theirs = context.Pipe()
        self._process: SpawnProcess = context.Process(
            target=work, args=(theirs, settings), name="skelpipe-worker", daemon=True
        )
        self._process.start()
        theirs.close()
        self._receive = receive
        self._loop = asyncio.get_running_loop()
        self._sending = threading.Lock()
        self.job: Job | None = None
        self.progress: messages.Progress | None = None
        # The job that was cancelled, until the worker has confirmed it.
        self.cancelled: str | None = None
        self.ready: messages.Ready | None = None
        # Requests whose answers it computes besides the job; None while it computes none.
        self.answering: tuple[int, ...] | None = None
        threading.Thread(target=self._listen, name="worker-messages", daemon=True).start()

    @property
    def pid(self) -> int:
        """Number of the process."""
        assert self._process.pid is not None
        return self._process.pid

    def send(self, message: Any) -> None:
        """Send a message; does nothing if the process has ended, which is noticed elsewhere."""
        try:
            with self._sending:
                self._connection.send(message)
        except (BrokenPipeError, ConnectionResetError, OSError):
            log.debug("worker %s has ended", self.pid)

    def kill(self) -> None:
        """End the process at once."""
        self._process.kill()

    def how_it_ended(self) -> str:
        """Return how the process has ended, for messages."""
        self._process.join(5)
        code = self._process.exitcode
        if code is None or code >= 0:
            return f"with exit status {code}"
        memory = " (perhaps because memory was short)" if signal.Signals(-code).name == "SIGKILL" else ""
        return f"by signal {signal.Signals(-code).name}{memory}"

    def _listen(self) -> None:
        try:
            while True:
                message = self._connection.recv()
                self._loop.call_soon_threadsafe(self._receive, self, message)
        except (EOFError, OSError):
            pass
        self._process.join(5)
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._receive, self, None)
