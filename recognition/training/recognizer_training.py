"""A recognizer in training: its data, optimiser and phases, and the choice of the best epoch on the held-out part."""

from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn

from recognition import run_folder
from recognition.backbones.segments import SegmentTransformer
from recognition.data.batches import Batch
from recognition.data.batching import ClipBatches
from recognition.data.dataset import SkeletonDataset
from recognition.data.descriptors.kernel_ridge import KernelRidge
from recognition.engine.loop import Loop
from recognition.engine.position import Position
from recognition.engine.training_run import EpochResult, RunTrainable
from recognition.maskclr.objective import MaskCLR
from recognition.optimizers import AdamW
from recognition.recognizer import Recognizer
from recognition.settings import RunSettings, TrainingSettings
from recognition.training.calibrating import complete_file, keep_confidence
from recognition.training.clip_groups import note_on_groups
from recognition.training.held_out_measures import DEFAULT_SHARE, measure
from recognition.training.initialising import initialise, known_movement
from recognition.training.movement import fit_movement, left_out_clips, without_held_out_clips
from recognition.training.preparation import Prepared
from recognition.training.schedule import epochs_of, learning_rate_factor
from recognition.training.sizing import recognizer_of

# Losses of a step; in phase one the first two only.
LOSSES = ("total", "cross_entropy", "sample", "class_loss", "masked_contrast")
# Their names in metrics.jsonl where these differ, as in version 0.1.0.
LOGGED_NAMES = {"class_loss": "klass"}
# Cost of a step of phase two relative to phase one: two forward passes instead of one, and their gradients.
PHASE2_WORK = 2.2


class RecognizerTraining(RunTrainable):
    """A recognizer in training: both phases, and the best epoch on the held-out part.

    Args:
        prepared: Data and settings.
        rank: Index of this process.
        world_size: Number of processes.

    Raises:
        ValueError: The model, its learning rate or a number of epochs is not resolved.
    """

    losses = LOSSES
    command = "train"
    rate_settings = "training.backbone_lr and training.head_lr"
    extension = "increase training.phase2_epochs or set training.early_stopping=null"
    objective: MaskCLR

    def __init__(self, prepared: Prepared, *, rank: int = 0, world_size: int = 1) -> None:
        settings = prepared.settings
        if settings.model.size == "auto" or settings.training.backbone_lr == "auto":
            raise ValueError("the model or its learning rate is not resolved yet (auto)")
        self.prepared, self.settings = prepared, settings.training
        self.rates = (float(settings.training.backbone_lr), settings.training.head_lr)
        self.phase1, phase2 = epochs_of(self.settings)
        self.epochs = self.phase1 + phase2
        self.dataset, self.batches = training_batches(prepared, rank=rank, world_size=world_size)
        self.held_out, self.held_out_batches = held_out_batches(prepared, rank=rank, world_size=world_size)
        torch.manual_seed(self.settings.seed)
        self.objective = build_objective(prepared)
        self.movement: KernelRidge | None = None
        if self.settings.compile:
            # The backbone accounts for most of the work. Compiled in place, so that weights keep their names; dynamic,
            # because the number of persons and the length differ between batches.
            backbone = self.objective.recognizer.backbone
            backbone.encode = torch.compile(backbone.encode, dynamic=True)  # type: ignore[method-assign]
        self.optimizer, self.scales = build_optimizer(self.objective.recognizer, self.settings, self.rates)

    def initialise(self) -> str | None:
        init, clips, recognizer = self.prepared.settings.init, self.prepared.clips, self.objective.recognizer
        sentences = []
        if init is not None:
            sentences.append(initialise(recognizer, init, label_names=clips.label_names, dimensions=clips.dimensions))
        if recognizer.movement is not None:
            earlier = known_movement(init, clips.label_names) if self.settings.keep_descriptors else None
            self.movement = fitted = fit_movement(self.prepared, earlier)
            share = DEFAULT_SHARE if earlier is None else earlier.network_share
            # Its answers to the held-out clips are compared with those of the network.
            apart = fitted if earlier is not None else without_held_out_clips(fitted, self.prepared)
            recognizer.movement.set_fitted(apart, network_share=share)
            kept = 0 if earlier is None else len(earlier.labels)
            of_init = f", and {kept} of {init}" if kept else ""
            sentences.append(f"classifier of descriptors: fitted to {len(fitted.centres) - kept} descriptors{of_init}")
            if self.prepared.settings.data.flip == 0:
                sentences.append("clips are not mirrored (data.flip=0), so left and right count as different")
            if (note := note_on_groups(self.prepared)) is not None:
                sentences.append(note)
        return "; ".join(sentences) or None

    def resume(self, checkpoint: dict[str, Any], position: Position) -> None:
        before = epochs_of(RunSettings.model_validate(checkpoint["settings"]).training)
        if self.epochs > sum(before):
            # The run is extended, so the patience of early stopping starts again.
            position.epochs_without_gain = 0
        position.finished = self._out_of_patience(position)

    def _out_of_patience(self, position: Position) -> bool:
        patience = self.settings.early_stopping
        return patience is not None and position.epochs_without_gain >= patience

    def phase_of(self, epoch: int) -> Literal[1, 2]:
        return 2 if epoch >= self.phase1 and self.settings.objective == "maskclr" else 1

    def work_of(self, epoch: int) -> float:
        return PHASE2_WORK if self.phase_of(epoch) == 2 else 1.0

    def begin_epoch(self, loop: Loop) -> None:
        """Fill the prototypes by one pass over the clips without optimiser steps, unless phase one has done that.

        This is the case without a phase one, or if phase one was trained with cross-entropy. It happens only at the
        start of an epoch; a run resumed from a checkpoint at that point repeats it.
        """
        position = loop.position
        if self.phase_of(position.epoch) == 2 and not position.step_in_epoch and not self.objective.known.any():
            with torch.no_grad():
                for batch in loop.load(self.batches.batches(position.epoch)):
                    loop.module(batch.to(loop.fabric.device), phase=1, epoch=position.epoch, warm_prototypes=True)

    def set_rates(self, epoch: int, progress: float) -> dict[str, float]:
        factor = learning_rate_factor(self.settings, epoch, progress)
        rates = (self.rates[0] * factor, self.rates[1] * factor)
        # The groups after those of the backbone belong to the head.
        heads = len(self.optimizer.param_groups) - len(self.scales)
        of_groups = (*(rates[0] * scale for scale in self.scales), *[rates[1]] * heads)
        for group, rate in zip(self.optimizer.param_groups, of_groups, strict=True):
            group["lr"] = rate
        return {"lr_backbone": rates[0], "lr_head": rates[1]}

    def arguments(self, epoch: int) -> dict[str, Any]:
        warm = self.settings.objective == "maskclr" and epoch == self.phase1 - 1
        return {"phase": self.phase_of(epoch), "epoch": epoch, "warm_prototypes": warm}

    def count_correct(self, batch: Batch, losses: dict[str, torch.Tensor]) -> torch.Tensor:
        return (losses["logits"].argmax(1) == batch.label).sum()

    def describe_step(self, epoch: int, losses: dict[str, float]) -> dict[str, Any]:
        phase = self.phase_of(epoch)
        shown = LOSSES if phase == 2 else LOSSES[:2]
        return {"epoch": epoch, "phase": phase, **{LOGGED_NAMES.get(name, name): losses[name] for name in shown}}

    def end_epoch(self, loop: Loop) -> EpochResult:
        position, epoch = loop.position, loop.position.epoch
        held_out = self._evaluate(loop)
        gained = self._is_best(position, held_out)
        position.held_out = held_out
        if gained:
            position.best = {"epoch": epoch, **(held_out or {})}
        # Patience counts from the start of the last phase, which is the same epoch for every objective.
        counts = epoch >= (self.phase1 if self.epochs > self.phase1 else 0)
        position.epochs_without_gain = position.epochs_without_gain + 1 if counts and not gained else 0
        position.finished = self._out_of_patience(position)
        loss, top1 = position.loss / position.clips, position.correct / position.clips
        measures = {f"held_out_{name}": value for name, value in (held_out or {}).items()}
        accuracy = f", held out {held_out['top1']:.2%}" if held_out else ""
        return EpochResult(
            {"epoch": epoch, "phase": self.phase_of(epoch), "train_loss": loss, "train_top1": top1, **measures},
            f"loss {loss:.4f}, training {top1:.2%}{accuracy}",
            best=gained,
        )

    def _is_best(self, position: Position, held_out: dict[str, float] | None) -> bool:
        """Whether the epoch that has ended is the best one so far; without a held-out part, the last one is."""
        best = position.best
        if held_out is None or best is None:
            return True
        if self.phase_of(position.epoch) > self.phase_of(int(best["epoch"])):
            # The best epoch is chosen among those of phase two; epochs of phase one do not count as MaskCLR.
            return True
        return _rank_of(held_out) > _rank_of(best)

    def _evaluate(self, loop: Loop) -> dict[str, float] | None:
        if not len(self.prepared.held_out):
            return None
        loop.module.eval()
        with torch.no_grad(), loop.module.autocast():
            loaded = loop.load(self.held_out_batches, dataset=self.held_out)
            measures = measure(self.objective.recognizer, loaded, loop.fabric)
        loop.module.train()
        return measures

    def complete(self, loop: Loop, folder: Path) -> None:
        if self.settings.keep_descriptors:
            # The clips of this run are not all that it knows, so they cannot define what is unknown.
            keep_confidence(folder, self.prepared)
            return
        cross_validated = final = None
        if self.objective.recognizer.movement is not None:
            # A resumed run has only the weights of its classifier.
            fitted = self.movement or fit_movement(self.prepared)
            cross_validated = left_out_clips(fitted, self.prepared)
            if len(self.prepared.held_out):
                # The held-out clips have chosen the epoch; now they are training clips like the others.
                final = fitted
        for name in (run_folder.BEST, run_folder.LAST):
            path = run_folder.saved(folder, name)
            # A longer training that continues from the last weights chooses its best epoch on the held-out clips.
            last = final if name == run_folder.BEST else None
            complete_file(path, self.prepared, self.objective, loop, cross_validated=cross_validated, final=last)

    def facts(self, position: Position) -> dict[str, Any]:
        # Phase of the most recent step: at the start of an epoch, that of the previous epoch.
        return {"phase": self.phase_of(position.epoch - (not position.step_in_epoch and position.epoch > 0))}


def training_batches(prepared: Prepared, *, rank: int, world_size: int) -> tuple[SkeletonDataset, ClipBatches]:
    """Return the training clips and their batches for one process."""
    data, settings = prepared.settings.data, prepared.settings.training
    dataset = SkeletonDataset(prepared.clips, prepared.training, data, train=True, seed=settings.seed)
    batches = ClipBatches(
        dataset.lengths,
        prepared.clips.labels[prepared.training],
        batch_size=settings.batch_size // settings.accumulate,
        train=True,
        seed=settings.seed,
        own_lengths=data.num_frames == "own",
        sampler=data.sampler,
        rank=rank,
        world_size=world_size,
    )
    return dataset, batches


def held_out_batches(
    prepared: Prepared, *, rank: int, world_size: int
) -> tuple[SkeletonDataset, list[list[tuple[int, int]]]]:
    """Return one process's share of the held-out clips, and its batches.

    Shares may differ in size: no clip is padded or repeated, so that all clips count once.
    """
    data, settings = prepared.settings.data, prepared.settings.training
    share = prepared.held_out[rank::world_size]
    dataset = SkeletonDataset(prepared.clips, share, data, train=False, seed=settings.seed)
    if not len(share):
        return dataset, []
    batches = ClipBatches(
        dataset.lengths,
        prepared.clips.labels[share],
        batch_size=max(1, settings.batch_size // world_size),
        train=False,
        seed=settings.seed,
        own_lengths=data.num_frames == "own",
    )
    return dataset, batches.batches(0)


def build_objective(prepared: Prepared) -> MaskCLR:
    """Build the recognizer with its losses and random initial weights."""
    settings = prepared.settings
    return MaskCLR(
        recognizer_of(prepared),
        settings.maskclr,
        num_classes=prepared.num_classes,
        seed=settings.training.seed,
        label_smoothing=settings.training.label_smoothing,
        class_weights=prepared.class_weights() if settings.training.class_weights == "balanced" else None,
    )


def build_optimizer(
    recognizer: Recognizer, settings: TrainingSettings, rates: tuple[float, float]
) -> tuple[torch.optim.Optimizer, list[float]]:
    """Build AdamW with one parameter group per layer of the backbone, or one in all, and one for the head.

    With `parameter_groups` "mamp", each of them is two: with and without weight decay.

    Args:
        recognizer: The network.
        settings: Settings of the training.
        rates: Learning rates of backbone and head.

    Returns:
        The optimiser, and the factors of the backbone's groups: each layer's is `layer_decay` times that of the next.
    """
    head = [parameter for name, parameter in recognizer.named_parameters() if not name.startswith("backbone.")]
    layers, scales = _layers(recognizer.backbone, settings)
    groups: list[dict[str, Any]] = [{"params": layer, "lr": rates[0]} for layer in layers]
    groups.append({"params": head, "lr": rates[1]})
    if settings.parameter_groups == "mamp":
        groups = [part for group in groups for part in _by_decay(group)]
        scales = [scale for scale in scales for _ in range(2)]
    return AdamW(groups, weight_decay=settings.weight_decay, fused=True), scales


def _layers(backbone: nn.Module, settings: TrainingSettings) -> tuple[list[list[nn.Parameter]], list[float]]:
    """Return the backbone's parameters, grouped by layer if the learning rates of layers differ, and these factors."""
    if settings.layer_decay == 1 or not isinstance(backbone, SegmentTransformer):
        return [list(backbone.parameters())], [1.0]
    # The last normalisation, the layer after the blocks, is in the last block's group unless it is as in MAMP.
    last = len(backbone.blocks) + (settings.parameter_groups == "mamp")
    layers: list[list[nn.Parameter]] = [[] for _ in range(last + 1)]
    for name, parameter in backbone.named_parameters():
        layers[min(backbone.layer_of(name), last)].append(parameter)
    return layers, [settings.layer_decay ** (len(backbone.blocks) + 1 - place) for place in range(last + 1)]


def _by_decay(group: dict[str, Any]) -> list[dict[str, Any]]:
    """Divide a parameter group into matrices, and biases and normalisation, which have no weight decay."""
    matrices = [parameter for parameter in group["params"] if parameter.dim() > 1]
    others = [parameter for parameter in group["params"] if parameter.dim() <= 1]
    return [{**group, "params": matrices}, {**group, "params": others, "weight_decay": 0.0}]


def _rank_of(held_out: dict[str, float]) -> tuple[float, float]:
    """Sort key of the best epoch: higher accuracy, then lower loss."""
    return held_out["top1"], -held_out["loss"]
