"""Training jobs of a sweep: several processes in parallel; rows with the same phase one share it."""

import hashlib
import json
import multiprocessing
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from itertools import count
from multiprocessing.connection import Connection
from pathlib import Path

import torch
from rich.console import Console
from rich.text import Text

from pose_extraction.engines.devices import cpu_count
from pose_extraction.errors import SkelpipeError, TrainingError
from recognition import runs
from recognition.engine.training_run import TrainingStopped
from recognition.pretraining.preparation import prepare_pretraining
from recognition.pretraining.resuming import check_same_pretraining
from recognition.pretraining.run import pretrain
from recognition.pretraining.settings import PretrainSettings
from recognition.settings import RunSettings
from recognition.training.preparation import prepare
from recognition.training.resuming import check_same_run, settings_before
from recognition.training.run import train

RUNS, SHARED = "runs", "phase_one"
AUTO = "auto"


@dataclass(frozen=True)
class Job:
    """One run to train.

    Args:
        name: Name for messages.
        settings: Settings of the training or pre-training; `out` is the run directory.
        shared: Run that provides phase one; None to train from the beginning.
    """

    name: str
    settings: RunSettings | PretrainSettings
    shared: Path | None = None

    @property
    def folder(self) -> Path:
        """Run directory."""
        return Path(self.settings.out)


def phase_one_of(settings: RunSettings, folder: Path) -> Path | None:
    """Return the directory of the shared run for phase one, named by everything that phase one depends on.

    Returns None if phase one has no fixed length above 0, or if there is no phase two in which the rows differ.

    Args:
        settings: Settings of a run.
        folder: Folder of the sweep.
    """
    training = settings.training
    if not isinstance(training.phase1_epochs, int) or training.phase1_epochs < 1 or not training.phase2_epochs:
        return None
    parts = {
        "data": settings.data.model_dump(mode="json"),
        "model": settings.model.model_dump(mode="json"),
        "init": settings.init,
        "representation": settings.maskclr.representation,
        "momentum": settings.maskclr.momentum,
        "confidence": settings.maskclr.confidence,
        "training": training.model_copy(update={"objective": "maskclr", "device": "auto"}).model_dump(mode="json"),
    }
    digest = hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
    return folder / SHARED / digest[:16]


def train_rows(
    listed: Mapping[str, Sequence[Job]], *, jobs: int | None, dry_run: bool, console: Console
) -> tuple[dict[str, Sequence[Job]], dict[str, str]] | None:
    """Train the unfinished runs of all rows and report progress.

    Args:
        listed: Runs of each row, one per seed.
        jobs: Number of parallel runs; None for one per GPU, or one per core.
        dry_run: Whether to list the unfinished runs without training.
        console: Receives progress.

    Returns:
        Rows with finished runs for all seeds, and failed runs with the reasons; None for a dry run.

    Raises:
        UsageError: A finished run has other settings or clips.
        TrainingError: No row has a run for every seed.
    """
    every = [job for own in listed.values() for job in own]
    left: list[Job] = []
    for job in every:
        if is_done(job.settings):
            _check_as_wanted(job)
        else:
            left.append(job)
    devices, at_once = machine(jobs, len(left))
    shared = len({job.shared for job in left if job.shared is not None})
    first = f"; {shared} shared trainings of phase one" if shared else ""
    console.print(Text(f"{len(every)} runs, {len(every) - len(left)} of them finished; {at_once} in parallel{first}"))
    if dry_run:
        for job in left:
            console.print(Text(f"  {job.name}: {job.folder}"))
        return None
    failed: dict[str, str] = {}
    numbers = count(1)

    def done(job: Job, reason: str | None) -> None:
        if reason is not None:
            failed[job.name] = reason
        state = f"failed: {reason}" if reason is not None else "trained"
        console.print(Text(f"{next(numbers)} of {len(left)}: {job.name}: {state}"))

    train_all(left, at_once=at_once, devices=devices, done=done)
    whole = {name: own for name, own in listed.items() if all(job.name not in failed for job in own)}
    if not whole:
        name, reason = next(iter(failed.items()))
        raise TrainingError(f"no row of the sweep could be trained with all seeds; {name}: {reason}")
    return whole, failed


def _check_as_wanted(job: Job) -> None:
    """Check that an existing run was trained with the requested settings and clips."""
    if isinstance(job.settings, PretrainSettings):
        checkpoint = runs.load(runs.run_file(job.folder))
        check_same_pretraining(checkpoint, prepare_pretraining(job.settings), run=str(job.folder))
    else:
        checkpoint = runs.load(runs.run_file(job.folder, "last"))
        prepared = prepare(job.settings, begun=settings_before(checkpoint))
        check_same_run(checkpoint, prepared, run=str(job.folder))


def train_all(
    jobs: Iterable[Job], *, at_once: int, devices: list[str], done: Callable[[Job, str | None], None]
) -> None:
    """Train runs, or resume interrupted ones; finished runs are left unchanged.

    Args:
        jobs: The runs.
        at_once: Number of parallel processes; if 1, the current process is used.
        devices: Devices to assign in turn, such as "cuda:0" and "cuda:1"; "auto" keeps the device of the run.
        done: Called for every run that ends, with the reason if it failed; the others continue.

    Raises:
        KeyboardInterrupt: A signal was received; the progress of the training is saved.
    """
    listed = list(jobs)
    shared = {job.shared: job for job in listed if job.shared is not None and not is_begun(job.folder)}
    for wave, until_phase_two in ((list(shared.values()), True), (listed, False)):
        given = [(job, devices[number % len(devices)], until_phase_two) for number, job in enumerate(wave)]
        for job, end in _together(given, at_once) if at_once > 1 else ((one[0], _train(*one)) for one in given):
            if end.stopped:
                raise KeyboardInterrupt
            if not until_phase_two:
                done(job, end.reason)


def machine(jobs: int | None, left: int) -> tuple[list[str], int]:
    """Return the devices to assign in turn, and the number of parallel runs.

    Args:
        jobs: Requested number of parallel runs; None for one per GPU, or one per core.
        left: Number of unfinished runs.
    """
    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    devices = [f"cuda:{number}" for number in range(gpus)] or [AUTO]
    most = jobs or gpus or cpu_count()
    return devices, max(1, min(most, max(left, 1)))


def _together(given: list[tuple[Job, str, bool]], at_once: int) -> Iterator[tuple[Job, "_End"]]:
    """Yield runs as they end; several train in parallel, each in its own process."""
    threads = max(1, cpu_count() // at_once)
    pool = ThreadPoolExecutor(at_once)
    try:
        futures = {pool.submit(_in_process, *one, threads): one[0] for one in given}
        for future in as_completed(futures):
            yield futures[future], future.result()
    finally:
        # Running jobs finish, or save and stop if the signal reached them; pending jobs are not started.
        pool.shutdown(cancel_futures=True)


def _in_process(job: Job, device: str, until_phase_two: bool, threads: int) -> "_End":
    """Train one run in a separate process and wait for it."""
    # Forking a process in which a network has run can deadlock.
    context = multiprocessing.get_context("spawn")
    reader, writer = context.Pipe(duplex=False)
    process = context.Process(target=_tell, args=(writer, job, device, until_phase_two, threads))
    process.start()
    # If this end stayed open here, `poll` would not notice that the process died.
    writer.close()
    try:
        end: _End = reader.recv()
    except EOFError:
        process.join()
        return _End(f"its process exited with status {process.exitcode}; see its output")
    process.join()
    return end


def _tell(writer: Connection, job: Job, device: str, until_phase_two: bool, threads: int) -> None:
    writer.send(_train(job, device, until_phase_two, threads=threads))


@dataclass(frozen=True)
class _End:
    """Outcome of a training: success, failure with a reason, or stopped by a signal."""

    reason: str | None = None
    stopped: bool = False


def is_begun(folder: Path) -> bool:
    """Whether a run directory contains a checkpoint to resume from."""
    return runs.saved(folder, runs.LAST) is not None


def is_done(settings: RunSettings | PretrainSettings) -> bool:
    """Whether a run has completed its training."""
    folder = Path(settings.out)
    if isinstance(settings, PretrainSettings):
        return runs.saved(folder, runs.BEST) is not None
    training = settings.training
    if not is_begun(folder):
        return False
    content = runs.load_facts(runs.run_file(folder, "last"))
    resolved = content["settings"]["training"]
    epochs = [
        resolved[name] if isinstance(resolved[name], int) else getattr(training, name)
        for name in ("phase1_epochs", "phase2_epochs")
    ]
    return bool(content["epoch"] >= sum(epochs))


def _train(job: Job, device: str, until_phase_two: bool, *, threads: int | None = None) -> _End:
    if threads is not None:
        torch.set_num_threads(threads)
    settings = job.settings
    if device != AUTO:
        training = settings.training.model_copy(update={"device": device})
        settings = settings.model_copy(update={"training": training})
    try:
        if isinstance(settings, PretrainSettings):
            pretrain(settings, resume=job.folder if is_begun(job.folder) else None)
        elif until_phase_two:
            _train_phase_one(settings, job.shared)
        elif not is_done(settings):
            if not is_begun(job.folder) and job.shared is not None and is_begun(job.shared):
                _copy(job.shared, job.folder)
            train(settings, resume=job.folder if is_begun(job.folder) else None)
    except TrainingStopped:
        return _End(stopped=True)
    except SkelpipeError as error:
        return _End(str(error))
    return _End()


def _train_phase_one(settings: RunSettings, shared: Path | None) -> None:
    """Train a shared run up to phase two, or resume it."""
    epochs = settings.training.phase1_epochs
    assert shared is not None and isinstance(epochs, int)
    if not is_begun(shared) or runs.load_facts(runs.run_file(shared, "last"))["epoch"] < epochs:
        # Always with MaskCLR's objective, because the prototypes are filled in its last epoch.
        training = settings.training.model_copy(update={"objective": "maskclr"})
        ours = settings.model_copy(update={"out": str(shared), "training": training})
        train(ours, resume=shared if is_begun(shared) else None, stop_after=epochs)


def _copy(shared: Path, folder: Path) -> None:
    """Copy a run that has completed phase one, atomically, so that another run can continue from it."""
    part = folder.with_name(f".{folder.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    shutil.copytree(shared, part)
    # Remove leftovers of a failed start.
    shutil.rmtree(folder, ignore_errors=True)
    part.rename(folder)
