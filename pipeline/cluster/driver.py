"""The driver: gives tasks to actors, collects their answers, and replaces actors that die or hang.

It holds names and paths only. No data passes through it or through Ray's object store: actors read their inputs and
write their results themselves.
"""

import logging
from collections.abc import Sequence
from time import monotonic, sleep
from typing import Any

from pipeline.cluster.connection import cause_of
from pipeline.cluster.messages import Answer, Ready, Status
from pipeline.cluster.reports import Reports
from pipeline.cluster.schedule import Kind, Schedule, Task
from pipeline.cluster.workers import MOST_TASKS_AT_ONCE, Setup, Worker, Workers, first_line

# Seconds between two questions for the progress of an actor.
STATUS_INTERVAL = 2.0
# Seconds after which the driver looks again for a place for its first actor.
NO_ACTOR_SECONDS = 0.2

log = logging.getLogger(__name__)


class Driver:
    """Does tasks with the actors of a cluster.

    Args:
        tasks: The tasks.
        setup: How the actors are started.
        reports: Takes what happens.
    """

    def __init__(self, tasks: Sequence[Task], setup: Setup, reports: Reports) -> None:
        self._schedule = Schedule(tasks)
        self._workers = Workers(setup, reports)
        self._options, self._arguments, self._reports = setup.options, setup.arguments, reports
        self._asked = monotonic()

    def run(self) -> None:
        """Does all tasks; leaves the actors when it is done or interrupted.

        Raises:
            SkelpipeError: No actor can start.
        """
        try:
            while self._left():
                self._workers.match(self._left())
                self._feed()
                self._handle_answers()
                if monotonic() - self._asked >= STATUS_INTERVAL:
                    self._asked = monotonic()
                    self._ask()
                    self._end_hanging()
        finally:
            self._workers.leave()

    def _left(self) -> int:
        """Number of tasks that are waiting or in progress."""
        return len(self._schedule) + sum(len(worker.running) for worker in self._workers.all.values())

    def _feed(self) -> None:
        ready = self._workers.ready
        names = [worker.name for worker in ready]
        for worker in ready:
            assert worker.ready is not None
            while len(worker.running) < min(worker.ready.tasks_at_once, MOST_TASKS_AT_ONCE):
                task = self._schedule.next_for(worker.name, names, list(worker.running.values()))
                if task is None:
                    break
                worker.send(task, self._arguments(task))

    def _handle_answers(self) -> None:
        import ray

        owners = {one: worker for worker in self._workers.all.values() for one in worker.references()}
        if not owners:
            sleep(NO_ACTOR_SECONDS)
            return
        arrived, _ = ray.wait(list(owners), num_returns=1, timeout=STATUS_INTERVAL)
        if arrived:
            arrived, _ = ray.wait(list(owners), num_returns=len(owners), timeout=0)
        for reference in arrived:
            worker = owners[reference]
            if worker.name not in self._workers.all:
                # An earlier answer of this round ended it.
                continue
            try:
                answer = ray.get(reference)
            except ray.exceptions.ActorUnavailableError as error:
                self._not_reached(worker, reference, error)
            except ray.exceptions.RayError as error:
                self._lost(worker, reference, cause_of(error))
            else:
                self._take(worker, reference, answer)

    def _take(self, worker: Worker, reference: Any, answer: Ready | Answer | Status) -> None:
        worker.is_reached = True
        if isinstance(answer, Ready):
            self._workers.opened(worker, answer)
        elif isinstance(answer, Status):
            worker.status = None
            self._count(worker, answer.done)
            worker.heard = max(worker.heard, monotonic() - answer.quiet)
            worker.duration = answer.duration
        else:
            self._count(worker, answer.done)
            self._end_task(worker, worker.end_of(reference), answer)

    def _count(self, worker: Worker, done: int) -> None:
        # Answers can overtake each other, so an older one may hold a smaller number.
        new = max(0, done - worker.done)
        worker.done += new
        self._reports.progress(new)

    def _end_task(self, worker: Worker, task: Task, answer: Answer) -> None:
        if answer.failure is not None:
            self._failed(worker, task, "error", answer.failure, answer)
        else:
            self._reports.finished(task, answer)

    def _failed(self, worker: Worker, task: Task, kind: Kind, reason: str, answer: Answer | None = None) -> None:
        """Handles a failed attempt; `reason` and `answer` are what is reported if it was the last one."""
        if self._schedule.failed(task, kind, worker.name):
            log.info("%s: %s; to be repeated on another actor", task.name, reason)
            self._reports.retried(kind)
        else:
            self._reports.given_up(task, kind, reason, answer)

    def _lost(self, worker: Worker, reference: Any, error: Exception) -> None:
        """Handles an actor that answered with an error, or whose process or node has gone."""
        if reference is worker.opening:
            self._workers.not_opened(worker, error)
            return
        if not self._workers.is_node_alive(worker):
            self._give_back(worker)
        else:
            log.info("%s on %s: %s", worker.name, worker.node, error)
            self._end(worker, "killed", f"ended its actor on {worker.node} ({first_line(error)})")

    def _not_reached(self, worker: Worker, reference: Any, error: Exception) -> None:
        """Handles a call that was lost on the network. The actor may live, and may even be doing the task."""
        if reference is worker.opening:
            self._workers.not_opened(worker, error)
        elif reference is worker.status:
            worker.status, worker.is_reached = None, False
        else:
            self._leave(worker)

    def _leave(self, worker: Worker) -> None:
        """Ends an actor that cannot be reached. Its tasks are not the cause, unless that happens again and again."""
        if not self._workers.is_node_alive(worker):
            self._give_back(worker)
            return
        self._reports.say(f"{worker.node}: cannot be reached; its work is repeated elsewhere")
        self._workers.end(worker)
        for task in worker.running.values():
            if not self._schedule.lost(task, worker.name):
                reason = f"{task.lost} actors could not be reached while they did it, the last one on {worker.node}"
                self._reports.given_up(task, "killed", f"{reason}; run the command again to retry it", None)

    def _give_back(self, worker: Worker) -> None:
        """Ends an actor whose node has gone."""
        self._reports.say(f"{worker.node}: the node has left the cluster; its work is repeated elsewhere")
        self._workers.end(worker)
        for task in worker.running.values():
            self._schedule.give_back(task)

    def _end(self, worker: Worker, kind: Kind, reason: str) -> None:
        """Ends an actor because of its tasks."""
        self._workers.end(worker)
        for task in worker.running.values():
            attempts = task.failures.total() + 1
            text = f"{reason}; given up after {attempts} attempts, run the command again to retry it"
            self._failed(worker, task, kind, text)

    def _ask(self) -> None:
        ready = self._workers.ready
        for worker in ready:
            if worker.running and worker.status is None:
                worker.status = worker.handle.status.remote()
        running = sum(len(worker.running) for worker in ready)
        self._reports.state(waiting=len(self._schedule), running=running, actors=len(ready))

    def _end_hanging(self) -> None:
        for worker in self._workers.ready:
            patience = self._options.patience(worker.duration)
            if not worker.running or monotonic() - worker.heard <= patience:
                continue
            if not worker.is_reached:
                self._leave(worker)
            else:
                self._end(worker, "hung", f"made no progress for {patience:.0f} s on {worker.node}")
