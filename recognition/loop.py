"""The loop of every training: steps, epochs, and checkpoints from which it goes on as if it had never stopped."""

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
from recognition.batches import Batch
from recognition.batching import ClipBatches, make_loader
from recognition.dataset import Sample
from recognition.gathering import gather_names
from recognition.interruption import StopSignals
from recognition.position import Position
from recognition.resuming import random_state, restore_random_state
from recognition.run_log import RunLog
from recognition.training_progress import TrainingProgress
from recognition.training_step import TrainingStep, agree

log = logging.getLogger(__name__)


class TrainingStopped(SkelpipeError):
    """A signal ended the run, after it was saved."""


class LoopSettings(Protocol):
    """What the loop asks of a run's settings of training."""

    @property
    def accumulate(self) -> int: ...

    @property
    def seed(self) -> int: ...

    @property
    def clip_gradient(self) -> float | None: ...

    @property
    def checkpoint_minutes(self) -> float: ...


class Loop(ABC):
    """A run in one process. What is trained, on what, and what an epoch's end brings, is its subclasses' matter.

    Args:
        fabric: Launched.
        settings: Of the loop.
        folder: The run directory.
        checkpoint: Of the run, to go on with.
        identity: What every run file says beside its weights.
        notes: What whoever trains should know, a sentence each.
        show: Whether progress is told.
    """

    # Names of a step's losses, the total first.
    losses: tuple[str, ...]
    # What lowers the learning rate, in words, for a loss that is no number.
    remedy: str
    # How many epochs there are.
    epochs: int
    # How a run that has all of them is told to go on.
    more_epochs: str
    # The command that goes on with a run.
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
        # From here on processes differ: each draws dropout for clips of its own.
        torch.manual_seed(settings.seed + 1 + fabric.global_rank)
        self.position = Position()
        if checkpoint is not None:
            self._restore(checkpoint)
        size = checkpoint["training"]["metrics_size"] if checkpoint is not None else 0
        self.log = RunLog(self.folder, size) if fabric.is_global_zero else None
        self.saved_at = monotonic()
        # Whether one of the processes has had a signal, as all know after a step.
        self.stop = False

    @abstractmethod
    def _prepare_batches(self) -> None:
        """Sets `dataset` and `batches`, and whatever else is read."""

    @abstractmethod
    def _build_objective(self) -> nn.Module:
        """What is trained, with its losses; weights as they begin."""

    def _initialise(self) -> str | None:
        """Puts weights into what begins from others, and says so."""
        return None

    @abstractmethod
    def _build_step(self) -> TrainingStep: ...

    @abstractmethod
    def _build_optimizer(self) -> torch.optim.Optimizer: ...

    @abstractmethod
    def _set_rates(self, progress: float) -> dict[str, float]:
        """Sets the learning rates, and tells them by name, the most telling first.

        Args:
            progress: Share of the epoch that is done after this step, in (0, 1].
        """

    @abstractmethod
    def _arguments(self) -> dict[str, Any]:
        """What the objective is told beside a batch."""

    @abstractmethod
    def _end_epoch(self, rate: float) -> None:
        """Measures, writes, saves and tells, and moves the position on.

        Args:
            rate: Clips a second.
        """

    def _correct(self, batch: Batch, losses: dict[str, torch.Tensor]) -> torch.Tensor:
        """How many of a part's clips were right, where that can be said."""
        return losses["total"].new_zeros(())

    def _told(self, values: Sequence[float]) -> dict[str, Any]:
        """A step's line in the log, but for the rates."""
        return {"epoch": self.position.epoch, **dict(zip(self.losses, values, strict=True))}

    def _facts(self) -> dict[str, Any]:
        """What run files of this kind say of their weights, beside where the run is."""
        return {}

    def _begin_epoch(self) -> None:
        """What comes before an epoch's first step."""
        return

    def work_of(self, epoch: int) -> float:
        """What one of an epoch's steps costs, in any unit."""
        return 1.0

    def _restore(self, checkpoint: dict[str, Any]) -> None:
        state = checkpoint["training"]
        self.optimizer.load_state_dict(state["optimizer"])
        self.position = Position(**state["position"])
        for name in ("version", "commit"):
            if checkpoint.get(name) != self.identity[name]:
                log.warning(
                    "the run was trained by code of %s %s so far, and goes on with %s",
                    name,
                    checkpoint.get(name),
                    self.identity[name],
                )
        if not restore_random_state(state["random"], self.fabric):
            log.warning("the run had other devices before, so dropout draws other numbers than it would have there")

    def run(self, stop_after: int | None) -> SkelpipeError | None:
        """Trains to the end.

        Args:
            stop_after: Epochs after which to stop all the same.

        Returns:
            What stopped it before, if anything did.
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
                    f"{self.folder}: already finished, after {self.position.epoch} epochs; {self.more_epochs}, to go on"
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
        """One step of the optimiser over one or more micro-batches."""
        position, epoch = self.position, self.position.epoch
        rates = self._set_rates((position.step_in_epoch + 1) / steps)
        self.optimizer.zero_grad()
        told: list[torch.Tensor] = []
        for number, part in enumerate(parts, 1):
            batch = part.to(self.fabric.device)
            with self.fabric.no_backward_sync(self.module, enabled=number < len(parts)):
                losses = self.module(batch, **self._arguments())
                # A part counts by its clips: the last one of an epoch may be smaller.
                self.fabric.backward(losses["total"] * losses["clips"])
            correct = self._correct(batch, losses)
            told.append(
                torch.stack([*(losses[name].detach().double() for name in (*self.losses, "clips")), correct.double()])
            )
        of_parts = torch.stack(told)
        # Not as a number: to read it, a GPU would have to be waited for.
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
        # After an epoch's last step its measures come first, and then it is saved, and stopped, in any case.
        self.stop = bool(stop)
        if position.step_in_epoch < steps and (stop or due_somewhere):
            self._save()
        return self._stopped() if stop and position.step_in_epoch < steps else None

    def _norm_of_gradient(self) -> torch.Tensor:
        """Of the step, before it is clipped, where that is asked for."""
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
            f"{self.position.epoch + 1}, in the clips {', '.join(clips)}. {runs.LAST} is as it was before; look at "
            f"these clips, or begin again with a lower {self.remedy}, or with training.clip_gradient=1"
        )

    def _stopped(self) -> TrainingStopped:
        return TrainingStopped(
            f"stopped by {self.signals.received or 'a signal'} after step {self.position.step}; go on with "
            f"`skelpipe {self.command} --resume {self.folder}`"
        )

    def _next_epoch(self) -> None:
        """Moves the position to the beginning of the next epoch."""
        position = self.position
        position.epoch, position.step_in_epoch = position.epoch + 1, 0
        position.clips = position.correct = position.loss = 0

    def _write(self, kind: str, values: dict[str, Any]) -> None:
        if self.log is not None:
            self.log.write(kind, self.position.step, values)

    def _save(self, *, best: bool = False, also: Sequence[str] = ()) -> None:
        """Writes `last.pt`, and before it `best.pt`, and `also` files like it; a run that is killed before the former
        makes the others again."""
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
        """What of a run file's content goes into `best.pt`."""
        return content

    def close(self) -> None:
        if self.log is not None:
            self.log.close()


def _suspects(parts: list[Batch], of_parts: torch.Tensor) -> list[str]:
    """Clips of the micro-batches of all processes whose own losses are no numbers; all of the step where none's are.

    Args:
        parts: Micro-batches of this process.
        of_parts: (parts, L), what they told.
    """
    finite = of_parts.isfinite().all(1).tolist()
    of_bad = [name for part, fine in zip(parts, finite, strict=True) if not fine for name in part.names]
    return gather_names(of_bad) or gather_names([name for part in parts for name in part.names])
