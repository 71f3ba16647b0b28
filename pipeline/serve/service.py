"""The parts of a running service, and what they do together: accepting, describing, cancelling and removing jobs."""

import asyncio
import dataclasses
import json
import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pipeline.serve.catalogue import Catalogue
from pipeline.serve.events import Events
from pipeline.serve.folders import ID, Folders
from pipeline.serve.messages import Progress, RunFacts, WorkerSettings
from pipeline.serve.metrics import Metrics
from pipeline.serve.pool.pool import Pool
from pipeline.serve.records import DONE, OPEN, QUEUED, RUNNING, Job, iso
from pipeline.serve.requests.errors import ServiceError, not_found
from pipeline.serve.settings import JobSettings, ServeSettings
from pipeline.serve.store import Store
from pipeline.serve.trainings import Trainings
from pose_extraction.errors import UsageError
from pose_extraction.file_locks import lock

# Seconds between two searches for expired jobs.
SWEEP_INTERVAL = 60.0

log = logging.getLogger(__name__)


class Service:
    """A running service. `start` and `stop` are called in the event loop.

    Args:
        settings: See `ServeSettings`.

    Raises:
        UsageError: The data folder is in use, or belongs to another version.
    """

    def __init__(self, settings: ServeSettings) -> None:
        self.settings = settings
        self.folders = Folders(settings.data)
        self._lock = (self.folders.data / "lock").open("w")
        try:
            lock(self._lock, wait=False)
        except BlockingIOError:
            raise UsageError(
                f"{settings.data}: is used by another service; stop it, or choose another --data folder"
            ) from None
        self.store = Store(self.folders.data / "jobs.sqlite")
        self.catalogue = Catalogue(path.absolute() for path in settings.runs)
        self.events: Events
        self.pool: Pool
        self.metrics = Metrics()
        self.trainings = Trainings(
            self.store, self.folders, self.catalogue, (settings.devices or ("auto",))[0], self._trained
        )
        self.trainings.offer_runs(choose=not settings.pinned)
        # Ids of the jobs in the queue.
        self._queued: set[str] = set()
        self._receiving = 0
        self._predicting = 0
        self._sweeper: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Recover the jobs of an earlier service, and start the workers."""
        self.events = Events()
        self._recover()
        engine = self.settings.engine
        workers = [
            WorkerSettings(
                self.catalogue.get(None).path,
                self.settings.networks,
                dataclasses.replace(engine, device=device),
                tuple(folder.absolute() for folder in self.settings.allow),
                self.settings.allow_agpl,
                self.settings.most_frames,
            )
            for device in self.settings.devices
        ]
        self.pool = Pool(
            workers, self.store, self.folders,
            path_of_run=self._path_of_run, changed=self._changed, progressed=self._progressed,
            described=self._described, started=self._describe_runs,
        )  # fmt: skip
        self.pool.start()
        self.trainings.start()
        self._sweeper = asyncio.create_task(self._sweep())

    def _recover(self) -> None:
        """Continue where a killed service has stopped: results that are complete count, other jobs start again."""
        for job in self.store.running():
            outcome = self.folders.outcome(job.id)
            if outcome is not None:
                self.store.finish(job.id, DONE, outcome=outcome)
            else:
                self.store.requeue(job.id)
        self.folders.clean(self.store.ids())
        self._queued = self.store.ids(QUEUED)
        self._remove_expired()

    def _describe_runs(self) -> None:
        for entry in self.catalogue.entries():
            if entry.facts is None:
                self.pool.describe(entry.path)

    async def announce(self, job: str) -> None:
        """Tell all clients that something about a job has changed besides its state."""
        found = await asyncio.to_thread(self.store.get, job)
        if found is not None:
            self.events.publish("state", job, json.dumps(self.describe(found)))

    def _path_of_run(self, run: str) -> Path | None:
        try:
            return self.catalogue.get(run).path
        except UsageError:
            return None

    async def drain(self) -> None:
        """Accept no more jobs, and wait for the running ones for a limited time."""
        await self.pool.drain(self.settings.drain_seconds)
        self.events.close()

    async def stop(self) -> None:
        """Stop the workers, and close the files."""
        if self._sweeper is not None:
            self._sweeper.cancel()
        self.events.close()
        await self.trainings.stop()
        await self.pool.stop()
        self.store.close()
        self._lock.close()

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(SWEEP_INTERVAL)
            await asyncio.to_thread(self._remove_expired)

    def _remove_expired(self) -> None:
        if self.settings.keep_days is None:
            return
        for job in self.store.remove_expired(time.time() - self.settings.keep_days * 86400):
            self.folders.remove(job)

    def _changed(self, job: Job) -> None:
        if job.state == QUEUED:
            self._queued.add(job.id)
        else:
            self._queued.discard(job.id)
        if job.state not in OPEN:
            self.metrics.ended(job)
        self.events.publish("state", job.id, json.dumps(self.describe(job)))

    def _progressed(self, progress: Progress) -> None:
        worker = self.pool.worker_of(progress.job)
        if worker is not None and worker.job is not None:
            self.events.publish("progress", progress.job, json.dumps(self.describe(worker.job)))

    def _described(self, facts: RunFacts) -> None:
        self.catalogue.describe(facts)
        self.events.publish("runs", "", "{}")

    def _trained(self, training: str, text: str) -> None:
        self.events.publish("training", training, text)

    def refuse_if_busy(self, size: int = 0) -> None:
        """Refuse a new job while the service stops, too many jobs wait, or the disk is almost full.

        Args:
            size: Size of the upload in bytes, as far as it is known.

        Raises:
            ServiceError: The job is refused.
        """
        self._refuse_while_draining()
        if len(self._queued) + self._receiving >= self.settings.most_queued:
            raise ServiceError(
                429,
                "queue_full",
                f"{len(self._queued)} jobs are waiting, the largest number allowed; try again later",
                {"Retry-After": "10"},
            )
        free = self.folders.free() - size
        if free < self.settings.least_free:
            raise ServiceError(
                507,
                "disk_full",
                f"{max(free, 0):,} bytes of disk space would be left, but {self.settings.least_free:,} are required; "
                "delete jobs or free disk space",
            )

    def _refuse_while_draining(self) -> None:
        if self.pool.draining:
            raise ServiceError(503, "draining", "the service is stopping; try again later", {"Retry-After": "30"})

    @contextmanager
    def receiving(self) -> Iterator[None]:
        """Return a context that counts an upload as a waiting job."""
        self._receiving += 1
        try:
            yield
        finally:
            self._receiving -= 1

    @contextmanager
    def predicting(self) -> Iterator[None]:
        """Return a context for a request for skeletons, from its upload to its answer.

        Raises:
            ServiceError: The service stops, or too many of them wait.
        """
        self._refuse_while_draining()
        if self._predicting >= self.settings.most_requests:
            raise ServiceError(
                429,
                "queue_full",
                f"{self._predicting} requests for skeletons are waiting, the largest number allowed; try again later",
                {"Retry-After": "2"},
            )
        self._predicting += 1
        try:
            yield
        finally:
            self._predicting -= 1

    async def submit(
        self,
        job: str,
        name: str,
        settings: JobSettings,
        source: str,
        *,
        size: int | None,
        key: str | None,
        request: str,
    ) -> Job:
        """Queue a job whose upload is complete. If that fails, nothing of it is left.

        Args:
            job: Its id.
            name: Name of the video.
            settings: Settings of the job.
            source: Path of the video, below the job's folder if it is relative.
            size: Size of the upload in bytes; None if the client has named a path.
            key: Idempotency key.
            request: Description of the request, to compare requests with the same key.

        Raises:
            ServiceError: The key was used for another request.
            OSError, sqlite3.Error: The disk is full, or cannot be written to.
        """
        given = settings.model_dump(exclude_unset=True)
        try:
            await asyncio.to_thread(self.folders.accept, job)
            added = await asyncio.to_thread(
                self.store.add, job, name=name, run=self.catalogue.get(settings.run).id, settings=given, source=source,
                size=size, key=key, request=request,
            )  # fmt: skip
        except Exception:
            await asyncio.to_thread(self.folders.refuse, job)
            raise
        if added.id != job:
            await asyncio.to_thread(self.folders.refuse, job)
            check_same_request(added, request)
            return added
        self._queued.add(added.id)
        self.events.publish("state", added.id, json.dumps(self.describe(added)))
        self.pool.wake()
        return added

    async def find(self, job: str) -> Job:
        """Return a job.

        Raises:
            ServiceError: It does not exist.
        """
        found = await asyncio.to_thread(self.store.get, job) if ID.fullmatch(job) else None
        if found is None:
            raise not_found("job", job[:40])
        return found

    async def delete(self, job: Job) -> Job | None:
        """Cancel a job that has not ended, and return it; remove one that has ended."""
        cancelled = await asyncio.to_thread(self.store.cancel, job.id)
        if cancelled is None:
            if await asyncio.to_thread(self.store.remove, job.id):
                await asyncio.to_thread(self.folders.remove, job.id)
                self.events.publish("removed", job.id, json.dumps({"id": job.id}))
            return None
        await self.pool.cancel(cancelled)
        self._changed(cancelled)
        return cancelled

    def describe(self, job: Job) -> dict[str, Any]:
        """Return a job as clients see it."""
        progress = self.pool.progress_of(job.id) if job.state == RUNNING else None
        stage = progress.stage if progress is not None else job.state
        done = progress.frames_done if progress is not None else job.outcome.get("frames", 0)
        return {
            "id": job.id,
            "name": job.name,
            "state": job.state,
            "created": iso(job.created),
            "started": iso(job.started),
            "finished": iso(job.finished),
            "run": job.run,
            "settings": job.settings,
            "stage": stage,
            "frames_done": done,
            "frames_total": progress.frames_total if progress is not None else job.outcome.get("frames"),
            "frames_per_second": progress.frames_per_second if progress is not None else None,
            "seconds_left": progress.seconds_left if progress is not None else None,
            "seconds": job.outcome.get("seconds", {}),
            "error": None if job.error is None else {"kind": job.kind, "message": job.error},
            "answers": job.outcome.get("answers", []),
            "overlay": job.outcome.get("overlay", False),
            "size": job.size,
            "reviewed": job.reviewed,
        }


def check_same_request(job: Job, request: str) -> None:
    """Check that a request with a known idempotency key is the same as before.

    Raises:
        ServiceError: It is another one.
    """
    if job.request != request:
        raise ServiceError(
            422,
            "idempotency",
            f"this Idempotency-Key was used for another request, job {job.id}; use a new key for each request",
        )
