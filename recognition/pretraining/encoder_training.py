"""An encoder in pre-training: its data, objective and optimiser."""

from typing import Any

import torch
from torch import nn

from recognition.data.batching import ClipBatches
from recognition.data.dataset import SkeletonDataset
from recognition.engine.loop import Loop
from recognition.engine.training_run import EpochResult, RunTrainable
from recognition.optimizers import SGD, AdamW
from recognition.pretraining.networks import KEPT
from recognition.pretraining.preparation import Pretraining
from recognition.pretraining.schedule import learning_rate
from recognition.pretraining.settings import PretrainingLoop
from recognition.pretraining.views import ViewDataset
from recognition.run_file import SUFFIX

LOSSES = {"mamp": ("total",), "pcm3": ("total", "contrast", "distillation", "prediction")}


class EncoderTraining(RunTrainable):
    """An encoder in pre-training.

    Args:
        prepared: Data and settings.
        rank: Index of this process.
        world_size: Number of processes.
    """

    command = "pretrain"
    rate_settings = "training.lr"
    extension = "start a new run with a larger training.epochs"

    def __init__(self, prepared: Pretraining, *, rank: int = 0, world_size: int = 1) -> None:
        settings = prepared.settings
        self.settings = settings.training
        self.losses = LOSSES[settings.method]
        self.epochs = self.settings.epochs
        self.dataset, self.batches = dataset_and_batches(prepared, rank=rank, world_size=world_size)
        torch.manual_seed(self.settings.seed)
        self.objective = prepared.build_objective()
        self.optimizer = build_optimizer(self.objective, self.settings)

    def set_rates(self, epoch: int, progress: float) -> dict[str, float]:
        rate = learning_rate(self.settings, epoch, progress)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        return {"lr": rate}

    def arguments(self, epoch: int) -> dict[str, Any]:
        return {"epoch": epoch}

    def end_epoch(self, loop: Loop) -> EpochResult:
        position, done = loop.position, loop.position.epoch + 1
        loss = position.loss / position.clips
        return EpochResult(
            {"epoch": position.epoch, "train_loss": loss},
            f"loss {loss:.4f}",
            best=done == self.epochs,
            also=[f"epoch{done}{SUFFIX}"] if done in self.settings.keep_epochs else [],
        )

    def best_of(self, content: dict[str, Any]) -> dict[str, Any]:
        weights = {name: tensor for name, tensor in content["model"].items() if name.startswith(KEPT)}
        return {**content, "model": weights}


def dataset_and_batches(
    prepared: Pretraining, *, rank: int, world_size: int
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
        return SGD(
            parameters,
            lr=settings.lr,
            momentum=settings.momentum,
            weight_decay=settings.weight_decay,
            fused=True,
        )
    matrices = [parameter for parameter in parameters if parameter.dim() > 1]
    others = [parameter for parameter in parameters if parameter.dim() <= 1]
    return AdamW(
        [{"params": matrices, "weight_decay": settings.weight_decay}, {"params": others, "weight_decay": 0.0}],
        lr=settings.lr,
        betas=settings.betas,
        fused=True,
    )
