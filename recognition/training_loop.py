"""The loop of a training: steps, epochs, and checkpoints from which it goes on as if it had never stopped."""

import logging
import math
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from time import monotonic
from typing import Any, Literal

import torch
from lightning_fabric import Fabric

from pose_extraction.errors import SkelpipeError, TrainingError
from recognition import runs
from recognition.batches import Batch
from recognition.batching import ClipBatches, make_loader
from recognition.dataset import SkeletonDataset
from recognition.held_out_measures import measure
from recognition.initialising import initialise
from recognition.interruption import StopSignals
from recognition.maskclr import MaskCLR
from recognition.position import Position
from recognition.preparation import Prepared
from recognition.recognizer import build_recognizer
from recognition.resuming import random_state, restore_random_state
from recognition.run_log import RunLog
from recognition.schedule import epochs_of, learning_rate_factor
from recognition.settings import RunSettings
from recognition.training_progress import TrainingProgress
from recognition.training_step import LOSSES, TrainingStep, agree

# A step of phase two over one of phase one: two forward passes in place of one, and their gradients.
PHASE2_WORK = 2.2

log = logging.getLogger(__name__)


class TrainingStopped(SkelpipeError):
    """A signal ended the run, after it was saved."""


class Training:
    """A run in one process.

    Args:
        fabric: Launched.
        prepared: Data and settings.
        checkpoint: Of the run, to go on with.
        identity: What every run file says beside its weights.
        show: Whether progress is told.
    """

    def __init__(
        self,
        fabric: Fabric,
        prepared: Prepared,
        checkpoint: dict[str, Any] | None,
        *,
        identity: dict[str, Any],
        show: bool,
    ) -> None:
        settings = prepared.settings
        if settings.model.size == "auto" or settings.training.backbone_lr == "auto":
            raise ValueError("the model or its learning rate is still auto")
        self.rates = (float(settings.training.backbone_lr), settings.training.head_lr)
        self.identity = identity
        self.fabric, self.prepared, self.settings, self.show = fabric, prepared, settings.training, show
        self.folder = Path(settings.out)
        self.phase1, phase2 = epochs_of(self.settings)
        self.epochs = self.phase1 + phase2
        self._prepare_batches()
        torch.manual_seed(self.settings.seed)
        recognizer = build_recognizer(
            settings.model,
            num_joints=prepared.num_joints,
            channels=prepared.channels,
            num_classes=prepared.num_classes,
        )
        self.objective = MaskCLR(
            recognizer,
            settings.maskclr,
            num_classes=prepared.num_classes,
            seed=self.settings.seed,
            label_smoothing=self.settings.label_smoothing,
            class_weights=prepared.class_weights() if self.settings.class_weights == "balanced" else None,
        )
        self.begun_with: str | None = None
        if checkpoint is not None:
            self.objective.load_state_dict(checkpoint["model"])
        elif settings.init is not None:
            self.begun_with = initialise(recognizer, settings.init, label_names=prepared.clips.label_names)
        self.module, self.optimizer = self._set_up()
        # From here on processes differ: each draws dropout for clips of its own.
        torch.manual_seed(self.settings.seed + 1 + fabric.global_rank)
        self.position = Position()
        if checkpoint is not None:
            self._restore(checkpoint)
        size = checkpoint["training"]["metrics_size"] if checkpoint is not None else 0
        self.log = RunLog(self.folder, size) if fabric.is_global_zero else None
        self.saved_at = monotonic()
        # Whether one of the processes has had a signal, as all know after a step.
        self.stop = False

    def _prepare_batches(self) -> None:
        prepared, data, settings = self.prepared, self.prepared.settings.data, self.settings
        own_lengths = data.num_frames == "own"
        labels = prepared.clips.labels
        self.dataset = SkeletonDataset(prepared.clips, prepared.training, data, train=True, seed=settings.seed)
        self.batches = ClipBatches(
            self.dataset.lengths,
            labels[prepared.training],
            batch_size=settings.batch_size // settings.accumulate,
            train=True,
            seed=settings.seed,
            own_lengths=own_lengths,
            sampler=data.sampler,
            rank=self.fabric.global_rank,
            world_size=self.fabric.world_size,
        )
        # No clip is padded or repeated to make the shares equal, so that all count once.
        share = prepared.held_out[self.fabric.global_rank :: self.fabric.world_size]
        self.held_out = SkeletonDataset(prepared.clips, share, data, train=False, seed=settings.seed)
        self.held_out_batches: list[list[tuple[int, int]]] = []
        if len(share):
            self.held_out_batches = ClipBatches(
                self.held_out.lengths,
                labels[share],
                batch_size=max(1, settings.batch_size // self.fabric.world_size),
                train=False,
                seed=settings.seed,
                own_lengths=own_lengths,
            ).batches(0)

    def _set_up(self) -> tuple[Any, Any]:
        recognizer, settings = self.objective.recognizer, self.settings
        head = [parameter for name, parameter in recognizer.named_parameters() if not name.startswith("backbone.")]
        optimizer = torch.optim.AdamW(
            [
                {"params": list(recognizer.backbone.parameters()), "lr": self.rates[0]},
                {"params": head, "lr": self.rates[1]},
            ],
            weight_decay=settings.weight_decay,
            fused=True,
        )
        step = TrainingStep(
            self.objective,
            device_type=self.fabric.device.type,
            bf16=settings.precision == "bf16",
            compiled=settings.compile,
        )
        return self.fabric.setup(step, optimizer)

    def _restore(self, checkpoint: dict[str, Any]) -> None:
        state = checkpoint["training"]
        self.optimizer.load_state_dict(state["optimizer"])
        self.position = Position(**state["position"])
        before = epochs_of(RunSettings.model_validate(checkpoint["settings"]).training)
        if self.epochs > sum(before):
            # More epochs are asked for: patience begins anew.
            self.position.epochs_without_gain = 0
        patience = self.settings.early_stopping
        self.position.finished = patience is not None and self.position.epochs_without_gain >= patience
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
            for note in self.prepared.notes:
                self.progress.say(f"note: {note}")
            if self.begun_with is not None:
                self.progress.say(self.begun_with)
            if self.position.step == 0 and self.position.epoch == 0:
                self._save()
            if self.position.finished or self.position.epoch >= self.epochs:
                self.progress.say(
                    f"{self.folder}: already finished, after {self.position.epoch} epochs; set more of them with "
                    "training.phase2_epochs, or training.early_stopping=null, to go on"
                )
            while self.position.epoch < last and not self.position.finished:
                failure = self._epoch()
                if failure is not None:
                    return failure
        return None

    def _progress(self) -> TrainingProgress:
        work = [PHASE2_WORK if self.phase_of(epoch) == 2 else 1.0 for epoch in range(self.epochs)]
        done = sum(work[: self.position.epoch]) * self.steps_in_epoch
        return TrainingProgress(sum(work) * self.steps_in_epoch, done=done, show=self.show)

    def phase_of(self, epoch: int) -> Literal[1, 2]:
        return 2 if epoch >= self.phase1 and self.settings.objective == "maskclr" else 1

    @property
    def steps_in_epoch(self) -> int:
        return math.ceil(len(self.batches) / self.settings.accumulate)

    def _warm_prototypes(self) -> None:
        """One pass over the clips without a step, where no epoch of phase one has filled the prototypes.

        So it is without a phase one, and where phase one was trained as cross-entropy alone. At the beginning of an
        epoch only: what is saved there makes the same pass again.
        """
        position = self.position
        if self.phase_of(position.epoch) == 2 and not position.step_in_epoch and not self.objective.known.any():
            with torch.no_grad():
                for batch in self._load(self.batches.batches(position.epoch)):
                    self.module(batch.to(self.fabric.device), phase=1, epoch=position.epoch, warm_prototypes=True)

    def _load(self, batches: list[list[tuple[int, int]]], *, dataset: SkeletonDataset | None = None) -> Iterator[Batch]:
        workers = self.prepared.settings.data.workers
        return iter(make_loader(dataset or self.dataset, batches, workers=workers))

    def _epoch(self) -> SkelpipeError | None:
        position, accumulate = self.position, self.settings.accumulate
        batches = self.batches.batches(position.epoch)
        steps = self.steps_in_epoch
        loaded = self._load(batches[position.step_in_epoch * accumulate :])
        self.module.train()
        self._warm_prototypes()
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
        phase = self.phase_of(epoch)
        warm = self.settings.objective == "maskclr" and epoch == self.phase1 - 1
        factor = learning_rate_factor(self.settings, epoch, (position.step_in_epoch + 1) / steps)
        rates = (self.rates[0] * factor, self.rates[1] * factor)
        for group, rate in zip(self.optimizer.param_groups, rates, strict=True):
            group["lr"] = rate
        self.optimizer.zero_grad()
        told: list[torch.Tensor] = []
        for number, part in enumerate(parts, 1):
            batch = part.to(self.fabric.device)
            with self.fabric.no_backward_sync(self.module, enabled=number < len(parts)):
                losses = self.module(batch, phase=phase, epoch=epoch, warm_prototypes=warm)
                # A part counts by its clips: the last one of an epoch may be smaller.
                self.fabric.backward(losses["total"] * losses["clips"])
            correct = (losses["logits"].argmax(1) == batch.label).sum()
            told.append(
                torch.stack([*(losses[name].detach().double() for name in (*LOSSES, "clips")), correct.double()])
            )
        of_parts = torch.stack(told)
        # Not as a number: to read it, a GPU would have to be waited for.
        all_clips = of_parts[:, -2].sum()
        for parameter in self.objective.parameters():
            if parameter.grad is not None:
                parameter.grad /= all_clips
        due = monotonic() - self.saved_at > 60 * self.settings.checkpoint_minutes and self.fabric.is_global_zero
        flags = (sum(map(len, parts)), self.signals.received is not None, due)
        *values, correct_clips, clips, stop, due_somewhere = agree(of_parts, flags, self.fabric)
        if not all(map(math.isfinite, values)):
            return self._not_a_number(parts, values[0])
        if self.settings.clip_gradient is not None:
            norm = self.fabric.clip_gradients(
                self.module, self.optimizer, max_norm=self.settings.clip_gradient, error_if_nonfinite=False
            )
            if not math.isfinite(float(norm)):  # type: ignore[arg-type]
                return self._not_a_number(parts, float(norm))  # type: ignore[arg-type]
        self.optimizer.step()
        position.step += 1
        position.step_in_epoch += 1
        position.clips += clips
        position.correct += correct_clips
        position.loss += values[0] * clips
        shown = dict(zip(LOSSES if phase == 2 else LOSSES[:2], values, strict=False))
        self._write("step", {"epoch": epoch, "phase": phase, **shown, "lr_backbone": rates[0], "lr_head": rates[1]})
        self.progress.step(
            f"epoch {epoch + 1}/{self.epochs}",
            work=PHASE2_WORK if phase == 2 else 1.0,
            clips=int(clips),
            loss=values[0],
            learning_rate=rates[0],
        )
        # After an epoch's last step its measures come first, and then it is saved, and stopped, in any case.
        self.stop = bool(stop)
        if position.step_in_epoch < steps and (stop or due_somewhere):
            self._save()
        return self._stopped() if stop and position.step_in_epoch < steps else None

    def _not_a_number(self, parts: list[Batch], value: float) -> TrainingError:
        names = ", ".join(name for part in parts for name in part.names)
        return TrainingError(
            f"{self.folder}: the loss is {value} at step {self.position.step + 1} of epoch {self.position.epoch + 1}, "
            f"in the clips {names}. {runs.LAST} is as it was before; look at these clips, or begin again with a lower "
            "training.backbone_lr and training.head_lr, or with training.clip_gradient=1"
        )

    def _stopped(self) -> TrainingStopped:
        return TrainingStopped(
            f"stopped by {self.signals.received or 'a signal'} after step {self.position.step}; go on with "
            f"`skelpipe train --resume {self.folder}`"
        )

    def _end_epoch(self, rate: float) -> None:
        position, epoch = self.position, self.position.epoch
        held_out = self._evaluate()
        train_values = {"train_loss": position.loss / position.clips, "train_top1": position.correct / position.clips}
        best = position.best
        gained = held_out is None or best is None or _rank_of(held_out) > _rank_of(best)
        if best is not None and self.phase_of(epoch) > self.phase_of(int(best["epoch"])):
            # An epoch of cross-entropy alone is no MaskCLR, however well it did: the best begins anew.
            gained = True
        position.held_out = held_out
        if gained:
            position.best = {"epoch": epoch, **(held_out or {})}
        # Patience begins with the last phase, and at the same epoch for every objective.
        counts = epoch >= (self.phase1 if self.epochs > self.phase1 else 0)
        position.epochs_without_gain = position.epochs_without_gain + 1 if counts and not gained else 0
        patience = self.settings.early_stopping
        position.epoch, position.step_in_epoch = epoch + 1, 0
        position.clips = position.correct = position.loss = 0
        position.finished = patience is not None and position.epochs_without_gain >= patience
        told = {f"held_out_{name}": value for name, value in (held_out or {}).items()}
        self._write(
            "epoch",
            {"epoch": epoch, "phase": self.phase_of(epoch), **train_values, **told, "clips_per_second": rate},
        )
        self._save(best=gained)
        accuracy = f", held out {held_out['top1']:.2%}" if held_out else ""
        self.progress.say(
            f"epoch {epoch + 1}/{self.epochs}: loss {train_values['train_loss']:.4f}, training "
            f"{train_values['train_top1']:.2%}{accuracy}, {rate:.1f} clips/s"
        )

    def _evaluate(self) -> dict[str, float] | None:
        if not len(self.prepared.held_out):
            return None
        self.module.eval()
        with torch.no_grad(), self.module.autocast():
            loaded = self._load(self.held_out_batches, dataset=self.held_out)
            measures = measure(self.objective.recognizer, loaded, self.fabric)
        self.module.train()
        return measures

    def _write(self, kind: str, values: dict[str, Any]) -> None:
        if self.log is not None:
            self.log.write(kind, self.position.step, values)

    def _save(self, *, best: bool = False) -> None:
        """Writes `last.pt`, and before it `best.pt`; a run killed between the two makes the same `best.pt` again."""
        random = random_state(self.fabric)
        self.saved_at = monotonic()
        if self.log is None:
            return
        position = self.position
        # Of the last step: at an epoch's beginning, that of the epoch before.
        phase = self.phase_of(position.epoch - (not position.step_in_epoch and position.epoch > 0))
        content = {**self.identity, "model": self.objective.state_dict(), **position.told(), "phase": phase}
        if best:
            runs.save(self.folder / runs.BEST, content)
        state = {
            "optimizer": self.optimizer.state_dict(),
            "position": asdict(position),
            "step_in_epoch": position.step_in_epoch,
            "random": random,
            "metrics_size": self.log.size(),
        }
        runs.save(self.folder / runs.LAST, {**content, "training": state})

    def close(self) -> None:
        if self.log is not None:
            self.log.close()


def _rank_of(held_out: dict[str, float]) -> tuple[float, float]:
    """Accuracy decides which epoch is best; where it is equal, the lower loss."""
    return held_out["top1"], -held_out["loss"]
