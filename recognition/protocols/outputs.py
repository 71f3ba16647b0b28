"""Outputs of a network for all clips of a data set: features of an encoder, probabilities of a classifier."""

from collections.abc import Iterator, Sequence
from typing import Literal

import numpy as np
import torch
from torch import nn
from torch.utils.data import Dataset

from pose_extraction.engines.engine import Engine
from pose_extraction.engines.runtimes import autocast
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
    engine: Engine,
) -> Iterator[torch.Tensor]:
    """Yield the outputs of a network for clips of a data set, batch by batch.

    Args:
        network: Network on the engine's device, in evaluation mode; called with a `Batch`.
        dataset: Clips of one length.
        positions: Positions of the clips in the data set.
        epoch: Epoch that random augmentation depends on.
        batch_size: Clips per batch.
        workers: Number of data loading processes, or "auto".
        engine: Resolved device and precision.
    """
    batches = [
        [(epoch, position) for position in positions[start : start + batch_size]]
        for start in range(0, len(positions), batch_size)
    ]
    for batch in make_loader(dataset, batches, workers=workers):
        with autocast(engine):
            output = network(batch.to(engine.device))
        yield output


def features_of(
    encoder: Encoder, dataset: "Dataset[Sample]", count: int, *, epoch: int = 0, engine: Engine
) -> torch.Tensor:
    """Return the features of all clips of a data set, float32 (N, width), on the CPU.

    Args:
        encoder: Encoder on the engine's device, in evaluation mode.
        dataset: Clips of one length.
        count: N, number of clips.
        epoch: Epoch that random augmentation depends on.
        engine: Resolved device and precision.
    """
    outputs = outputs_of(encoder, dataset, range(count), epoch=epoch, engine=engine)
    return torch.cat([features.float().cpu() for features in outputs])


def probabilities_of(classifier: nn.Module, dataset: "Dataset[Sample]", count: int, *, engine: Engine) -> np.ndarray:
    """Return the class probabilities of all clips of a data set, float64 (N, K).

    Args:
        classifier: Network on the engine's device, in evaluation mode, with logits (N, K) as output.
        dataset: Clips of one length.
        count: N, number of clips.
        engine: Resolved device and precision.
    """
    outputs = outputs_of(classifier, dataset, range(count), engine=engine)
    return np.concatenate([logits.double().softmax(1).cpu().numpy() for logits in outputs])
