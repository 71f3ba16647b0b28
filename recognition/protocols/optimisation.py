"""Optimiser of a fine-tuning recipe, with a learning rate that depends on the layer."""

from typing import Any

import torch
from torch import nn

from recognition.optimizers import SGD, AdamW
from recognition.pretraining.encoder import Encoder
from recognition.pretraining.schedule import learning_rate
from recognition.pretraining.settings import PretrainingLoop
from recognition.protocols.settings import FinetuneSettings


def layer_groups(classifier: nn.Module, encoder: Encoder, settings: FinetuneSettings) -> list[dict[str, Any]]:
    """Group parameters by their learning-rate factor: each layer has `layer_decay` times the next one's, the head has
    1.

    Biases and normalisation have no weight decay, as in BEiT's recipe.

    Args:
        classifier: The network to train.
        encoder: Its encoder.
        settings: The recipe.
    """
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    of_encoder = {id(value): encoder.depth_of(name) for name, value in encoder.named_parameters()}
    for value in classifier.parameters():
        depth = of_encoder.get(id(value), encoder.depth + 1)
        scale = settings.layer_decay ** (encoder.depth + 1 - depth)
        decay = settings.weight_decay if value.dim() > 1 else 0.0
        groups.setdefault((scale, decay), []).append(value)
    return [{"params": values, "scale": scale, "weight_decay": decay} for (scale, decay), values in groups.items()]


def optimizer_of(groups: list[dict[str, Any]], settings: FinetuneSettings) -> torch.optim.Optimizer:
    """Build the optimiser of the recipe."""
    if settings.optimizer == "sgd":
        return SGD(groups, lr=settings.lr, momentum=0.9)
    return AdamW(groups, lr=settings.lr)


def set_rates(optimizer: torch.optim.Optimizer, settings: FinetuneSettings, epoch: int, progress: float) -> float:
    """Set the learning rate of a step, scaled by each group's factor; return the one of the head.

    Args:
        optimizer: Result of `optimizer_of`.
        settings: The recipe.
        epoch: Index of the epoch, from 0.
        progress: Share of the epoch that is complete after this step, in (0, 1].
    """
    schedule = PretrainingLoop(
        epochs=settings.epochs,
        lr=settings.lr,
        lr_end=settings.lr_end,
        schedule=settings.schedule,
        lr_steps=settings.lr_steps,
        warmup_epochs=min(settings.warmup_epochs, settings.epochs - 1),
    )
    rate = learning_rate(schedule, epoch, progress)
    for group in optimizer.param_groups:
        group["lr"] = rate * group["scale"]
    return rate
