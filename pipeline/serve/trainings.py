"""Trainings on corrections: one at a time, each in a process of its own, and their way into the list of runs."""

import asyncio
import json
import logging
import multiprocessing
import secrets
import shutil
from collections.abc import Callable
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import Any

from pipeline.corrections.document import Corrections, parse_corrections
from pipeline.corrections.lessons import CorrectedVideo
from pipeline.corrections.progress import RUN, progress_of
from pipeline.corrections.retraining import Retraining, check_retraining
from pipeline.serve import scene
from pipeline.serve.catalogue import Catalogue
from pipeline.serve.folders import ID, Folders
from pipeline.serve.records import CANCELLED, DONE, FAILED, QUEUED, RUNNING, Job, Training, iso
from pipeline.serve.requests.errors import ServiceError
from pipeline.serve.store import Store
from pipeline.serve.worker.child import begin_child
from pose_extraction.errors import SkelpipeError
from pose_extraction.files import atomic_write

# Seconds between two looks at the files of a training.
LOOK_INTERVAL = 1.0
ERROR_NAME = "error.txt"
# Stored facts: names of accepted runs by the id of their training, and the default run.
RUNS_FACT, DEFAULT_FACT = "runs", "default_run"
# Less urgent than predictions.
NICENESS = 10

log = logging.getLogger(__name__)


class Trainings:
    """The trainings of a service. `start` and `stop` are called in the event loop.

    Args:
        store: The database.
        folders: The files.
        catalogue: Receives accepted runs.
        device: Device to train on.
        publish: Called in the event loop with the id and the JSON text of a training that has changed.
    """

    def __init__(
        self, store: Store, folders: Folders, catalogue: Catalogue, device: str, publish: Callable[[str, str], None]
    ) -> None:
        self._store, self._folders, self._catalogue = store, folders, catalogue
        self._device, self._publish = device, publish
        self._process: SpawnProcess | None = None
        self._running: str | None = None
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def offer_runs(self, *, choose: bool) -> None:
        """Add the accepted runs to the list.

        Args:
            choose: Whether the run that was accepted last becomes the default again.
        """
        names = self._store.fact(RUNS_FACT) or {}
        for training_id, name in names.items():
            self._catalogue.add(self.folder(training_id) / RUN, name)
        default = self._store.fact(DEFAULT_FACT)
        if choose and default in {entry.id for entry in self._catalogue.entries()}:
            self._catalogue.default = default

    def start(self) -> None:
        """Continue with waiting trainings."""
        for training in self._store.trainings():
            if training.state == RUNNING:
                self._store.set_training(training.id, QUEUED)
        self._wake.set()
        self._task = asyncio.create_task(self._work())

    async def stop(self) -> None:
        """End the running training; it starts again with the service."""
        if self._task is not None:
            self._task.cancel()
        if self._process is not None:
            self._process.kill()
            await asyncio.to_thread(self._process.join, 5)

    def folder(self, training: str) -> Path:
        """Return the folder of a training."""
        assert ID.fullmatch(training)
        return self._folders.data / "trainings" / training

    async def add(self, run: str | None, jobs: list[Job], settings: dict[str, Any]) -> Training:
        """Queue a training.

        Args:
            run: Id of the run to start from; None for the default.
            jobs: The corrected jobs.
            settings: Settings of the training.

        Raises:
            SkelpipeError: There is nothing to learn from, or a setting is unknown.
        """
        entry, name = self._catalogue.get(run), secrets.token_hex(8)
        request = await asyncio.to_thread(self._request, name, entry.path, [job.id for job in jobs], settings)
        check_retraining(request)
        training = await asyncio.to_thread(self._store.add_training, name, entry.id, [job.id for job in jobs], settings)
        self._changed(training)
        self._wake.set()
        return training

    def find(self, training: str) -> Training:
        """Return a training.

        Raises:
            ServiceError: It does not exist.
        """
        found = self._store.training(training) if ID.fullmatch(training) else None
        if found is None:
            raise ServiceError(404, "not_found", f"training {training[:40]}: does not exist; see GET /v1/trainings")
        return found

    async def accept(self, training: Training, name: str | None) -> Training:
        """Make the run of a finished training the default of the service; the earlier runs remain.

        Args:
            training: The training.
            name: Id of the new run; None for that of the earlier one with a number.

        Raises:
            ServiceError: It is not finished.
        """
        if training.state != DONE:
            raise ServiceError(409, "not_done", f"training {training.id}: is {training.state}, so it has no run yet")
        entry = self._catalogue.add(self.folder(training.id) / RUN, name or training.base)
        accepted = await asyncio.to_thread(self._store.accept_training, training.id, entry.id)
        assert accepted is not None
        names = self._store.fact(RUNS_FACT) or {}
        await asyncio.to_thread(self._store.set_fact, RUNS_FACT, names | {training.id: entry.id})
        self._catalogue.default = entry.id
        await asyncio.to_thread(self._store.set_fact, DEFAULT_FACT, entry.id)
        self._changed(accepted)
        return accepted

    async def delete(self, training: Training) -> Training | None:
        """Cancel a training that has not ended, and return it; discard one that has ended.

        Raises:
            ServiceError: Its run is in use.
        """
        cancelled = await asyncio.to_thread(self._store.set_training, training.id, CANCELLED)
        if cancelled is not None:
            if self._running == training.id and self._process is not None:
                self._process.kill()
            self._changed(cancelled)
            return cancelled
        if training.run is not None:
            raise ServiceError(409, "in_use", f"training {training.id}: is the run {training.run}, which is in use")
        await asyncio.to_thread(self._store.remove_training, training.id)
        await asyncio.to_thread(shutil.rmtree, self.folder(training.id), True)
        self._publish(training.id, json.dumps({"id": training.id, "removed": True}))
        return None

    def describe(self, training: Training) -> dict[str, Any]:
        """Return a training as clients see it."""
        progress = progress_of(self.folder(training.id))
        return {
            "id": training.id,
            "state": training.state,
            "created": iso(training.created),
            "finished": iso(training.finished),
            "base_run": training.base,
            "run": training.run,
            "accepted": training.run is not None,
            "jobs": training.jobs,
            "settings": training.settings,
            "error": None if training.error is None else {"kind": "training", "message": training.error},
            **progress.as_dictionary(),
        }

    def _changed(self, training: Training) -> None:
        self._publish(training.id, json.dumps(self.describe(training)))

    def _request(self, training: str, run: Path, jobs: list[str], settings: dict[str, Any]) -> Retraining:
        videos, names = [], set()
        for job_id in jobs:
            job, stored = self._store.get(job_id), self._store.corrections(job_id)
            if job is None or stored is None:
                continue
            name = Path(job.name).stem
            # Two videos may have one name; then the job tells them apart.
            name = f"{name}-{job.id[:6]}" if name in names else name
            names.add(name)
            folder = self._folders.result(job_id)
            corrections, offset = corrections_of(stored[1], job_id), -scene.start_of(folder, job.outcome)
            videos.append(CorrectedVideo(name, folder / "result.pkl", corrections, offset, job.outcome.get("source")))
        return Retraining(str(run), self.folder(training), tuple(videos), settings, self._device)

    async def _work(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            while (waiting := await asyncio.to_thread(self._next)) is not None:
                try:
                    await self._train(waiting)
                except Exception as error:
                    # Without this task, no later training would begin.
                    log.exception("training %s failed", waiting.id)
                    self._running = self._process = None
                    self._store.set_training(waiting.id, RUNNING, only=(QUEUED,))
                    self._end(waiting.id, f"internal error: {error}")

    def _next(self) -> Training | None:
        return next((one for one in reversed(self._store.trainings()) if one.state == QUEUED), None)

    async def _train(self, training: Training) -> None:
        started = await asyncio.to_thread(self._store.set_training, training.id, RUNNING, only=(QUEUED,))
        if started is None:
            return
        folder = self.folder(training.id)
        await asyncio.to_thread(shutil.rmtree, folder, True)
        folder.mkdir(parents=True)
        try:
            run = self._catalogue.get(training.base).path
            request = await asyncio.to_thread(self._request, training.id, run, training.jobs, training.settings)
        except SkelpipeError as error:
            self._end(training.id, str(error))
            return
        process = multiprocessing.get_context("spawn").Process(
            target=train_in_process, args=(request, folder / ERROR_NAME), name="skelpipe-training", daemon=True
        )
        process.start()
        self._running, self._process = training.id, process
        self._changed(started)
        seen = ""
        while process.is_alive():
            await asyncio.sleep(LOOK_INTERVAL)
            text = json.dumps(await asyncio.to_thread(self.describe, started))
            if text != seen:
                seen = text
                self._publish(training.id, text)
        self._running = self._process = None
        reason = None if process.exitcode == 0 else _reason(folder / ERROR_NAME, process.exitcode)
        self._end(training.id, reason)

    def _end(self, training: str, error: str | None) -> None:
        ended = self._store.set_training(training, DONE if error is None else FAILED, error=error, only=(RUNNING,))
        if ended is None:
            # Cancelled meanwhile.
            shutil.rmtree(self.folder(training), ignore_errors=True)
        else:
            self._changed(ended)


def _reason(failure: Path, status: int | None) -> str:
    """Return why the process of a training has failed."""
    if failure.is_file():
        return failure.read_text(encoding="utf-8")
    return f"the process of the training ended with status {status}; see the log of the service"


def corrections_of(document: dict[str, Any], job: str) -> Corrections:
    """Return stored corrections.

    Args:
        document: The document.
        job: Id of its job, for messages.

    Raises:
        AnnotationError: It was stored by another version, and is not valid any more.
    """
    return parse_corrections(json.dumps(document), place=f"corrections of job {job}")


def corrected_videos(store: Store) -> list[Job]:
    """Return the jobs whose corrections count: of several jobs of one video, the last one with corrections.

    Args:
        store: The database.
    """
    # Jobs of earlier versions do not record the content of their video.
    return list({job.outcome.get("source", job.id): job for job in store.corrected()}.values())


def train_in_process(request: Retraining, failure: Path) -> None:
    """Train; the target of a process. The exit status is 0 if there is a new run.

    Args:
        request: See `Retraining`.
        failure: File for the reason of a failure.
    """
    begin_child(NICENESS)
    from pipeline.corrections.retraining import retrain

    try:
        retrain(request)
    except SkelpipeError as error:
        with atomic_write(failure) as file:
            file.write(str(error).encode())
        raise SystemExit(1) from error
