"""The actors of a run: starting them where there is room, replacing dead ones, and what each is doing."""

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import count
from time import monotonic
from typing import Any

from pipeline.cluster.connection import Demand, living_nodes
from pipeline.cluster.messages import Ready
from pipeline.cluster.options import ClusterOptions
from pipeline.cluster.reports import Reports
from pipeline.cluster.schedule import Task
from pose_extraction.errors import SkelpipeError

# Calls of an actor besides those for tasks: the progress, and one to spare.
OTHER_CALLS = 2
# Upper limit of tasks that an actor has at a time; threads that wait cost nothing.
MOST_TASKS_AT_ONCE = 16
# Seconds between two looks at the nodes, and after which waiting for them is announced.
NODES_INTERVAL, WAITING_NOTICE = 5.0, 30.0
# Number of actors in a row that cannot start, after which the run ends or continues with the others.
MOST_BAD_STARTS = 3


@dataclass(frozen=True)
class Setup:
    """How the actors of a run are started.

    Args:
        options: See `ClusterOptions`.
        demand: What one actor needs.
        actor: Class of the actors. They are made from their number of cores and the level of the log, and have the
            methods `open`, which returns `Ready`, `run`, which returns an `Answer`, and `status`.
        opening: Arguments of `open`, the same for all actors.
        arguments: Returns the arguments of `run` for a task.
        spare: Handles of actors that an earlier run has left, and to which this run leaves its own. Their processes
            have loaded the libraries. None if the actors end with the run.
    """

    options: ClusterOptions
    demand: Demand
    actor: type
    opening: tuple[Any, ...]
    arguments: Callable[[Task], tuple[Any, ...]]
    spare: list[Any] | None = None


@dataclass(eq=False)
class Worker:
    """An actor as the driver sees it.

    Args:
        name: Its name, unique in this run.
        handle: Ray's handle.
        opening: Reference of the call of `open`; None when it was answered.
        is_spare: Whether an earlier run has left it.
        ready: Where it is; None until it can take tasks.
        running: Its tasks, by reference of their call.
        status: Reference of the last question for its progress; None if it was answered.
        is_reached: Whether its last answer arrived, or none was lost.
        done: Number of its units of work that were counted.
        since: When it was ready.
        heard: When it last made progress.
        duration: Seconds in addition to the usual patience after which it counts as hanging.
        busy: Seconds in which it had a task, until `busy_since`.
        busy_since: Since when it has a task; None if it has none.
    """

    name: str
    handle: Any
    opening: Any
    is_spare: bool = False
    ready: Ready | None = None
    running: dict[Any, Task] = field(default_factory=dict)
    status: Any = None
    is_reached: bool = True
    done: int = 0
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

    def send(self, task: Task, arguments: tuple[Any, ...]) -> None:
        """Starts a task.

        Args:
            task: The task.
            arguments: What the actor gets.
        """
        if self.busy_since is None:
            self.busy_since = self.heard = monotonic()
        self.running[self.handle.run.remote(*arguments)] = task

    def end_of(self, reference: Any) -> Task:
        """Notes that a call for a task has been answered."""
        task = self.running.pop(reference)
        self.heard = monotonic()
        if not self.running and self.busy_since is not None:
            self.busy += monotonic() - self.busy_since
            self.busy_since = None
        return task


class Workers:
    """All actors of a run.

    Args:
        setup: See `Setup`.
        reports: Takes the lives of the actors, and messages.
    """

    def __init__(self, setup: Setup, reports: Reports) -> None:
        import ray

        self._opening, self._spare, self._reports = setup.opening, setup.spare, reports
        self._options, self._demand = setup.options, setup.demand
        resources = setup.demand.options()
        self._class = ray.remote(max_concurrency=MOST_TASKS_AT_ONCE + OTHER_CALLS, **resources)(setup.actor)
        self._names = count(1)
        self._bad_starts = self._given_up = 0
        self._room, self._room_since = 0, -NODES_INTERVAL
        self._waiting_since = monotonic()
        self.all: dict[str, Worker] = {}

    @property
    def ready(self) -> list[Worker]:
        """The actors that take tasks."""
        return [worker for worker in self.all.values() if worker.ready is not None]

    def match(self, tasks: int) -> None:
        """Starts actors where there is room.

        Args:
            tasks: Number of tasks that are waiting or in progress; more actors would have nothing to do.
        """
        if self._options.actors is not None:
            wanted = self._options.actors
        else:
            if monotonic() - self._room_since >= NODES_INTERVAL:
                self._room, self._room_since = sum(map(self._demand.fits, living_nodes())), monotonic()
            wanted = self._room
        for _ in range(min(wanted - self._given_up, tasks) - len(self.all)):
            self._start()
        if any(self.ready):
            self._waiting_since = monotonic()
        elif monotonic() - self._waiting_since >= WAITING_NOTICE:
            self._waiting_since = monotonic()
            need = f"{self._demand.cpus} free cores{', a GPU' if self._demand.gpus else ''}"
            memory = f"{self._demand.memory / 2**30:g} GiB of memory"
            self._reports.say(f"waiting for a node with {need} and {memory}; `ray status` shows what is in use")

    def opened(self, worker: Worker, ready: Ready) -> None:
        """Notes that an actor can take tasks."""
        worker.opening, worker.ready = None, ready
        worker.since = worker.heard = monotonic()
        self._bad_starts = 0
        self._reports.actor_ready(ready.node)

    def not_opened(self, worker: Worker, error: Exception) -> None:
        """Notes that an actor could not start.

        Raises:
            SkelpipeError: No actor can.
        """
        self.end(worker)
        if worker.is_spare and not isinstance(error, SkelpipeError):
            # It has died between two runs.
            return
        self._bad_starts += 1
        reason = (
            str(error) if isinstance(error, SkelpipeError) else f"an actor ended while it started ({first_line(error)})"
        )
        if self._bad_starts >= MOST_BAD_STARTS:
            if not self.ready:
                raise SkelpipeError(f"no actor can start: {reason}") from error
            # The others continue; this place would fail again and again.
            self._given_up += 1
            self._bad_starts = 0
        self._reports.say(f"cannot use a node: {reason}")

    def end(self, worker: Worker) -> None:
        """Ends the process of an actor, if it has not ended itself."""
        import ray

        ray.kill(worker.handle)
        self._forget(worker)

    def leave(self) -> None:
        """Ends all actors, or leaves those that have nothing to do to the next run."""
        for worker in list(self.all.values()):
            if self._spare is not None and worker.ready is not None and not worker.running:
                self._spare.append(worker.handle)
                self._forget(worker)
            else:
                self.end(worker)

    def _forget(self, worker: Worker) -> None:
        self.all.pop(worker.name, None)
        if worker.ready is not None:
            busy = worker.busy + (monotonic() - worker.busy_since if worker.busy_since is not None else 0.0)
            self._reports.actor_ended(worker.node, monotonic() - worker.since, busy)

    def is_node_alive(self, worker: Worker) -> bool:
        """Whether the node of an actor is still part of the cluster."""
        return worker.ready is None or worker.ready.node_id in {node.node_id for node in living_nodes()}

    def _start(self) -> None:
        is_spare = bool(self._spare)
        if self._spare:
            handle = self._spare.pop()
        else:
            handle = self._class.remote(self._demand.cpus, logging.getLogger().getEffectiveLevel())
        opening = handle.open.remote(*self._opening)
        worker = Worker(f"actor-{next(self._names)}", handle, opening, is_spare)
        self.all[worker.name] = worker


def first_line(error: Exception) -> str:
    """Returns the first line of an error; those of Ray have many."""
    return str(error).strip().partition("\n")[0]
