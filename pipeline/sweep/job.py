"""One run of a sweep: whether it is finished, and its training, which continues where an earlier one ended."""

import shutil
from dataclasses import dataclass
from pathlib import Path

import torch

from pipeline.sweep.plan import AUTO
from pose_extraction.errors import SkelpipeError
from recognition import run_folder, runs
from recognition.engine.training_run import TrainingStopped
from recognition.pretraining.run import pretrain
from recognition.pretraining.settings import PretrainSettings
from recognition.settings import RunSettings
from recognition.training.run import train


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


@dataclass(frozen=True)
class End:
    """Outcome of a training: success, failure with a reason, or stopped by a signal."""

    reason: str | None = None
    stopped: bool = False


def has_checkpoint(folder: Path) -> bool:
    """Whether a run directory contains a checkpoint to resume from."""
    return run_folder.saved(folder, run_folder.LAST) is not None


def is_done(settings: RunSettings | PretrainSettings) -> bool:
    """Whether a run has completed its training."""
    folder = Path(settings.out)
    if isinstance(settings, PretrainSettings):
        return run_folder.saved(folder, run_folder.BEST) is not None
    training = settings.training
    if not has_checkpoint(folder):
        return False
    content = runs.load_facts(runs.run_file(folder, "last"))
    resolved = content["settings"]["training"]
    epochs = [
        resolved[name] if isinstance(resolved[name], int) else getattr(training, name)
        for name in ("phase1_epochs", "phase2_epochs")
    ]
    return bool(content["epoch"] >= sum(epochs))


def train_job(job: Job, device: str, *, until_phase_two: bool, threads: int | None = None) -> End:
    """Train a run, or resume it; a finished one is left unchanged.

    Args:
        job: The run.
        device: Replaces the device of its settings, unless it is "auto".
        until_phase_two: Whether to train the shared run for phase one instead.
        threads: Number of threads of torch; None for its own choice.
    """
    if threads is not None:
        torch.set_num_threads(threads)
    settings = job.settings
    if device != AUTO:
        training = settings.training.model_copy(update={"device": device})
        settings = settings.model_copy(update={"training": training})
    try:
        if isinstance(settings, PretrainSettings):
            pretrain(settings, resume=job.folder if has_checkpoint(job.folder) else None)
        elif until_phase_two:
            _train_phase_one(settings, job.shared)
        elif not is_done(settings):
            if not has_checkpoint(job.folder) and job.shared is not None and has_checkpoint(job.shared):
                _copy(job.shared, job.folder)
            train(settings, resume=job.folder if has_checkpoint(job.folder) else None)
    except TrainingStopped:
        return End(stopped=True)
    except SkelpipeError as error:
        return End(str(error))
    return End()


def _train_phase_one(settings: RunSettings, shared: Path | None) -> None:
    """Train a shared run up to phase two, or resume it."""
    epochs = settings.training.phase1_epochs
    assert shared is not None and isinstance(epochs, int)
    if not has_checkpoint(shared) or runs.load_facts(runs.run_file(shared, "last"))["epoch"] < epochs:
        # Always with MaskCLR's objective, because the prototypes are filled in its last epoch.
        training = settings.training.model_copy(update={"objective": "maskclr"})
        ours = settings.model_copy(update={"out": str(shared), "training": training})
        train(ours, resume=shared if has_checkpoint(shared) else None, stop_after=epochs)


def _copy(shared: Path, folder: Path) -> None:
    """Copy a run that has completed phase one, atomically, so that another run can continue from it."""
    part = folder.with_name(f".{folder.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    shutil.copytree(shared, part)
    # Remove leftovers of a failed start.
    shutil.rmtree(folder, ignore_errors=True)
    part.rename(folder)
