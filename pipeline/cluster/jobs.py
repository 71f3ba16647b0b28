"""Jobs that do not depend on each other, such as trainings, on the actors of a cluster."""

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from pipeline.cluster.connection import Demand, connected, demand_of, living_nodes, on_a_node
from pipeline.cluster.driver import Driver
from pipeline.cluster.job_actor import JobActor, JobAnswer, Work
from pipeline.cluster.options import ClusterOptions
from pipeline.cluster.process import folder_of_relative, marked
from pipeline.cluster.schedule import Kind, Task
from pipeline.cluster.workers import Setup

log = logging.getLogger(__name__)

Found = TypeVar("Found")


@dataclass(frozen=True)
class ClusterJobs:
    """Does jobs on the connected cluster.

    Args:
        options: See `ClusterOptions`.
        demand: What one actor needs.
        say: Takes messages for the user.
        spare: Actors that wait for the next jobs.
    """

    options: ClusterOptions
    demand: Demand
    say: Callable[[str], None]
    spare: list[Any] = field(default_factory=list)

    @property
    def device(self) -> str:
        """Device of an actor. Ray shows each actor only its own GPU."""
        return "cuda:0" if self.demand.gpus else "cpu"

    def ask(self, call: Callable[..., Found], *arguments: object) -> Found:
        """Returns the result of a function that runs where an actor could; see `on_a_node`."""
        return on_a_node(self.demand, call, *arguments)

    def run(
        self,
        work: Work,
        jobs: Sequence[tuple[Any, float]],
        out: Path,
        *,
        paths: Iterable[Path],
        ended: Callable[[Any, Any, str | None], None],
        progress: Callable[[int], None] = lambda count: None,
    ) -> None:
        """Does all jobs. A job whose actor dies is done again by another one, up to three times.

        Args:
            work: What the actors do.
            jobs: Each job with its size, more than 0; the largest come first.
            out: Output folder, on storage that all nodes share.
            paths: Other files and folders that the jobs name, which may be relative.
            ended: Called after each job with the job, its result, and the reason if it was given up.
            progress: Takes units of work that are done.

        Raises:
            SkelpipeError: No actor can be prepared.
        """
        if not jobs:
            return
        from ray import cloudpickle

        tasks = [Task(job, str(number), size) for number, (job, size) in enumerate(jobs)]
        out.mkdir(parents=True, exist_ok=True)
        folder = folder_of_relative([out, *paths])
        with marked(out) as marker:
            opening = (cloudpickle.dumps(work), folder, str(marker.absolute()))
            setup = Setup(self.options, self.demand, JobActor, opening, lambda task: (task.work,), self.spare)
            Driver(tasks, setup, _JobReports(ended, progress, self.say)).run()


@contextmanager
def opened_jobs(options: ClusterOptions, device: str, say: Callable[[str], None]) -> Iterator[ClusterJobs]:
    """Connects to a cluster for the duration of a block.

    Args:
        options: See `ClusterOptions`.
        device: "auto", "cpu" or "cuda": the kind of device of each actor.
        say: Takes messages for the user.

    Raises:
        UsageError: The device is not a kind of device.
        BackendError: There is no cluster, or it has no room for an actor.
    """
    with connected(options):
        yield ClusterJobs(options, demand_of(options, living_nodes(), device), say)


@dataclass(frozen=True)
class _JobReports:
    ended: Callable[[Any, Any, str | None], None]
    progress: Callable[[int], None]
    say: Callable[[str], None]

    def finished(self, task: Task, answer: JobAnswer) -> None:
        self.ended(task.work, answer.result, None)

    def given_up(self, task: Task, kind: Kind, reason: str, answer: JobAnswer | None) -> None:
        self.ended(task.work, None, reason)

    def retried(self, kind: Kind) -> None:
        # The driver logs it.
        pass

    def state(self, *, waiting: int, running: int, actors: int) -> None:
        log.debug("%d jobs wait, %d run on %d actors", waiting, running, actors)

    def actor_ready(self, node: str) -> None:
        log.info("an actor on %s is ready", node)

    def actor_ended(self, node: str, wall: float, busy: float) -> None:
        log.info("an actor on %s ended after %.0f s, %.0f s of them busy", node, wall, busy)
