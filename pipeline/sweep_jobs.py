"""The trainings of a sweep: each a process of its own, several at a time; phase one once for rows that share it."""

import hashlib
import json
import multiprocessing
import os
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

from pose_extraction.errors import SkelpipeError, TrainingError
from pose_extraction.files import atomic_write
from recognition import runs
from recognition.preparation import prepare
from recognition.pretraining.preparation import prepare_pretraining
from recognition.pretraining.settings import PretrainSettings
from recognition.pretraining.training import check_same_pretraining, pretrain
from recognition.resuming import check_same_run, settings_before
from recognition.settings import RunSettings
from recognition.training import TrainingStopped, train

RUNS, SHARED = "runs", "phase_one"
AUTO = "auto"


@dataclass(frozen=True)
class Job:
    """One run to train.

    Args:
        name: For messages.
        settings: Of the training or pre-training; its directory is `out`.
        shared: Run that ends with phase one, which this one goes on from; None to begin at the beginning.
    """

    name: str
    settings: RunSettings | PretrainSettings
    shared: Path | None = None

    @property
    def folder(self) -> Path:
        return Path(self.settings.out)


def phase_one_of(settings: RunSettings, folder: Path) -> Path | None:
    """Where the run lies that has the same phase one as these settings: by all that phase one depends on.

    None where phase one has no fixed length above 0, or there is no phase two to part the rows.
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
    """Trains the runs of all rows, but for those that are done, and tells of it.

    Args:
        listed: Runs of each row, a seed each.
        jobs: Runs at a time; None for one a GPU, or one a core.
        dry_run: Whether to list what is left to do alone.
        console: Where it is told.

    Returns:
        Rows whose runs are all trained, and runs that failed with the reasons; None of a dry run.

    Raises:
        UsageError: A run that is done had other settings, or other clips.
        TrainingError: No row has a run of every seed.
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
    first = f", and phase one {shared} times for all that are left" if shared else ""
    console.print(Text(f"{len(every)} runs, {len(every) - len(left)} of them done; {at_once} at a time{first}"))
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
        raise TrainingError(f"no row of the sweep could be trained with every seed; {name}: {reason}")
    return whole, failed


def _check_as_wanted(job: Job) -> None:
    """Refuses a run that lies there and was trained with other settings, or on other clips."""
    if isinstance(job.settings, PretrainSettings):
        checkpoint = runs.load(job.folder / runs.BEST)
        check_same_pretraining(checkpoint, prepare_pretraining(job.settings), run=str(job.folder))
    else:
        checkpoint = runs.load(job.folder / runs.LAST)
        prepared = prepare(job.settings, begun=settings_before(checkpoint))
        check_same_run(checkpoint, prepared, run=str(job.folder))


def write_results(folder: Path, files: Mapping[str, bytes]) -> None:
    """Writes the files of a sweep, by name."""
    for name, content in files.items():
        with atomic_write(folder / name) as file:
            file.write(content)


def train_all(
    jobs: Iterable[Job], *, at_once: int, devices: list[str], done: Callable[[Job, str | None], None]
) -> None:
    """Trains runs, or ends those that were begun; those that are done are left as they are.

    Args:
        jobs: The runs.
        at_once: Processes at a time; one alone is this one.
        devices: Which take turns, such as "cuda:0" and "cuda:1"; "auto" leaves each run its own.
        done: Told of every run that ends, with the reason if it failed: the others go on.

    Raises:
        KeyboardInterrupt: A signal came; what was trained is saved.
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
    """Devices that take turns, and runs at a time."""
    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    devices = [f"cuda:{number}" for number in range(gpus)] or [AUTO]
    most = jobs or gpus or len(os.sched_getaffinity(0))
    return devices, max(1, min(most, max(left, 1)))


def _together(given: list[tuple[Job, str, bool]], at_once: int) -> Iterator[tuple[Job, "_End"]]:
    """Runs as they end, several at a time, each in a process of its own."""
    threads = max(1, len(os.sched_getaffinity(0)) // at_once)
    pool = ThreadPoolExecutor(at_once)
    try:
        futures = {pool.submit(_in_process, *one, threads): one[0] for one in given}
        for future in as_completed(futures):
            yield futures[future], future.result()
    finally:
        # Those that have begun end, or save and stop where the signal reached them; the others do not begin.
        pool.shutdown(cancel_futures=True)


def _in_process(job: Job, device: str, until_phase_two: bool, threads: int) -> "_End":
    """One training in a process of its own, waited for."""
    # A process that forks from one in which a network has run may hang.
    context = multiprocessing.get_context("spawn")
    reader, writer = context.Pipe(duplex=False)
    process = context.Process(target=_tell, args=(writer, job, device, until_phase_two, threads))
    process.start()
    # Open here it would stay open when the process dies, and be waited for.
    writer.close()
    try:
        end: _End = reader.recv()
    except EOFError:
        process.join()
        return _End(f"its process ended with status {process.exitcode}; look at what it printed")
    process.join()
    return end


def _tell(writer: Connection, job: Job, device: str, until_phase_two: bool, threads: int) -> None:
    writer.send(_train(job, device, until_phase_two, threads=threads))


@dataclass(frozen=True)
class _End:
    """How a training ended: well, with a reason, or stopped by a signal."""

    reason: str | None = None
    stopped: bool = False


def is_begun(folder: Path) -> bool:
    """Whether a run directory holds a checkpoint to go on from."""
    return (folder / runs.LAST).is_file()


def is_done(settings: RunSettings | PretrainSettings) -> bool:
    """Whether a run has been trained to its end."""
    folder = Path(settings.out)
    if isinstance(settings, PretrainSettings):
        return (folder / runs.BEST).is_file()
    training = settings.training
    if not is_begun(folder):
        return False
    content = runs.load(folder / runs.LAST)
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
    """Trains a run that rows have in common up to phase two, or ends it."""
    epochs = settings.training.phase1_epochs
    assert shared is not None and isinstance(epochs, int)
    if not is_begun(shared) or runs.load(shared / runs.LAST)["epoch"] < epochs:
        # With MaskCLR's objective, whatever the rows have: the prototypes are filled in its last epoch.
        training = settings.training.model_copy(update={"objective": "maskclr"})
        ours = settings.model_copy(update={"out": str(shared), "training": training})
        train(ours, resume=shared if is_begun(shared) else None, stop_after=epochs)


def _copy(shared: Path, folder: Path) -> None:
    """A run that has ended phase one, to go on from elsewhere: whole or not at all."""
    part = folder.with_name(f".{folder.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    shutil.copytree(shared, part)
    # What a start that failed may have left.
    shutil.rmtree(folder, ignore_errors=True)
    part.rename(folder)
