"""Outputs of a network for all clips of a data set: features of an encoder, probabilities of a classifier."""

from collections.abc import Iterator, Sequence
from typing import Literal

import numpy as np
import torch
from torch import nn
from torch.utils.data import Dataset

from recognition.data.batching import make_loader
from recognition.data.dataset import Sample
from recognition.pretraining.encoder import Encoder

# Clips per batch.
BATCH = 128


@torch.no_grad()
def outputs_of(
    network: nn.Module,
    dataset: "Dataset[Sample]",
    positions: Sequence[int],
    *,
    epoch: int = 0,
    batch_size: int = BATCH,
    workers: int | Literal["auto"] = "auto",
    device: str = "cpu",
    bf16: bool = False,
) -> Iterator[torch.Tensor]:
    """Yield the outputs of a network for clips of a data set, batch by batch.

    Args:
        network: Network on `device`, in evaluation mode; called with a `Batch`.
        dataset: Clips of one length.
        positions: Positions of the clips in the data set.
        epoch: Epoch that random augmentation depends on.
        batch_size: Clips per batch.
        workers: Number of data loading processes, or "auto".
        device: "cpu" or a GPU.
        bf16: Whether to use bfloat16 autocast.
    """
    batches = [
        [(epoch, position) for position in positions[start : start + batch_size]]
        for start in range(0, len(positions), batch_size)
    ]
    for batch in make_loader(dataset, batches, workers=workers):
        with torch.autocast(device.partition(":")[0], dtype=torch.bfloat16, enabled=bf16):
            output = network(batch.to(device))
        yield output


def features_of(
    encoder: Encoder, dataset: "Dataset[Sample]", count: int, *, epoch: int = 0, device: str = "cpu", bf16: bool = False
) -> torch.Tensor:
    """Return the features of all clips of a data set, float32 (N, width), on the CPU.

    Args:
        encoder: Encoder on `device`, in evaluation mode.
        dataset: Clips of one length.
        count: N, number of clips.
        epoch: Epoch that random augmentation depends on.
        device: "cpu" or a GPU.
        bf16: Whether to use bfloat16 autocast.
    """
    outputs = outputs_of(encoder, dataset, range(count), epoch=epoch, device=device, bf16=bf16)
    return torch.cat([features.float().cpu() for features in outputs])


def probabilities_of(
    classifier: nn.Module, dataset: "Dataset[Sample]", count: int, *, device: str = "cpu", bf16: bool = False
) -> np.ndarray:
    """Return the class probabilities of all clips of a data set, float64 (N, K).

    Args:
        classifier: Network on `device`, in evaluation mode, with logits (N, K) as output.
        dataset: Clips of one length.
        count: N, number of clips.
        device: "cpu" or a GPU.
        bf16: Whether to use bfloat16 autocast.
    """
    outputs = outputs_of(classifier, dataset, range(count), device=device, bf16=bf16)
    return np.concatenate([logits.double().softmax(1).cpu().numpy() for logits in outputs])
