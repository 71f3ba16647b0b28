"""Worker processes: they get jobs, are watched, replaced when they die, and stopped when a job is cancelled."""

import asyncio
import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pipeline.serve import messages
from pipeline.serve.folders import Folders
from pipeline.serve.pool.skeletons import SkeletonRequests
from pipeline.serve.pool.worker import Worker
from pipeline.serve.records import DONE, FAILED, OPEN, Job
from pipeline.serve.requests.errors import ServiceError
from pipeline.serve.store import Store

# Seconds that a worker has to stop a cancelled job before it is killed.
CANCEL_GRACE = 0.6
# Longest pause in seconds before a worker that dies at its start is started again.
LONGEST_PAUSE = 30.0

log = logging.getLogger(__name__)


class Pool:
    """The workers of a service, one per device.

    Args:
        settings: Settings of each worker.
        store: The jobs.
        folders: Their files.
        path_of_run: Returns the path of a run by its id; None if it was removed.
        changed: Called in the event loop with a job whose state has changed.
        progressed: Called in the event loop with the progress of a running job.
        described: Called in the event loop with the facts of a run.
        started: Called in the event loop when a worker has loaded its networks, or has failed to.
    """

    def __init__(
        self,
        settings: list[messages.WorkerSettings],
        store: Store,
        folders: Folders,
        *,
        path_of_run: Callable[[str], Path | None],
        changed: Callable[[Job], None],
        progressed: Callable[[messages.Progress], None],
        described: Callable[[messages.RunFacts], None],
        started: Callable[[], None],
    ) -> None:
        self._settings = settings
        self._store, self._folders, self._path_of_run = store, folders, path_of_run
        self._tell, self._progressed, self._described, self._started = changed, progressed, described, started
        self._workers: list[Worker | None] = [None] * len(settings)
        self._failures = [0] * len(settings)
        self._claiming = asyncio.Lock()
        # Jobs that were cancelled while one was being claimed, which may be theirs.
        self._withdrawn: set[str] = set()
        # Jobs during which a worker died that also computed answers for skeletons. Nothing else is computed
        # at the same time from then on, so that another death tells the cause.
        self._alone: set[str] = set()
        self.skeletons = SkeletonRequests()
        self._tasks: set[asyncio.Task[None]] = set()
        self._idle = asyncio.Event()
        self.draining = False
        self._stopped = False

    def start(self) -> None:
        """Start the processes."""
        for place in range(len(self._settings)):
            self._start(place)

    def _start(self, place: int) -> None:
        if not self._stopped:
            self._workers[place] = Worker(self._settings[place], self._receive)

    def workers(self) -> list[Worker]:
        """Return the processes that are running."""
        return [worker for worker in self._workers if worker is not None]

    def trouble(self) -> str | None:
        """Return why jobs cannot be processed right now; None if they can."""
        readiness = [worker.ready for worker in self.workers()]
        if any(one is not None and one.error is None for one in readiness):
            return None
        errors = [one.error for one in readiness if one is not None and one.error is not None]
        return errors[0] if errors else "the networks are being loaded; try again in a few seconds"

    def worker_of(self, job: str) -> Worker | None:
        """Return the worker that processes a job."""
        return next((worker for worker in self.workers() if worker.job is not None and worker.job.id == job), None)

    def progress_of(self, job: str) -> messages.Progress | None:
        """Return the latest progress of a running job."""
        worker = self.worker_of(job)
        return None if worker is None else worker.progress

    def requests(self) -> dict[str, int]:
        """Return the number of requests for skeletons that wait, and of those that are computed."""
        computing = sum(len(worker.answering or ()) for worker in self.workers())
        return {"waiting": max(self.skeletons.open - computing, 0), "computing": computing}

    def wake(self) -> None:
        """Give waiting jobs to workers without one."""
        self._spawn(self._dispatch())

    def _spawn(self, work: Any) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: "asyncio.Task[None]") -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            log.error("internal error", exc_info=task.exception())

    async def _dispatch(self) -> None:
        async with self._claiming:
            for worker in self.workers():
                if worker.job is not None or worker.ready is None or self.draining:
                    continue
                job = await asyncio.to_thread(self._store.claim)
                while job is not None and job.id in self._withdrawn:
                    job = await asyncio.to_thread(self._store.claim)
                if job is None:
                    break
                await self._give(worker, job)
            self._withdrawn.clear()

    async def _give(self, worker: Worker, job: Job) -> None:
        """Send a job to a worker without one."""
        run, folder = self._path_of_run(job.run), self._folders.job(job.id)
        self._changed(job)
        if run is None:
            error = f"run {job.run}: was removed from the service; submit the video with another one"
            failed = await asyncio.to_thread(self._store.finish, job.id, FAILED, error=error, kind="usage")
            if failed is not None:
                self._changed(failed)
            self.wake()
            return
        worker.job, worker.progress = job, messages.Progress(job.id, "loading")
        worker.send(messages.RunJob(job.id, folder, folder / job.source, job.name, run, job.settings))

    def _receive(self, worker: Worker, message: Any) -> None:
        if message is None:
            self._spawn(self._replace(worker))
        elif isinstance(message, messages.Ready):
            worker.ready = message
            if message.error is None:
                self._failures[self._workers.index(worker)] = 0
            self._started()
            self.wake()
        elif isinstance(message, messages.RunFacts):
            self._described(message)
        elif isinstance(message, messages.Progress):
            if worker.job is not None and worker.job.id == message.job and worker.cancelled != message.job:
                worker.progress = message
                self._progressed(message)
        elif isinstance(message, messages.Finished):
            self._spawn(self._finish(worker, message))
        elif isinstance(message, messages.Answering):
            worker.answering = message.requests
        elif isinstance(message, messages.Predicted):
            self.skeletons.answered(message)
            # A service that drains waits for the last answer.
            self._idle.set()

    async def _finish(self, worker: Worker, message: messages.Finished) -> None:
        if worker.job is None or worker.job.id != message.job:
            return
        if message.kind == "cancelled":
            job = None
        else:
            job = await asyncio.to_thread(
                self._store.finish,
                message.job,
                DONE if message.error is None else FAILED,
                error=message.error,
                kind=message.kind,
                outcome=message.outcome,
            )
        worker.job = worker.progress = worker.cancelled = None
        if message.error is None:
            # Networks that were missing at the start have been loaded meanwhile.
            worker.ready = messages.Ready()
        if job is not None:
            self._changed(job)
        else:
            # Cancelled meanwhile: nobody will ask for its files.
            await asyncio.to_thread(self._folders.remove, message.job)
        self._settled()

    def _settled(self) -> None:
        self._idle.set()
        self.wake()

    def _changed(self, job: Job) -> None:
        if job.state not in OPEN:
            self._alone.discard(job.id)
        self._tell(job)

    async def _replace(self, worker: Worker) -> None:
        """Decide what happens with the job of a worker that has ended, and start another one."""
        if worker not in self._workers:
            return
        place = self._workers.index(worker)
        self._workers[place] = None
        reason = await asyncio.to_thread(worker.how_it_ended)
        # A worker that did not stop a cancelled job in time was killed by the service.
        self.skeletons.worker_ended(worker, reason, killed=worker.cancelled is not None)
        job = worker.job
        if job is not None and not self._stopped:
            if worker.cancelled != job.id:
                log.warning("a worker ended %s with job %s (%s)", reason, job.id, job.name)
            await self._after_death(worker, job, reason)
        self._idle.set()
        if self._stopped:
            return
        pause = 0.0
        if worker.ready is None or worker.ready.error is not None:
            self._failures[place] += 1
            pause = min(2.0 ** self._failures[place] / 2, LONGEST_PAUSE)
        await asyncio.sleep(pause)
        self._start(place)

    async def _after_death(self, worker: Worker, job: Job, reason: str) -> None:
        outcome = await asyncio.to_thread(self._folders.outcome, job.id)
        if worker.cancelled == job.id:
            await asyncio.to_thread(self._folders.remove, job.id)
            return
        if outcome is not None:
            # It died between its result and its message.
            changed = await asyncio.to_thread(self._store.finish, job.id, DONE, outcome=outcome)
        elif worker.answering is not None:
            # The answers may be the cause, so this death does not count for the video.
            changed = await asyncio.to_thread(self._store.requeue, job.id)
            if changed is not None:
                self._alone.add(job.id)
        else:
            changed = await asyncio.to_thread(self._store.died, job.id, reason)
        if changed is not None:
            self._changed(changed)

    async def cancel(self, job: Job) -> None:
        """Stop a job that has just been cancelled; a worker that does not stop it in time is killed."""
        worker = self.worker_of(job.id)
        self._alone.discard(job.id)
        if worker is None:
            if self._claiming.locked():
                self._withdrawn.add(job.id)
            await asyncio.to_thread(self._folders.remove, job.id)
            return
        worker.cancelled = job.id
        worker.send(messages.CancelJob(job.id))

        def insist() -> None:
            if worker.cancelled == job.id:
                worker.kill()

        asyncio.get_running_loop().call_later(CANCEL_GRACE, insist)

    def describe(self, run: Path) -> None:
        """Ask a worker for the facts of a run; the answer goes to `described`."""
        for worker in [one for one in self.workers() if one.ready is not None][:1]:
            worker.send(messages.Describe(run))

    async def predict(self, path: Path, run: Path, threshold: Any) -> messages.Predicted:
        """Classify the clips of a skeleton file.

        Args:
            path: The file.
            run: The run.
            threshold: See `JobSettings`.

        Raises:
            ServiceError: No worker can do it now, or it died with it.
        """
        # Without networks of stage one, too: skeletons need none.
        ready = [worker for worker in self.workers() if worker.ready is not None]
        if not ready:
            raise ServiceError(503, "not_ready", self.trouble() or "no worker is ready", {"Retry-After": "5"})
        shared = [worker for worker in ready if not self._is_reserved(worker)]
        if not shared:
            raise ServiceError(
                503,
                "not_ready",
                "a worker died while it computed a video and skeletons; the video is tried alone, try again afterwards",
                {"Retry-After": "10"},
            )
        return await self.skeletons.ask(shared, path, run, threshold)

    def _is_reserved(self, worker: Worker) -> bool:
        """Whether a worker processes a video alone, or may be given one at any moment."""
        if worker.job is not None:
            return worker.job.id in self._alone
        given = {other.job.id for other in self.workers() if other.job is not None}
        return bool(self._alone - given)

    async def drain(self, seconds: float) -> None:
        """Give workers no more jobs, wait for the running ones, and return those to the queue that take longer.

        Args:
            seconds: Time limit.
        """
        self.draining = True
        deadline = time.monotonic() + seconds
        while any(worker.job is not None for worker in self.workers()) or self.skeletons.open:
            self._idle.clear()
            left = deadline - time.monotonic()
            if left <= 0:
                break
            try:
                await asyncio.wait_for(self._idle.wait(), left)
            except TimeoutError:
                break
        await self.stop()

    async def stop(self) -> None:
        """End all processes; jobs that are running return to the queue."""
        self._stopped = self.draining = True
        for worker in self.workers():
            worker.kill()
        for worker in self.workers():
            await asyncio.to_thread(worker.how_it_ended)
            if worker.job is not None:
                changed = await asyncio.to_thread(self._store.requeue, worker.job.id)
                if changed is not None:
                    self._changed(changed)
        self._workers = [None] * len(self._workers)
