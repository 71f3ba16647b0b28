"""Features of clips from a frozen encoder."""

from collections.abc import Callable

import torch
from torch.utils.data import Dataset

from recognition.data.batching import make_loader
from recognition.data.dataset import Sample
from recognition.pretraining.encoder import Encoder


@torch.no_grad()
def features_of(
    encoder: Encoder,
    dataset: "Dataset[Sample]",
    count: int,
    *,
    epoch: int = 0,
    batch_size: int = 128,
    device: str = "cpu",
    bf16: bool = False,
    progress: Callable[[int], None] = lambda _: None,
) -> torch.Tensor:
    """Return the features of all clips of a data set, float32 (N, width), on the CPU.

    Args:
        encoder: Encoder on `device`, in evaluation mode.
        dataset: Clips of one length.
        count: N, number of clips.
        epoch: Epoch that random augmentation depends on.
        batch_size: Clips per batch.
        device: "cpu" or a GPU.
        bf16: Whether to use bfloat16 autocast.
        progress: Called with the number of clips after each batch.
    """
    batches = [
        [(epoch, place) for place in range(start, min(start + batch_size, count))]
        for start in range(0, count, batch_size)
    ]
    found = []
    for batch in make_loader(dataset, batches, workers="auto"):
        with torch.autocast(device.partition(":")[0], dtype=torch.bfloat16, enabled=bf16):
            found.append(encoder(batch.to(device)).float().cpu())
        progress(len(batch))
    return torch.cat(found)
