"""The driver: gives videos to actors, collects their receipts, and replaces actors that die or hang.

It holds paths only. Neither frames nor poses pass through it or through Ray's object store: actors read the videos and
write the results themselves.
"""

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from time import monotonic, sleep
from typing import TYPE_CHECKING, Any

from pipeline.extract.cluster.connection import cause_of
from pipeline.extract.cluster.receipts import Ready, Receipt, Status
from pipeline.extract.cluster.reports import Reports
from pipeline.extract.cluster.schedule import Kind, Schedule, Task
from pipeline.extract.cluster.workers import MOST_VIDEOS_AT_ONCE, Setup, Worker, Workers, first_line
from pipeline.inputs.videos import Source

if TYPE_CHECKING:
    from pipeline.extract.device import Outcome
    from pipeline.extract.pieces import Work
    from pipeline.extract.plan import ExtractionPlan

# Seconds between two questions for the progress of an actor.
STATUS_INTERVAL = 2.0
# Seconds after which the driver looks again for a place for its first actor.
NO_ACTOR_SECONDS = 0.2

log = logging.getLogger(__name__)


class Driver:
    """Extracts videos with the actors of a cluster.

    Args:
        plan: See `ExtractionPlan`.
        tasks: The videos, or pieces of them.
        setup: How the actors are started.
        reports: Takes what happens.
    """

    def __init__(self, plan: "ExtractionPlan", tasks: Sequence[Task], setup: Setup, reports: Reports) -> None:
        self._clips = plan.clips
        self._schedule = Schedule(tasks)
        relative = not (plan.folder.is_absolute() and all(task.source.path.is_absolute() for task in tasks))
        folder = str(Path.cwd()) if relative or _names_relative_networks(plan) else None
        self._workers = Workers(replace(plan, clips={}), folder, setup, reports)
        self._options, self._reports = setup.options, reports
        self._asked = monotonic()

    def run(self) -> None:
        """Extracts all videos; ends the actors when it is done or interrupted.

        Raises:
            SkelpipeError: No actor can load its networks.
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
            for worker in list(self._workers.all.values()):
                self._workers.end(worker)

    def _left(self) -> int:
        """Number of videos that are waiting or in progress."""
        return len(self._schedule) + sum(len(worker.running) for worker in self._workers.all.values())

    def _feed(self) -> None:
        ready = self._workers.ready
        names = [worker.name for worker in ready]
        for worker in ready:
            assert worker.ready is not None
            while len(worker.running) < min(worker.ready.videos_at_once, MOST_VIDEOS_AT_ONCE):
                task = self._schedule.next_for(worker.name, names, list(worker.running.values()))
                if task is None:
                    break
                worker.send(task, self._clips[task.source.frame_dir])

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
            except ray.exceptions.RayError as error:
                self._lost(worker, reference, cause_of(error))
            else:
                self._take(worker, reference, answer)

    def _take(self, worker: Worker, reference: Any, answer: Ready | Receipt | Status) -> None:
        if isinstance(answer, Ready):
            self._workers.opened(worker, answer)
        elif isinstance(answer, Status):
            worker.status = None
            self._count_frames(worker, answer.frames)
            worker.heard = max(worker.heard, monotonic() - answer.quiet)
            worker.duration = answer.duration
        else:
            self._count_frames(worker, answer.frames)
            self._receipt(worker, worker.done(reference), answer)

    def _count_frames(self, worker: Worker, frames: int) -> None:
        # Answers can overtake each other, so an older one may hold a smaller number.
        new = max(0, frames - worker.frames)
        worker.frames += new
        self._reports.frames(new)

    def _receipt(self, worker: Worker, task: Task, receipt: Receipt) -> None:
        outcome = receipt.outcome
        if outcome.error is not None and not outcome.frames:
            self._failed(worker, task, "error", outcome)
        else:
            # If a clip of it has no frames, the next attempt would not find any either.
            self._reports.written(receipt)

    def _failed(self, worker: Worker, task: Task, kind: Kind, outcome: "Outcome") -> None:
        """Handles a failed attempt; `outcome` is what is reported if it was the last one."""
        if self._schedule.failed(task, kind, worker.name):
            log.info("%s: %s; to be repeated on another actor", task.source.path, outcome.error)
            self._reports.retried(kind)
        else:
            self._reports.given_up(outcome, kind)

    def _lost(self, worker: Worker, reference: Any, error: Exception) -> None:
        """Handles an actor that answered with an error, or whose process or node has gone."""
        if reference is worker.opening:
            self._workers.not_opened(worker, error)
            return
        if not self._workers.is_node_alive(worker):
            self._reports.say(f"{worker.node}: the node has left the cluster; its videos are extracted elsewhere")
            self._give_back(worker)
        else:
            log.info("%s on %s: %s", worker.name, worker.node, error)
            self._end(worker, "killed", f"ended its actor on {worker.node} ({first_line(error)})")

    def _give_back(self, worker: Worker) -> None:
        self._workers.end(worker)
        for task in worker.running.values():
            self._schedule.give_back(task)

    def _end(self, worker: Worker, kind: Kind, reason: str) -> None:
        """Ends an actor because of its videos."""
        from pipeline.extract.device import Outcome

        self._workers.end(worker)
        for task in worker.running.values():
            attempts = task.failures.total() + 1
            text = (
                f"{task.source.path}: {reason}; given up after {attempts} attempts, run the command again to retry it"
            )
            self._failed(worker, task, kind, Outcome(task.source, error=text, work=task.name))

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
            if worker.running and monotonic() - worker.heard > patience:
                self._end(worker, "hung", f"made no progress for {patience:.0f} s on {worker.node}")


def _names_relative_networks(plan: "ExtractionPlan") -> bool:
    """Whether a network is a file that is given by a relative path."""
    settings = plan.settings
    names = (settings.estimator, settings.detector, settings.checkpoint, settings.detector_checkpoint)
    return any(name is not None and not Path(name).is_absolute() and Path(name).exists() for name in names)


def tasks_of(work: "Iterable[Work]", sizes: Mapping[Source, int]) -> list[Task]:
    """Returns the tasks of a run.

    Args:
        work: The videos, or pieces of them.
        sizes: The size of each video.
    """
    from pipeline.extract.pieces import Piece, name_of_work

    tasks = []
    for one in work:
        source, count = (one.source, one.count) if isinstance(one, Piece) else (one, 1)
        tasks.append(Task(one, source, name_of_work(one), sizes[source] / count))
    return tasks


def sizes_of(work: Sequence[Source]) -> dict[Source, int]:
    """Returns the size of each video in bytes, at least 1; for a folder of images, that of all its files."""
    return {source: max(1, _size(source.path)) for source in work}


def _size(path: Path) -> int:
    try:
        if path.is_dir():
            return sum(file.stat().st_size for file in path.iterdir())
        return path.stat().st_size
    except OSError:
        # The actor reports the reason.
        return 1
