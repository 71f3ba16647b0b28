"""Loop of every training: steps, epochs, and checkpoints from which a run resumes exactly."""

import logging
import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from time import monotonic
from typing import Any, Protocol

import torch
from lightning_fabric import Fabric
from torch import nn
from torch.utils.data import Dataset

from pose_extraction.errors import SkelpipeError, TrainingError
from recognition import runs
from recognition.data.batches import Batch
from recognition.data.batching import ClipBatches, make_loader
from recognition.data.dataset import Sample
from recognition.distributed import gather_names
from recognition.engine.interruption import StopSignals
from recognition.engine.position import Position
from recognition.engine.progress import TrainingProgress
from recognition.engine.random_state import random_state, restore_random_state
from recognition.engine.run_log import RunLog
from recognition.engine.step import TrainingStep, agree

log = logging.getLogger(__name__)


class TrainingStopped(SkelpipeError):
    """The run was saved and then stopped by a signal."""


class LoopSettings(Protocol):
    """Training settings that the loop uses."""

    @property
    def accumulate(self) -> int: ...

    @property
    def seed(self) -> int: ...

    @property
    def clip_gradient(self) -> float | None: ...

    @property
    def checkpoint_minutes(self) -> float: ...


class Loop(ABC):
    """Training in one process. Subclasses define the model, the data, and the actions at the end of an epoch.

    Args:
        fabric: Launched Fabric.
        settings: Settings of the loop.
        folder: The run directory.
        checkpoint: Checkpoint to resume; None for a new run.
        identity: Content of every run file in addition to the weights.
        workers: Number of data loading processes, or "auto".
        notes: Notes for the user, one sentence each.
        show: Whether to show progress.
    """

    # Names of the losses of a step, the total first.
    losses: tuple[str, ...]
    # Names of the learning rate settings, for the message about losses that are not finite.
    remedy: str
    # Total number of epochs.
    epochs: int
    # Instruction to extend a finished run, for a message.
    more_epochs: str
    # Command that resumes a run.
    command: str
    objective: nn.Module
    dataset: Dataset[Sample]
    batches: ClipBatches

    def __init__(
        self,
        fabric: Fabric,
        settings: LoopSettings,
        folder: Path,
        checkpoint: dict[str, Any] | None,
        *,
        identity: dict[str, Any],
        workers: Any,
        notes: Sequence[str],
        show: bool,
    ) -> None:
        self.fabric, self.loop, self.folder, self.identity = fabric, settings, folder, identity
        self.workers, self.notes, self.show = workers, notes, show
        self._prepare_batches()
        torch.manual_seed(settings.seed)
        self.objective = self._build_objective()
        self.begun_with: str | None = None
        if checkpoint is not None:
            self.objective.load_state_dict(checkpoint["model"])
        else:
            self.begun_with = self._initialise()
        self.module, self.optimizer = self.fabric.setup(self._build_step(), self._build_optimizer())
        # From here on random states differ between processes: each draws dropout for its own clips.
        torch.manual_seed(settings.seed + 1 + fabric.global_rank)
        self.position = Position()
        if checkpoint is not None:
            self._restore(checkpoint)
        size = checkpoint["training"]["metrics_size"] if checkpoint is not None else 0
        self.log = RunLog(self.folder, size) if fabric.is_global_zero else None
        self.saved_at = monotonic()
        # Whether any process has received a signal; agreed between all processes after each step.
        self.stop = False

    @abstractmethod
    def _prepare_batches(self) -> None:
        """Set `dataset` and `batches`, and anything else that is read."""

    @abstractmethod
    def _build_objective(self) -> nn.Module:
        """Create the model with its losses and its random initial weights."""

    def _initialise(self) -> str | None:
        """Load initial weights, if any; return a sentence about them."""
        return None

    @abstractmethod
    def _build_step(self) -> TrainingStep: ...

    @abstractmethod
    def _build_optimizer(self) -> torch.optim.Optimizer: ...

    @abstractmethod
    def _set_rates(self, progress: float) -> dict[str, float]:
        """Set the learning rates; return them by name, the most informative first.

        Args:
            progress: Share of the epoch that is complete after this step, in (0, 1].
        """

    @abstractmethod
    def _arguments(self) -> dict[str, Any]:
        """Return keyword arguments of the objective in addition to the batch."""

    @abstractmethod
    def _end_epoch(self, rate: float) -> None:
        """Evaluate, write metrics, save, report progress, and advance the position.

        Args:
            rate: Clips per second in this epoch.
        """

    def _correct(self, batch: Batch, losses: dict[str, torch.Tensor]) -> torch.Tensor:
        """Return the number of correct clips in a micro-batch, if defined; otherwise zero."""
        return losses["total"].new_zeros(())

    def _told(self, values: Sequence[float]) -> dict[str, Any]:
        """Return the values of a step for the log, without learning rates."""
        return {"epoch": self.position.epoch, **dict(zip(self.losses, values, strict=True))}

    def _facts(self) -> dict[str, Any]:
        """Return further metadata of the weights for run files."""
        return {}

    def _begin_epoch(self) -> None:
        """Run before the first step of an epoch."""
        return

    def work_of(self, epoch: int) -> float:
        """Return the relative cost of a step in an epoch, in any unit."""
        return 1.0

    def _restore(self, checkpoint: dict[str, Any]) -> None:
        state = checkpoint["training"]
        self.optimizer.load_state_dict(state["optimizer"])
        self.position = Position(**state["position"])
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
            The error that stopped the training; None if it completed.
        """
        last = self.epochs if stop_after is None else min(stop_after, self.epochs)
        with StopSignals() as self.signals, self._progress() as self.progress:
            for note in self.notes:
                self.progress.say(f"note: {note}")
            if self.begun_with is not None:
                self.progress.say(self.begun_with)
            if self.position.step == 0 and self.position.epoch == 0:
                self._save()
            if self.position.finished or self.position.epoch >= self.epochs:
                self.progress.say(
                    f"{self.folder}: already finished after {self.position.epoch} epochs; {self.more_epochs} to go on"
                )
            while self.position.epoch < last and not self.position.finished:
                failure = self._epoch()
                if failure is not None:
                    return failure
        return None

    def _progress(self) -> TrainingProgress:
        work = [self.work_of(epoch) for epoch in range(self.epochs)]
        done = sum(work[: self.position.epoch]) * self.steps_in_epoch
        return TrainingProgress(sum(work) * self.steps_in_epoch, done=done, show=self.show)

    @property
    def steps_in_epoch(self) -> int:
        return math.ceil(len(self.batches) / self.loop.accumulate)

    def _load(self, batches: list[list[tuple[int, int]]], *, dataset: Dataset[Sample] | None = None) -> Iterator[Batch]:
        return iter(make_loader(dataset or self.dataset, batches, workers=self.workers))

    def _epoch(self) -> SkelpipeError | None:
        position, accumulate = self.position, self.loop.accumulate
        batches = self.batches.batches(position.epoch)
        steps = self.steps_in_epoch
        loaded = self._load(batches[position.step_in_epoch * accumulate :])
        self.module.train()
        self._begin_epoch()
        started, clips_before = monotonic(), position.clips
        while position.step_in_epoch < steps:
            first = position.step_in_epoch * accumulate
            parts = [next(loaded) for _ in batches[first : first + accumulate]]
            failure = self._step(parts, steps)
            if failure is not None:
                return failure
        seconds = monotonic() - started
        self._end_epoch((position.clips - clips_before) / seconds if seconds else 0.0)
        ended = position.finished or position.epoch == self.epochs
        return self._stopped() if self.stop and not ended else None

    def _step(self, parts: list[Batch], steps: int) -> SkelpipeError | None:
        """Run one optimiser step over one or more micro-batches."""
        position, epoch = self.position, self.position.epoch
        rates = self._set_rates((position.step_in_epoch + 1) / steps)
        self.optimizer.zero_grad()
        told: list[torch.Tensor] = []
        for number, part in enumerate(parts, 1):
            batch = part.to(self.fabric.device)
            with self.fabric.no_backward_sync(self.module, enabled=number < len(parts)):
                losses = self.module(batch, **self._arguments())
                # Weight micro-batches by their number of clips; the last one of an epoch can be smaller.
                self.fabric.backward(losses["total"] * losses["clips"])
            correct = self._correct(batch, losses)
            told.append(
                torch.stack([*(losses[name].detach().double() for name in (*self.losses, "clips")), correct.double()])
            )
        of_parts = torch.stack(told)
        # Kept as a tensor, because reading the number would synchronise with the GPU.
        all_clips = of_parts[:, -2].sum()
        for parameter in self.objective.parameters():
            if parameter.grad is not None:
                parameter.grad /= all_clips
        due = monotonic() - self.saved_at > 60 * self.loop.checkpoint_minutes and self.fabric.is_global_zero
        flags = (sum(map(len, parts)), self.signals.received is not None, due)
        agreed = agree(of_parts, flags, self.fabric, norm=self._norm_of_gradient())
        *values, norm, correct_clips, clips, stop, due_somewhere = agreed
        if not all(map(math.isfinite, values)):
            return self._not_a_number("loss", values[0], _suspects(parts, of_parts))
        if not math.isfinite(norm):
            return self._not_a_number("norm of the gradient", norm, _suspects(parts, of_parts))
        self.optimizer.step()
        position.step += 1
        position.step_in_epoch += 1
        position.clips += clips
        position.correct += correct_clips
        position.loss += values[0] * clips
        self._write("step", {**self._told(values), **rates})
        self.progress.step(
            f"epoch {epoch + 1}/{self.epochs}",
            work=self.work_of(epoch),
            clips=int(clips),
            loss=values[0],
            learning_rate=next(iter(rates.values())),
        )
        # After the last step of an epoch, `_end_epoch` evaluates and saves first; the run stops afterwards.
        self.stop = bool(stop)
        if position.step_in_epoch < steps and (stop or due_somewhere):
            self._save()
        return self._stopped() if stop and position.step_in_epoch < steps else None

    def _norm_of_gradient(self) -> torch.Tensor:
        """Norm of the step's gradient before clipping; clips it if configured."""
        if self.loop.clip_gradient is None:
            gradients = [parameter.grad for parameter in self.objective.parameters() if parameter.grad is not None]
            return nn.utils.get_total_norm(gradients)
        norm = self.fabric.clip_gradients(
            self.module, self.optimizer, max_norm=self.loop.clip_gradient, error_if_nonfinite=False
        )
        assert norm is not None
        return norm

    def _not_a_number(self, what: str, value: float, clips: list[str]) -> TrainingError:
        return TrainingError(
            f"{self.folder}: the {what} is {value} at step {self.position.step + 1} of epoch "
            f"{self.position.epoch + 1}, in the clips {', '.join(clips)}. {runs.LAST} is unchanged; check these "
            f"clips, or start again with a lower {self.remedy}, or with training.clip_gradient=1"
        )

    def _stopped(self) -> TrainingStopped:
        return TrainingStopped(
            f"stopped by {self.signals.received or 'a signal'} after step {self.position.step}; continue with "
            f"`skelpipe {self.command} --resume {self.folder}`"
        )

    def _next_epoch(self) -> None:
        """Move the position to the start of the next epoch."""
        position = self.position
        position.epoch, position.step_in_epoch = position.epoch + 1, 0
        position.clips = position.correct = position.loss = 0

    def _write(self, kind: str, values: dict[str, Any]) -> None:
        if self.log is not None:
            self.log.write(kind, self.position.step, values)

    def _save(self, *, best: bool = False, also: Sequence[str] = ()) -> None:
        """Write `last.pt`, and before it `best.pt` and the files in `also`.

        If a run is killed before `last.pt` is written, it writes the others again when it is resumed.
        """
        random = random_state(self.fabric)
        self.saved_at = monotonic()
        if self.log is None:
            return
        position = self.position
        content = {**self.identity, "model": self.objective.state_dict(), **position.told(), **self._facts()}
        for name in (*also, *([runs.BEST] if best else [])):
            runs.save(self.folder / name, self._best(content))
        state = {
            "optimizer": self.optimizer.state_dict(),
            "position": asdict(position),
            "step_in_epoch": position.step_in_epoch,
            "random": random,
            "metrics_size": self.log.size(),
        }
        runs.save(self.folder / runs.LAST, {**content, "training": state})

    def _best(self, content: dict[str, Any]) -> dict[str, Any]:
        """Select the content of `best.pt` from the content of a run file."""
        return content

    def close(self) -> None:
        if self.log is not None:
            self.log.close()


def _suspects(parts: list[Batch], of_parts: torch.Tensor) -> list[str]:
    """Return the clips in micro-batches of all processes with losses that are not finite; all clips if there are none.

    Args:
        parts: Micro-batches of this process.
        of_parts: (parts, L), losses of the micro-batches.
    """
    finite = of_parts.isfinite().all(1).tolist()
    of_bad = [name for part, fine in zip(parts, finite, strict=True) if not fine for name in part.names]
    return gather_names(of_bad) or gather_names([name for part in parts for name in part.names])
