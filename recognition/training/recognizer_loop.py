"""Training of a recognizer in one process: its phases, and the choice of the best epoch on the held-out part."""

from pathlib import Path
from typing import Any, Literal

import torch
from lightning_fabric import Fabric
from torch import nn

from recognition.backbones.segments import SegmentTransformer
from recognition.data.batches import Batch
from recognition.data.batching import ClipBatches
from recognition.data.dataset import SkeletonDataset
from recognition.engine.loop import Loop, TrainingStopped
from recognition.engine.step import LOSSES, TrainingStep
from recognition.maskclr.objective import MaskCLR
from recognition.settings import RunSettings
from recognition.training.held_out_measures import measure
from recognition.training.initialising import initialise
from recognition.training.preparation import Prepared
from recognition.training.schedule import epochs_of, learning_rate_factor
from recognition.training.sizing import recognizer_of

__all__ = ["Training", "TrainingStopped"]

# Cost of a step of phase two relative to phase one: two forward passes instead of one, and their gradients.
PHASE2_WORK = 2.2


class Training(Loop):
    """Training of a recognizer in one process.

    Args:
        fabric: Launched Fabric.
        prepared: Data and settings.
        checkpoint: Checkpoint to resume; None for a new run.
        identity: Content of every run file in addition to the weights.
        show: Whether to show progress.
    """

    losses = LOSSES
    remedy = "training.backbone_lr and training.head_lr"
    more_epochs = "increase training.phase2_epochs or set training.early_stopping=null"
    command = "train"
    objective: MaskCLR

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
            raise ValueError("the model or its learning rate is not resolved yet (auto)")
        self.rates = (float(settings.training.backbone_lr), settings.training.head_lr)
        self.prepared, self.settings = prepared, settings.training
        self.phase1, phase2 = epochs_of(self.settings)
        self.epochs = self.phase1 + phase2
        super().__init__(
            fabric,
            settings.training,
            Path(settings.out),
            checkpoint,
            identity=identity,
            workers=settings.data.workers,
            notes=prepared.notes,
            show=show,
        )

    def _prepare_batches(self) -> None:
        prepared, data, settings = self.prepared, self.prepared.settings.data, self.settings
        own_lengths = data.num_frames == "own"
        labels = prepared.clips.labels
        dataset = SkeletonDataset(prepared.clips, prepared.training, data, train=True, seed=settings.seed)
        self.dataset = dataset
        self.batches = ClipBatches(
            dataset.lengths,
            labels[prepared.training],
            batch_size=settings.batch_size // settings.accumulate,
            train=True,
            seed=settings.seed,
            own_lengths=own_lengths,
            sampler=data.sampler,
            rank=self.fabric.global_rank,
            world_size=self.fabric.world_size,
        )
        # Shares may differ in size: no clip is padded or repeated, so that all clips count once.
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

    def _build_objective(self) -> MaskCLR:
        prepared, settings = self.prepared, self.prepared.settings
        return MaskCLR(
            recognizer_of(prepared),
            settings.maskclr,
            num_classes=prepared.num_classes,
            seed=self.settings.seed,
            label_smoothing=self.settings.label_smoothing,
            class_weights=prepared.class_weights() if self.settings.class_weights == "balanced" else None,
        )

    def _initialise(self) -> str | None:
        init = self.prepared.settings.init
        if init is None:
            return None
        clips = self.prepared.clips
        return initialise(self.objective.recognizer, init, label_names=clips.label_names, dimensions=clips.dimensions)

    def _build_step(self) -> TrainingStep:
        if self.settings.compile:
            # The backbone accounts for most of the work. Compiled in place, so that weights keep their names; dynamic,
            # because the number of persons and the length differ between batches.
            backbone = self.objective.recognizer.backbone
            backbone.encode = torch.compile(backbone.encode, dynamic=True)  # type: ignore[method-assign]
        return TrainingStep(self.objective, device_type=self.fabric.device.type, bf16=self.settings.precision == "bf16")

    def _build_optimizer(self) -> torch.optim.Optimizer:
        recognizer = self.objective.recognizer
        head = [parameter for name, parameter in recognizer.named_parameters() if not name.startswith("backbone.")]
        layers = self._layers()
        # Learning rate factors of the parameter groups: each layer's is `layer_decay` times that of the next one.
        self.scales = [self.settings.layer_decay ** (len(layers) - place) for place in range(len(layers))]
        if len(layers) == 1:
            self.scales = [1.0]
        return torch.optim.AdamW(
            [
                *({"params": layer, "lr": self.rates[0]} for layer in layers),
                {"params": head, "lr": self.rates[1]},
            ],
            weight_decay=self.settings.weight_decay,
            fused=True,
        )

    def _layers(self) -> list[list[nn.Parameter]]:
        """Return the backbone's parameters, grouped by layer if the learning rates of layers differ."""
        backbone = self.objective.recognizer.backbone
        if self.settings.layer_decay == 1 or not isinstance(backbone, SegmentTransformer):
            return [list(backbone.parameters())]
        layers: list[list[nn.Parameter]] = [[] for _ in range(len(backbone.blocks) + 1)]
        for name, parameter in backbone.named_parameters():
            layers[backbone.layer_of(name)].append(parameter)
        return layers

    def _restore(self, checkpoint: dict[str, Any]) -> None:
        super()._restore(checkpoint)
        before = epochs_of(RunSettings.model_validate(checkpoint["settings"]).training)
        if self.epochs > sum(before):
            # The run is extended, so the patience of early stopping starts again.
            self.position.epochs_without_gain = 0
        patience = self.settings.early_stopping
        self.position.finished = patience is not None and self.position.epochs_without_gain >= patience

    def phase_of(self, epoch: int) -> Literal[1, 2]:
        return 2 if epoch >= self.phase1 and self.settings.objective == "maskclr" else 1

    def work_of(self, epoch: int) -> float:
        return PHASE2_WORK if self.phase_of(epoch) == 2 else 1.0

    def _begin_epoch(self) -> None:
        """Fill the prototypes by one pass over the clips without optimiser steps, unless phase one has done that.

        This is the case without a phase one, or if phase one was trained with cross-entropy. It happens only at the
        start of an epoch; a run resumed from a checkpoint at that point repeats it.
        """
        position = self.position
        if self.phase_of(position.epoch) == 2 and not position.step_in_epoch and not self.objective.known.any():
            with torch.no_grad():
                for batch in self._load(self.batches.batches(position.epoch)):
                    self.module(batch.to(self.fabric.device), phase=1, epoch=position.epoch, warm_prototypes=True)

    def _set_rates(self, progress: float) -> dict[str, float]:
        factor = learning_rate_factor(self.settings, self.position.epoch, progress)
        rates = (self.rates[0] * factor, self.rates[1] * factor)
        of_groups = (*(rates[0] * scale for scale in self.scales), rates[1])
        for group, rate in zip(self.optimizer.param_groups, of_groups, strict=True):
            group["lr"] = rate
        return {"lr_backbone": rates[0], "lr_head": rates[1]}

    def _arguments(self) -> dict[str, Any]:
        epoch = self.position.epoch
        warm = self.settings.objective == "maskclr" and epoch == self.phase1 - 1
        return {"phase": self.phase_of(epoch), "epoch": epoch, "warm_prototypes": warm}

    def _correct(self, batch: Batch, losses: dict[str, torch.Tensor]) -> torch.Tensor:
        return (losses["logits"].argmax(1) == batch.label).sum()

    def _told(self, values: Any) -> dict[str, Any]:
        epoch = self.position.epoch
        phase = self.phase_of(epoch)
        shown = dict(zip(LOSSES if phase == 2 else LOSSES[:2], values, strict=False))
        return {"epoch": epoch, "phase": phase, **shown}

    def _end_epoch(self, rate: float) -> None:
        position, epoch = self.position, self.position.epoch
        held_out = self._evaluate()
        train_values = {"train_loss": position.loss / position.clips, "train_top1": position.correct / position.clips}
        best = position.best
        gained = held_out is None or best is None or _rank_of(held_out) > _rank_of(best)
        if best is not None and self.phase_of(epoch) > self.phase_of(int(best["epoch"])):
            # The best epoch is chosen among those of phase two; epochs of phase one do not count as MaskCLR.
            gained = True
        position.held_out = held_out
        if gained:
            position.best = {"epoch": epoch, **(held_out or {})}
        # Patience counts from the start of the last phase, which is the same epoch for every objective.
        counts = epoch >= (self.phase1 if self.epochs > self.phase1 else 0)
        position.epochs_without_gain = position.epochs_without_gain + 1 if counts and not gained else 0
        patience = self.settings.early_stopping
        self._next_epoch()
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

    def _facts(self) -> dict[str, Any]:
        position = self.position
        # Phase of the most recent step: at the start of an epoch, that of the previous epoch.
        return {"phase": self.phase_of(position.epoch - (not position.step_in_epoch and position.epoch > 0))}


def _rank_of(held_out: dict[str, float]) -> tuple[float, float]:
    """Sort key of the best epoch: higher accuracy, then lower loss."""
    return held_out["top1"], -held_out["loss"]
