"""Training with a run directory: log, progress, interruption, and checkpoints from which a run resumes exactly."""

import logging
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any

import torch

from pose_extraction.errors import SkelpipeError, TrainingError, counted
from recognition import run_file, run_folder
from recognition.engine.interruption import StopSignals
from recognition.engine.loop import Loop, NotFiniteError, Step
from recognition.engine.position import Position
from recognition.engine.prepared_run import PreparedRun
from recognition.engine.progress import TrainingProgress
from recognition.engine.random_state import random_state, restore_random_state
from recognition.engine.run_log import RunLog
from recognition.engine.trainable import Trainable

if TYPE_CHECKING:
    from lightning_fabric import Fabric

log = logging.getLogger(__name__)


class TrainingStopped(SkelpipeError):
    """The run was saved and then stopped by a signal."""


@dataclass(frozen=True)
class EpochResult:
    """Outcome of an epoch.

    Args:
        metrics: Values for the log.
        summary: Losses and accuracies for the user, without the number of the epoch.
        best: Whether the weights are the best so far.
        also: Names of further files of the run directory to save the weights in.
    """

    metrics: dict[str, Any]
    summary: str
    best: bool
    also: Sequence[str] = ()


class RunTrainable(Trainable):
    """Something that a `TrainingRun` trains, with a run directory, a log, and checkpoints to resume from.

    Attributes:
        command: Command that starts and resumes such runs.
        rate_settings: Names of the learning rate settings, for the message about losses that are not finite.
        extension: How to extend a finished run, for a message.
    """

    command: str
    rate_settings: str
    extension: str

    def initialise(self) -> str | None:
        """Load initial weights, if any, into a new run; return a sentence about them."""
        return None

    def resume(self, checkpoint: dict[str, Any], position: Position) -> None:
        """Adapt the position of a resumed run, whose weights and optimiser are restored, to changed settings."""
        return

    def work_of(self, epoch: int) -> float:
        """Return the relative cost of a step in an epoch, in any unit."""
        return 1.0

    def begin_epoch(self, loop: Loop) -> None:
        """Prepare an epoch. Called before its first step, and when a run is resumed within it."""
        return

    def describe_step(self, epoch: int, losses: dict[str, float]) -> dict[str, Any]:
        """Return the values of a step for the log, without learning rates."""
        return {"epoch": epoch, **losses}

    @abstractmethod
    def end_epoch(self, loop: Loop) -> EpochResult:
        """Evaluate, and update the position's measures; its epoch is still the one that has ended."""

    def complete(self, loop: Loop, folder: Path) -> None:
        """Finish the run files after the last epoch. Called in the first process only."""
        return

    def facts(self, position: Position) -> dict[str, Any]:
        """Return further metadata of the weights for run files."""
        return {}

    def best_of(self, content: dict[str, Any]) -> dict[str, Any]:
        """Select the content of `best.safetensors` from the content of a run file."""
        return content


class TrainingRun:
    """One process of a training with a run directory.

    Args:
        fabric: Launched Fabric.
        training: What is trained, newly built from the seed.
        prepared: Its data and settings.
        checkpoint: Checkpoint to resume; None for a new run.
        identity: Content of every run file in addition to the weights.
        show: Whether to show progress.

    Raises:
        TrainingError: The log is shorter than the checkpoint says.
    """

    def __init__(
        self,
        fabric: "Fabric",
        training: RunTrainable,
        prepared: PreparedRun[Any],
        checkpoint: dict[str, Any] | None,
        *,
        identity: Mapping[str, Any],
        show: bool = False,
    ) -> None:
        self.fabric, self.training, self.identity, self.show = fabric, training, identity, show
        self.folder, settings = Path(prepared.settings.out), prepared.settings.training
        self.checkpoint_seconds = 60 * settings.checkpoint_minutes
        self.messages = [f"note: {note}" for note in prepared.notes]
        if checkpoint is not None:
            training.objective.load_state_dict(checkpoint["model"])
        elif (loaded := training.initialise()) is not None:
            self.messages.append(loaded)
        self.loop = Loop(
            fabric,
            training,
            bf16=settings.precision == "bf16",
            accumulate=settings.accumulate,
            clip_gradient=settings.clip_gradient,
            workers=prepared.settings.data.workers,
        )
        # From here on random states differ between processes: each draws dropout for its own clips.
        torch.manual_seed(settings.seed + 1 + fabric.global_rank)
        if checkpoint is not None:
            self._restore(checkpoint)
        size = checkpoint["training"]["metrics_size"] if checkpoint is not None else 0
        self.log = RunLog(self.folder, size) if fabric.is_global_zero else None
        self.saved_at = monotonic()
        self.signals = StopSignals()

    def _restore(self, checkpoint: dict[str, Any]) -> None:
        state = checkpoint["training"]
        self.loop.optimizer.load_state_dict(state["optimizer"])
        self.loop.position = Position(**state["position"])
        self.training.resume(checkpoint, self.loop.position)
        for name in ("version", "commit"):
            if checkpoint.get(name) != self.identity[name]:
                log.warning(
                    "the run was trained by code of %s %s so far, and continues with %s",
                    name,
                    checkpoint.get(name),
                    self.identity[name],
                )
        if not restore_random_state(state["random"], self.fabric):
            log.warning("the run used other devices before; dropout will differ from that of an uninterrupted run")

    def run(self, stop_after: int | None) -> SkelpipeError | None:
        """Train until the end.

        Args:
            stop_after: Number of epochs after which to stop early; None to train all.

        Returns:
            The error that stopped the training, the same in all processes; None if it completed.
        """
        position, epochs = self.loop.position, self.training.epochs
        last = epochs if stop_after is None else min(stop_after, epochs)
        with self.signals, self._progress() as progress:
            for message in self.messages:
                progress.say(message)
            if position.step == 0 and position.epoch == 0:
                self.save()
            if position.finished or position.epoch >= epochs:
                progress.say(
                    f"{self.folder}: already finished after {counted(position.epoch, 'epoch')}; "
                    f"{self.training.extension} to go on"
                )
            try:
                while position.epoch < last and not position.finished:
                    stop = self._epoch(progress)
                    if stop and position.epoch < epochs and not position.finished:
                        return self._stopped()
                if self.fabric.is_global_zero and (position.finished or position.epoch >= epochs):
                    self.training.complete(self.loop, self.folder)
            except NotFiniteError as error:
                return TrainingError(
                    f"{self.folder}: {error}. {run_folder.LAST} is unchanged; check these clips, or start again with a "
                    f"lower {self.training.rate_settings}, or with training.clip_gradient=1"
                )
        return None

    def _progress(self) -> TrainingProgress:
        work = [self.training.work_of(epoch) for epoch in range(self.training.epochs)]
        steps = self.loop.steps_in_epoch
        return TrainingProgress(sum(work) * steps, done=sum(work[: self.loop.position.epoch]) * steps, show=self.show)

    def _epoch(self, progress: TrainingProgress) -> bool:
        """Train to the end of the epoch, or until a signal stops the run; return whether one has been received."""
        loop, position, stop = self.loop, self.loop.position, False
        self.training.begin_epoch(loop)
        started, clips_before = monotonic(), position.clips
        for step in loop.steps(self._flags):
            self._report_step(step, progress)
            stop, save = map(bool, step.flags)
            # After the last step of an epoch, the evaluation comes first.
            if position.step_in_epoch < loop.steps_in_epoch:
                if stop or save:
                    self.save()
                if stop:
                    return True
        seconds = monotonic() - started
        self._end_epoch(progress, (position.clips - clips_before) / seconds if seconds else 0.0)
        return stop

    def _flags(self) -> tuple[bool, bool]:
        """Whether this process has received a signal, and whether it wants to save."""
        save = self.fabric.is_global_zero and monotonic() - self.saved_at > self.checkpoint_seconds
        return self.signals.received is not None, save

    def _report_step(self, step: Step, progress: TrainingProgress) -> None:
        epoch = self.loop.position.epoch
        self._write("step", {**self.training.describe_step(epoch, step.losses), **step.rates})
        progress.step(
            f"epoch {epoch + 1}/{self.training.epochs}",
            work=self.training.work_of(epoch),
            clips=step.clips,
            loss=next(iter(step.losses.values())),
            learning_rate=next(iter(step.rates.values())),
        )

    def _end_epoch(self, progress: TrainingProgress, clips_per_second: float) -> None:
        """Evaluate, write metrics, save, report progress, and begin the next epoch."""
        result, position = self.training.end_epoch(self.loop), self.loop.position
        position.begin_next_epoch()
        self._write("epoch", {**result.metrics, "clips_per_second": clips_per_second})
        self.save(best=result.best, also=result.also)
        progress.say(f"epoch {position.epoch}/{self.training.epochs}: {result.summary}, {clips_per_second:.1f} clips/s")

    def _stopped(self) -> TrainingStopped:
        return TrainingStopped(
            f"stopped by {self.signals.received or 'a signal'} after step {self.loop.position.step}; continue with "
            f"`skelpipe {self.training.command} --resume {self.folder}`"
        )

    def _write(self, kind: str, values: dict[str, Any]) -> None:
        if self.log is not None:
            self.log.write(kind, self.loop.position.step, values)

    def save(self, *, best: bool = False, also: Sequence[str] = ()) -> None:
        """Write `last.safetensors`, and before it `best.safetensors` and the files in `also`. A collective call.

        If a run is killed before `last.safetensors` is written, it writes the others again when it is resumed.
        """
        random = random_state(self.fabric)
        self.saved_at = monotonic()
        if self.log is None:
            return
        position, training = self.loop.position, self.training
        content = {
            **self.identity,
            "model": training.objective.state_dict(),
            **position.for_run_file(),
            **training.facts(position),
        }
        for name in (*also, *([run_folder.BEST] if best else [])):
            run_file.save(self.folder / name, training.best_of(content))
        state = {
            "optimizer": self.loop.optimizer.state_dict(),
            "position": asdict(position),
            "step_in_epoch": position.step_in_epoch,
            "random": random,
            "metrics_size": self.log.size(),
        }
        run_file.save(self.folder / run_folder.LAST, {**content, "training": state})

    def close(self) -> None:
        if self.log is not None:
            self.log.close()
