"""Accuracy and loss on the held-out part, which selects the best epoch; distributed over the processes of a run."""

from collections.abc import Iterable

import torch
from lightning_fabric import Fabric
from torch import nn

from recognition.data.batches import Batch
from recognition.recognizer import Recognizer


def measure(recognizer: Recognizer, batches: Iterable[Batch], fabric: Fabric) -> dict[str, float]:
    """Evaluate a recognizer on the held-out part. A collective call.

    Args:
        recognizer: In evaluation mode.
        batches: This process's share of the clips. Over all processes, each clip occurs once.
        fabric: Connection between the processes of the run.

    Returns:
        `top1` and `mean_class` in [0, 1] (the latter is the mean over the classes that have clips), `loss` (mean
        cross-entropy, without class weights or label smoothing), and `clips`, their number.
    """
    classes, device = recognizer.num_classes, fabric.device
    confusion = torch.zeros(classes, classes, dtype=torch.float64, device=device)
    loss = torch.zeros((), dtype=torch.float64, device=device)
    for part in batches:
        batch = part.to(device)
        logits = recognizer(batch).float()
        loss += nn.functional.cross_entropy(logits, batch.label, reduction="sum")
        pairs = batch.label * classes + logits.argmax(1)
        confusion += torch.bincount(pairs, minlength=classes**2).reshape(classes, classes)
    told = torch.cat([confusion.flatten(), loss[None]])
    everyone: torch.Tensor = fabric.all_reduce(told, reduce_op="sum")  # type: ignore[assignment]
    confusion, loss = everyone[:-1].reshape(classes, classes), everyone[-1]
    clips, hits, there = confusion.sum(), confusion.diag(), confusion.sum(1)
    return {
        "top1": float(hits.sum() / clips),
        "mean_class": float((hits[there > 0] / there[there > 0]).mean()),
        "loss": float(loss / clips),
        "clips": float(clips),
    }
