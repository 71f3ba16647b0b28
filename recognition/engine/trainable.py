"""The interface between a training loop and what it trains: a model with its losses, its optimiser and its data."""

from abc import ABC, abstractmethod
from typing import Any

import torch
from torch import nn
from torch.utils.data import Dataset

from recognition.data.batches import Batch
from recognition.data.batching import ClipBatches
from recognition.data.dataset import Sample


class Trainable(ABC):
    """Something that a `Loop` trains. A subclass sets the attributes in its constructor, in any order.

    Attributes:
        losses: Names of the losses of a step, the total first.
        epochs: Number of epochs.
        objective: Module that computes the losses; see `TrainingStep`.
        optimizer: Optimiser of the objective's parameters.
        dataset: Source of the clips.
        batches: The micro-batches of each epoch, those of this process.
    """

    losses: tuple[str, ...]
    epochs: int
    objective: nn.Module
    optimizer: torch.optim.Optimizer
    dataset: Dataset[Sample]
    batches: ClipBatches

    @abstractmethod
    def set_rates(self, epoch: int, progress: float) -> dict[str, float]:
        """Set the learning rates of the next step; return them by name, the most informative first.

        Args:
            epoch: Index of the epoch, from 0.
            progress: Share of the epoch that is complete after this step, in (0, 1].
        """

    def arguments(self, epoch: int) -> dict[str, Any]:
        """Return keyword arguments of the objective in addition to the batch."""
        return {}

    def count_correct(self, batch: Batch, losses: dict[str, torch.Tensor]) -> torch.Tensor:
        """Return the number of correctly classified clips in a micro-batch; zero if that is not defined."""
        return losses["total"].new_zeros(())
