"""The actors of a run: starting them where there is room, replacing dead ones, and what each is doing."""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any

from pipeline.extract.cluster.actor import VideoActor
from pipeline.extract.cluster.connection import Demand, living_nodes
from pipeline.extract.cluster.options import ClusterOptions
from pipeline.extract.cluster.receipts import Ready
from pipeline.extract.cluster.reports import Reports
from pipeline.extract.cluster.schedule import Task
from pipeline.inputs.labels import ClipLabel
from pose_extraction.errors import SkelpipeError

if TYPE_CHECKING:
    from pipeline.extract.plan import ExtractionPlan

# Calls of an actor besides those that process videos: the progress, and one to spare.
OTHER_CALLS = 2
# Upper limit of videos that an actor has at a time; threads that wait cost nothing.
MOST_VIDEOS_AT_ONCE = 16
# Seconds between two looks at the nodes, and after which waiting for them is announced.
NODES_INTERVAL, WAITING_NOTICE = 5.0, 30.0
# Number of actors in a row that cannot load their networks, after which the run ends or continues with the others.
MOST_BAD_STARTS = 3


class RemoteActor(VideoActor):
    """An actor that knows on which node Ray has placed it."""

    def __init__(self, cpus: int, log_level: int) -> None:
        import ray

        super().__init__(cpus, log_level, ray.get_runtime_context().get_node_id())


@dataclass(frozen=True)
class Setup:
    """How the actors of a run are started.

    Args:
        options: See `ClusterOptions`.
        demand: What one actor needs.
        marker: File in the output folder by which actors recognise it.
        actor: Class of the actors; benchmarks have another one.
    """

    options: ClusterOptions
    demand: Demand
    marker: Path
    actor: type = RemoteActor


@dataclass(eq=False)
class Worker:
    """An actor as the driver sees it.

    Args:
        name: Its name, unique in this run.
        handle: Ray's handle.
        opening: Reference of the call that loads its networks; None when they are loaded.
        ready: Where it is; None until its networks are loaded.
        running: Its videos, by reference of their call.
        status: Reference of the last question for its progress; None if it was answered.
        frames: Number of its frames that were counted.
        since: When it was ready.
        heard: When it last made progress.
        duration: Longest duration in seconds of its videos, as far as known.
        busy: Seconds in which it had a video, until `busy_since`.
        busy_since: Since when it has a video; None if it has none.
    """

    name: str
    handle: Any
    opening: Any
    ready: Ready | None = None
    running: dict[Any, Task] = field(default_factory=dict)
    status: Any = None
    frames: int = 0
    since: float = 0.0
    heard: float = 0.0
    duration: float = 0.0
    busy: float = 0.0
    busy_since: float | None = None

    @property
    def node(self) -> str:
        """Name of its machine."""
        return self.ready.node if self.ready is not None else "a node"

    def references(self) -> Iterator[Any]:
        """References of all calls that have not been answered."""
        yield from self.running
        yield from (one for one in (self.opening, self.status) if one is not None)

    def send(self, task: Task, clips: Sequence[ClipLabel]) -> None:
        """Starts a video.

        Args:
            task: The video, or a piece of it.
            clips: Its clips.
        """
        if self.busy_since is None:
            self.busy_since = self.heard = monotonic()
        self.running[self.handle.extract.remote(task.work, task.name, clips)] = task

    def done(self, reference: Any) -> Task:
        """Notes that a call for a video has been answered."""
        task = self.running.pop(reference)
        self.heard = monotonic()
        if not self.running and self.busy_since is not None:
            self.busy += monotonic() - self.busy_since
            self.busy_since = None
        return task


class Workers:
    """All actors of a run.

    Args:
        plan: The plan, without clips.
        folder: Working directory that relative paths refer to; None if there are none.
        setup: See `Setup`.
        reports: Takes the lives of the actors, and messages.
    """

    def __init__(self, plan: "ExtractionPlan", folder: str | None, setup: Setup, reports: Reports) -> None:
        import ray

        self._plan, self._folder, self._marker = plan, folder, setup.marker
        self._options, self._demand, self._reports = setup.options, setup.demand, reports
        resources = setup.demand.options()
        self._class = ray.remote(max_concurrency=MOST_VIDEOS_AT_ONCE + OTHER_CALLS, **resources)(setup.actor)
        self._names = count(1)
        self._bad_starts = self._given_up = 0
        self._room, self._room_since = 0, -NODES_INTERVAL
        self._waiting_since = monotonic()
        self.all: dict[str, Worker] = {}

    @property
    def ready(self) -> list[Worker]:
        """The actors that take videos."""
        return [worker for worker in self.all.values() if worker.ready is not None]

    def match(self, videos: int) -> None:
        """Starts actors where there is room.

        Args:
            videos: Number of videos that are waiting or in progress; more actors would have nothing to do.
        """
        if self._options.actors is not None:
            wanted = self._options.actors
        else:
            if monotonic() - self._room_since >= NODES_INTERVAL:
                self._room, self._room_since = sum(map(self._demand.fits, living_nodes())), monotonic()
            wanted = self._room
        for _ in range(min(wanted - self._given_up, videos) - len(self.all)):
            self._start()
        if any(self.ready):
            self._waiting_since = monotonic()
        elif monotonic() - self._waiting_since >= WAITING_NOTICE:
            self._waiting_since = monotonic()
            need = f"{self._demand.cpus} free cores{', a GPU' if self._demand.gpus else ''}"
            memory = f"{self._demand.memory / 2**30:g} GiB of memory"
            self._reports.say(f"waiting for a node with {need} and {memory}; `ray status` shows what is in use")

    def opened(self, worker: Worker, ready: Ready) -> None:
        """Notes that an actor has loaded its networks."""
        worker.opening, worker.ready = None, ready
        worker.since = worker.heard = monotonic()
        self._bad_starts = 0
        self._reports.summary.actor_ready(ready.node)

    def not_opened(self, worker: Worker, error: Exception) -> None:
        """Notes that an actor could not load its networks.

        Raises:
            SkelpipeError: No actor can.
        """
        self.end(worker)
        self._bad_starts += 1
        reason = (
            str(error) if isinstance(error, SkelpipeError) else f"an actor ended while it started ({first_line(error)})"
        )
        if self._bad_starts >= MOST_BAD_STARTS:
            if not self.ready:
                raise SkelpipeError(f"no actor can load the networks: {reason}") from error
            # The others continue; this place would fail again and again.
            self._given_up += 1
            self._bad_starts = 0
        self._reports.say(f"cannot use a node: {reason}")

    def end(self, worker: Worker) -> None:
        """Ends the process of an actor, if it has not ended itself."""
        import ray

        self.all.pop(worker.name, None)
        ray.kill(worker.handle)
        if worker.ready is not None:
            busy = worker.busy + (monotonic() - worker.busy_since if worker.busy_since is not None else 0.0)
            self._reports.summary.actor_ended(worker.node, monotonic() - worker.since, busy)

    def is_node_alive(self, worker: Worker) -> bool:
        """Whether the node of an actor is still part of the cluster."""
        return worker.ready is None or worker.ready.node_id in {node.node_id for node in living_nodes()}

    def _start(self) -> None:
        handle = self._class.remote(self._demand.cpus, logging.getLogger().getEffectiveLevel())
        opening = handle.open.remote(self._plan, self._folder, str(self._marker))
        worker = Worker(f"actor-{next(self._names)}", handle, opening)
        self.all[worker.name] = worker


def first_line(error: Exception) -> str:
    """Returns the first line of an error; those of Ray have many."""
    return str(error).strip().partition("\n")[0]
