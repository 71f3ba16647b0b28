"""The pool with a real worker process: what happens between the queue and the worker."""

import asyncio
import shutil
import threading
from pathlib import Path

import pytest

from pipeline.predict.options import Networks
from pipeline.serve.folders import Folders
from pipeline.serve.messages import WorkerSettings
from pipeline.serve.pool.pool import Pool
from pipeline.serve.records import Job
from pipeline.serve.store import Store
from pose_extraction.engines.engine import Engine
from test_support.event_loops import run_apart
from test_support.services.running_service import PATIENCE

pytestmark = pytest.mark.slow


class SlowStore(Store):
    """The database, in which a claim takes until the test goes on."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.claimed, self.goes_on = threading.Event(), threading.Event()

    def claim(self) -> Job | None:
        job = super().claim()
        if job is not None:
            self.claimed.set()
            assert self.goes_on.wait(PATIENCE)
        return job


def submit(store: Store, folders: Folders, video: Path) -> str:
    job, folder = folders.begin()
    shutil.copy(video, folder / "input.mp4")
    folders.accept(job)
    store.add(job, name="a.mp4", run="made", settings={}, source="input.mp4")
    return job


def test_a_job_that_is_cancelled_while_it_is_claimed_never_runs(
    tmp_path: Path, trained: tuple[Path, Path], networks: tuple[Path, Path], walkers: Path
) -> None:
    async def run() -> None:
        store, folders = SlowStore(tmp_path / "jobs.sqlite"), Folders(tmp_path)
        engine = Engine("cpu", "onnxruntime", "fp32")
        settings = WorkerSettings(trained[0], Networks(*map(str, networks)), engine, (), False, 1000)
        changes: list[tuple[str, str]] = []
        ready, done = asyncio.Event(), asyncio.Event()

        def changed(job: Job) -> None:
            changes.append((job.id, job.state))
            if job.state not in ("queued", "running"):
                done.set()

        pool = Pool(
            [settings], store, folders,
            path_of_run=lambda _: trained[0], changed=changed, progressed=lambda _: None, described=lambda _: None,
            started=ready.set,
        )  # fmt: skip
        pool.start()
        try:
            await asyncio.wait_for(ready.wait(), PATIENCE)
            cancelled = submit(store, folders, walkers)
            pool.wake()
            await asyncio.to_thread(store.claimed.wait, PATIENCE)
            job = await asyncio.to_thread(store.cancel, cancelled)
            assert job is not None
            await pool.cancel(job)
            # The worker takes the next one at once.
            following = submit(store, folders, walkers)
            store.goes_on.set()
            await asyncio.wait_for(done.wait(), PATIENCE)
        finally:
            await pool.stop()
        assert changes == [(following, "running"), (following, "done")]
        assert store.get(cancelled).state == "cancelled" and not folders.job(cancelled).exists()
        assert folders.outcome(following) is not None
        store.close()

    run_apart(run())
