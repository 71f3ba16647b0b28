"""A process of the cluster that does one job at a time, of trainings or measurements that do not depend on each other.

This module imports nothing heavy: the number of threads must be set before the numeric libraries are loaded.
"""

import logging
import socket
from dataclasses import dataclass
from typing import Any, Protocol

from pipeline.cluster.messages import Ready, Status
from pipeline.cluster.process import begin_process, enter_folder

log = logging.getLogger(__name__)


class Progress(Protocol):
    """Takes the number of units of work that have just been done."""

    def __call__(self, count: int, /) -> None: ...


class Work(Protocol):
    """What the actors of a run do; it is pickled, and each actor has a copy."""

    def prepare(self) -> None:
        """Prepares an actor.

        Raises:
            SkelpipeError: Its machine cannot do the jobs, or would have other results than the driver's.
        """
        ...

    def do(self, job: Any, progress: Progress) -> Any:
        """Does one job, and writes its files.

        Args:
            job: The job.
            progress: Takes units of work that are done.

        Returns:
            A small result for the driver.
        """
        ...


@dataclass(frozen=True)
class JobAnswer:
    """The end of one job.

    Args:
        result: What `Work.do` returned.
        done: Number of units of work that the actor has done since its start.
        failure: Why it failed and is repeated; None if it ended.
    """

    result: Any
    done: int
    failure: str | None = None


class JobActor:
    """Does jobs, one at a time.

    Args:
        cpus: Number of cores.
        log_level: Level of the log.
    """

    def __init__(self, cpus: int, log_level: int) -> None:
        import ray

        begin_process(cpus, log_level)
        self._node, self._node_id = socket.gethostname(), ray.get_runtime_context().get_node_id()
        self._done = 0

    def open(self, work: bytes, folder: str | None, marker: str) -> Ready:
        """Prepares for the jobs.

        Args:
            work: See `Work`; packed by Ray.
            folder: See `enter_folder`.
            marker: See `enter_folder`.

        Raises:
            SkelpipeError: This machine cannot do the jobs.
        """
        from ray import cloudpickle

        enter_folder(self._node, folder, marker)
        # Only now: unpacking imports the numeric libraries.
        self._work: Work = cloudpickle.loads(work)
        self._work.prepare()
        return Ready(self._node, self._node_id, 1)

    def run(self, job: Any) -> JobAnswer:
        """Does a job."""
        try:
            return JobAnswer(self._work.do(job, self._count), self._done)
        except Exception as error:
            log.warning("a job failed", exc_info=True)
            return JobAnswer(None, self._done, f"{type(error).__name__}: {error}")

    def status(self) -> Status:
        """Return the progress. A job may take any time, so only an actor that does not answer counts as hanging."""
        return Status(self._done, 0.0, 0.0)

    def _count(self, count: int, /) -> None:
        self._done += count
