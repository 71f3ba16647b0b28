"""Accuracy and loss on the held-out part, which selects the best epoch; distributed over the processes of a run."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

import torch
from torch import nn

from recognition.data.batches import Batch
from recognition.recognizer import Recognizer

if TYPE_CHECKING:
    from lightning_fabric import Fabric


def measure(recognizer: Recognizer, batches: Iterable[Batch], fabric: "Fabric") -> dict[str, float]:
    """Evaluate a recognizer on the held-out part. A collective call.

    Args:
        recognizer: In evaluation mode.
        batches: This process's share of the clips. Over all processes, each clip occurs once.
        fabric: Connection between the processes of the run.

    Returns:
        `top1` and `mean_class` in [0, 1] (the mean over the classes that have clips), `loss` (mean
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
    own = torch.cat([confusion.flatten(), loss[None]])
    total: torch.Tensor = fabric.all_reduce(own, reduce_op="sum")  # type: ignore[assignment]
    confusion, loss = total[:-1].reshape(classes, classes), total[-1]
    clips, hits, of_class = confusion.sum(), confusion.diag(), confusion.sum(1)
    return {
        "top1": float(hits.sum() / clips),
        "mean_class": float((hits[of_class > 0] / of_class[of_class > 0]).mean()),
        "loss": float(loss / clips),
        "clips": float(clips),
    }
