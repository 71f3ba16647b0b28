"""Where the runs of a sweep are trained: in processes of this machine, or by the actors of a Ray cluster."""

import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Protocol

import torch

from pipeline.cluster.job_actor import Progress
from pipeline.cluster.jobs import ClusterJobs
from pipeline.sweep.job import End, Job, train_job
from pipeline.sweep.plan import AUTO
from pose_extraction.engines.devices import cpu_count


class Trainer(Protocol):
    """Trains runs that do not depend on each other."""

    def train(self, jobs: Sequence[Job], ended: Callable[[Job, End], None], *, until_phase_two: bool) -> None:
        """Train runs, or resume interrupted ones.

        Args:
            jobs: The runs.
            ended: Called for every run that ends.
            until_phase_two: Whether to train the shared runs for phase one instead.
        """
        ...


@dataclass(frozen=True)
class LocalTrainer:
    """Trains on this machine.

    Args:
        devices: Devices to assign in turn, such as "cuda:0" and "cuda:1"; "auto" keeps the device of the run.
        at_once: Number of parallel processes; if 1, the current process is used.
    """

    devices: Sequence[str] = (AUTO,)
    at_once: int = 1

    def train(self, jobs: Sequence[Job], ended: Callable[[Job, End], None], *, until_phase_two: bool) -> None:
        given = [(job, self.devices[number % len(self.devices)]) for number, job in enumerate(jobs)]
        if self.at_once > 1:
            for job, end in self._together(given, until_phase_two):
                ended(job, end)
            return
        for job, device in given:
            ended(job, train_job(job, device, until_phase_two=until_phase_two))

    def _together(self, given: Sequence[tuple[Job, str]], until_phase_two: bool) -> Iterator[tuple[Job, End]]:
        """Yield runs as they end; several train in parallel, each in its own process."""
        threads = max(1, cpu_count() // self.at_once)
        pool = ThreadPoolExecutor(self.at_once)
        try:
            futures = {pool.submit(_in_process, job, device, until_phase_two, threads): job for job, device in given}
            for future in as_completed(futures):
                yield futures[future], future.result()
        finally:
            # Running jobs finish, or save and stop if the signal reached them; pending jobs are not started.
            pool.shutdown(cancel_futures=True)


def local_trainer(jobs: int | None, left: int) -> LocalTrainer:
    """Return the trainer for this machine.

    Args:
        jobs: Requested number of parallel runs; None for one per GPU, or one per core.
        left: Number of unfinished runs.
    """
    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    devices = [f"cuda:{number}" for number in range(gpus)] or [AUTO]
    most = jobs or gpus or cpu_count()
    return LocalTrainer(devices, max(1, min(most, max(left, 1))))


def _in_process(job: Job, device: str, until_phase_two: bool, threads: int) -> End:
    """Train one run in a separate process and wait for it."""
    # Forking a process in which a network has run can deadlock.
    context = multiprocessing.get_context("spawn")
    reader, writer = context.Pipe(duplex=False)
    process = context.Process(target=_tell, args=(writer, job, device, until_phase_two, threads))
    process.start()
    # If this end stayed open here, `poll` would not notice that the process died.
    writer.close()
    try:
        end: End = reader.recv()
    except EOFError:
        process.join()
        return End(f"its process exited with status {process.exitcode}; see its output")
    process.join()
    return end


def _tell(writer: Connection, job: Job, device: str, until_phase_two: bool, threads: int) -> None:
    writer.send(train_job(job, device, until_phase_two=until_phase_two, threads=threads))


@dataclass(frozen=True)
class TrainingWork:
    """What the actors of a sweep do.

    Args:
        device: Device of an actor.
        until_phase_two: Whether to train the shared runs for phase one.
    """

    device: str
    until_phase_two: bool

    def prepare(self) -> None:
        """Needs nothing: each run loads its own clips."""

    def do(self, job: Job, progress: Progress) -> End:
        """Trains a run."""
        return train_job(job, self.device, until_phase_two=self.until_phase_two, threads=cpu_count())


@dataclass(frozen=True)
class ClusterTrainer:
    """Trains on the connected cluster.

    Args:
        cluster: The cluster.
        out: Folder of the sweep.
    """

    cluster: ClusterJobs
    out: Path

    def train(self, jobs: Sequence[Job], ended: Callable[[Job, End], None], *, until_phase_two: bool) -> None:
        def on_end(job: Job, end: End | None, reason: str | None) -> None:
            ended(job, end if end is not None else End(reason))

        # On a CPU, each run keeps the device of its settings, as on this machine.
        device = self.cluster.device if self.cluster.demand.gpus else AUTO
        work = TrainingWork(device, until_phase_two)
        paths = [path for job in jobs for path in _paths_of(job)]
        self.cluster.run(work, [(job, 1.0) for job in jobs], self.out, paths=paths, ended=on_end)


def _paths_of(job: Job) -> list[Path]:
    """Files and folders that a run names."""
    settings = job.settings
    names: list[Any] = [settings.data.file, settings.data.keypoint_files, getattr(settings, "init", None)]
    return [job.folder, *(Path(name) for name in names if name is not None)]
