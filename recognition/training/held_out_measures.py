"""Accuracy and loss on the held-out part, which selects the best epoch; distributed over the processes of a run."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

import torch
from torch import nn

from recognition.data.batches import Batch
from recognition.recognizer import Recognizer

if TYPE_CHECKING:
    from lightning_fabric import Fabric


# Shares of the network in the joint probabilities to choose from, and that for fewer held-out clips than this. Held-out
# clips are of few people, so neither part is ever without a say: on others, a mixture was better than the better part.
SHARES = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
DEFAULT_SHARE, FEWEST_CLIPS = 0.1, 30


def measure(recognizer: Recognizer, batches: Iterable[Batch], fabric: "Fabric") -> dict[str, float]:
    """Evaluate a recognizer on the held-out part. A collective call.

    If the recognizer has a classifier of descriptors, the share of the network in the joint probabilities is set to
    the one with the lowest loss on these clips, provided that they are at least `FEWEST_CLIPS`.

    Args:
        recognizer: In evaluation mode.
        batches: This process's share of the clips. Over all processes, each clip occurs once.
        fabric: Connection between the processes of the run.

    Returns:
        `top1` and `mean_class` in [0, 1] (the mean over the classes that have clips), `loss` (mean
        cross-entropy, without class weights or label smoothing), and `clips`, their number.
    """
    movement = recognizer.movement
    shares = (1.0,) if movement is None or not movement.is_fitted else SHARES
    classes, device = recognizer.num_classes, fabric.device
    confusion = torch.zeros(len(shares), classes, classes, dtype=torch.float64, device=device)
    loss = torch.zeros(len(shares), dtype=torch.float64, device=device)
    for part in batches:
        batch = part.to(device)
        network = recognizer.of_network(batch)[1].float()
        own = recognizer.of_descriptors(batch.descriptor)
        for row, share in enumerate(shares):
            logits = network
            if movement is not None and own is not None:
                movement.set_network_share(share)
                logits = movement.joined_with(network, own)
            loss[row] += nn.functional.cross_entropy(logits, batch.label, reduction="sum")
            pairs = batch.label * classes + logits.argmax(1)
            confusion[row] += torch.bincount(pairs, minlength=classes**2).reshape(classes, classes)
    here = torch.cat([confusion.flatten(), loss])
    total: torch.Tensor = fabric.all_reduce(here, reduce_op="sum")  # type: ignore[assignment]
    confusion, loss = total[: -len(shares)].reshape(confusion.shape), total[-len(shares) :]
    clips = float(confusion[0].sum())
    best = int(loss.argmin()) if clips >= FEWEST_CLIPS else shares.index(DEFAULT_SHARE if len(shares) > 1 else 1.0)
    if movement is not None:
        movement.set_network_share(shares[best])
    hits, of_class = confusion[best].diag(), confusion[best].sum(1)
    return {
        "top1": float(hits.sum()) / clips,
        "mean_class": float((hits[of_class > 0] / of_class[of_class > 0]).mean()),
        "loss": float(loss[best]) / clips,
        "clips": clips,
    }
