"""Training jobs of a sweep, in an order in which rows with the same phase one share it."""

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import count
from pathlib import Path

from rich.text import Text

from pipeline.cluster.jobs import ClusterJobs
from pipeline.sweep.job import End, Job, has_checkpoint, is_done
from pipeline.sweep.plan import SweepRequest
from pipeline.sweep.trainers import ClusterTrainer, Trainer, local_trainer
from pose_extraction.errors import TrainingError, counted
from recognition import runs
from recognition.pretraining.preparation import prepare_pretraining
from recognition.pretraining.resuming import check_same_pretraining
from recognition.pretraining.settings import PretrainSettings
from recognition.settings import RunSettings
from recognition.training.preparation import prepare
from recognition.training.resuming import check_same_run, settings_before

RUNS, SHARED = "runs", "phase_one"


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
    listed: Mapping[str, Sequence[Job]], request: SweepRequest, cluster: ClusterJobs | None
) -> tuple[dict[str, Sequence[Job]], dict[str, str]] | None:
    """Train the unfinished runs of all rows and report progress.

    Args:
        listed: Runs of each row, one per seed.
        request: What the command line asks for.
        cluster: The connected cluster; None for this machine.

    Returns:
        Rows with finished runs for all seeds, and failed runs with the reasons; None for a dry run.

    Raises:
        UsageError: A finished run has other settings or clips.
        TrainingError: No row has a run for every seed.
    """
    console = request.console
    every = [job for own in listed.values() for job in own]
    left: list[Job] = []
    for job in every:
        if is_done(job.settings):
            _check_as_wanted(job)
        else:
            left.append(job)
    local = local_trainer(request.jobs, len(left))
    where = f"{local.at_once} in parallel" if request.cluster is None else "on a Ray cluster"
    shared = len({job.shared for job in left if job.shared is not None})
    first = f"; {shared} shared trainings of phase one" if shared else ""
    console.print(Text(f"{counted(len(every), 'run')}, {len(every) - len(left)} of them finished; {where}{first}"))
    if request.dry_run:
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

    train_all(left, local if cluster is None else ClusterTrainer(cluster, request.out), done)
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


def train_all(jobs: Iterable[Job], trainer: Trainer, done: Callable[[Job, str | None], None]) -> None:
    """Train runs, or resume interrupted ones; finished runs are left unchanged.

    Args:
        jobs: The runs.
        trainer: Where they are trained.
        done: Called for every run that ends, with the reason if it failed; the others continue.

    Raises:
        KeyboardInterrupt: A signal was received; the progress of the training is saved.
    """
    listed = list(jobs)
    shared = {job.shared: job for job in listed if job.shared is not None and not has_checkpoint(job.folder)}

    def ended(job: Job, end: End) -> None:
        if end.stopped:
            raise KeyboardInterrupt
        done(job, end.reason)

    def shared_ended(job: Job, end: End) -> None:
        # After a failure, the runs that need it train phase one themselves, and report the reason if it lasts.
        if end.stopped:
            raise KeyboardInterrupt

    trainer.train(list(shared.values()), shared_ended, until_phase_two=True)
    trainer.train(listed, ended, until_phase_two=False)
