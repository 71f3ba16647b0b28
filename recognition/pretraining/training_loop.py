"""One process of a pre-training, based on the loop that all trainings share."""

from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import nn

from recognition.data.batching import ClipBatches
from recognition.data.dataset import SkeletonDataset
from recognition.engine.loop import Loop
from recognition.engine.step import TrainingStep
from recognition.pretraining.networks import KEPT
from recognition.pretraining.preparation import Pretraining
from recognition.pretraining.schedule import learning_rate
from recognition.pretraining.settings import PretrainingLoop
from recognition.pretraining.views import ViewDataset

LOSSES = {"mamp": ("total",), "pcm3": ("total", "contrast", "distillation", "prediction")}


class PretrainingRun(Loop):
    """One process of a run.

    Args:
        fabric: Launched Fabric.
        prepared: Data and settings.
        checkpoint: Checkpoint to resume from, or None.
        identity: Metadata stored in every run file.
        show: Whether to show progress.
    """

    remedy = "training.lr"
    more_epochs = "start a new run with a larger training.epochs"
    command = "pretrain"

    def __init__(
        self,
        fabric: Fabric,
        prepared: Pretraining,
        checkpoint: dict[str, Any] | None,
        *,
        identity: dict[str, Any],
        show: bool,
    ) -> None:
        settings = prepared.settings
        self.prepared, self.settings = prepared, settings.training
        self.losses = LOSSES[settings.method]
        self.epochs = self.settings.epochs
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
        self.dataset, self.batches = dataset_and_batches(
            self.prepared, rank=self.fabric.global_rank, world_size=self.fabric.world_size
        )

    def _build_objective(self) -> nn.Module:
        return self.prepared.build_objective()

    def _build_step(self) -> TrainingStep:
        return TrainingStep(self.objective, device_type=self.fabric.device.type, bf16=self.settings.precision == "bf16")

    def _build_optimizer(self) -> torch.optim.Optimizer:
        return build_optimizer(self.objective, self.settings)

    def _set_rates(self, progress: float) -> dict[str, float]:
        rate = learning_rate(self.settings, self.position.epoch, progress)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        return {"lr": rate}

    def _arguments(self) -> dict[str, Any]:
        return {"epoch": self.position.epoch}

    def _end_epoch(self, rate: float) -> None:
        position, epoch = self.position, self.position.epoch
        loss = position.loss / position.clips
        self._next_epoch()
        self._write("epoch", {"epoch": epoch, "train_loss": loss, "clips_per_second": rate})
        kept = [f"epoch{position.epoch}.pt"] if position.epoch in self.settings.keep_epochs else []
        self._save(best=position.epoch == self.epochs, also=kept)
        self.progress.say(f"epoch {epoch + 1}/{self.epochs}: loss {loss:.4f}, {rate:.1f} clips/s")

    def _best(self, content: dict[str, Any]) -> dict[str, Any]:
        weights = {name: tensor for name, tensor in content["model"].items() if name.startswith(KEPT)}
        return {**content, "model": weights}


def dataset_and_batches(
    prepared: Pretraining, *, rank: int = 0, world_size: int = 1
) -> tuple[SkeletonDataset | ViewDataset, ClipBatches]:
    """Build the data set in the method's format, and its batches.

    Args:
        prepared: Data and settings.
        rank: Index of this process.
        world_size: Number of processes.
    """
    settings, training = prepared.settings, prepared.settings.training
    dataset: SkeletonDataset | ViewDataset
    if settings.method == "pcm3":
        dataset = ViewDataset(prepared.clips, prepared.training, settings.data, seed=training.seed)
    else:
        dataset = SkeletonDataset(prepared.clips, prepared.training, settings.data, train=True, seed=training.seed)
    batches = ClipBatches(
        dataset.lengths,
        prepared.clips.labels[prepared.training],
        batch_size=training.batch_size // training.accumulate,
        train=True,
        seed=training.seed,
        own_lengths=False,
        rank=rank,
        world_size=world_size,
    )
    return dataset, batches


def build_optimizer(objective: nn.Module, settings: PretrainingLoop) -> torch.optim.Optimizer:
    """Build AdamW without weight decay of biases and normalisation, or SGD with weight decay of all, as published."""
    parameters = [parameter for parameter in objective.parameters() if parameter.requires_grad]
    if settings.optimizer == "sgd":
        return torch.optim.SGD(
            parameters,
            lr=settings.lr,
            momentum=settings.momentum,
            weight_decay=settings.weight_decay,
            fused=True,
        )
    matrices = [parameter for parameter in parameters if parameter.dim() > 1]
    others = [parameter for parameter in parameters if parameter.dim() <= 1]
    return torch.optim.AdamW(
        [{"params": matrices, "weight_decay": settings.weight_decay}, {"params": others, "weight_decay": 0.0}],
        lr=settings.lr,
        betas=settings.betas,
        fused=True,
    )
