"""Linear evaluation and retrieval: how far features of a fixed encoder tell actions apart by themselves."""

import math
from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional

from recognition.protocols.settings import LinearSettings

# Of the batch normalisation before MAMP's classifier, and of the classifiers' first weights.
EPSILON, DEVIATION = 1e-6, 0.01


def fit_linear(
    views: Sequence[torch.Tensor], labels: torch.Tensor, num_classes: int, settings: LinearSettings, *, seed: int
) -> nn.Module:
    """A classifier of features.

    Args:
        views: float32 (N, D) each, features of the training clips as they were drawn each time.
        labels: int64 (N,).
        num_classes: K.
        settings: Of the training, by SGD with momentum 0.9 and without decay.
        seed: Of the order of the clips, and of the first weights.

    Returns:
        A network from (N, D) to logits (N, K), in evaluation mode.
    """
    generator = torch.Generator().manual_seed(seed)
    width = views[0].shape[1]
    classify = nn.Linear(width, num_classes)
    with torch.no_grad():
        classify.weight.copy_(torch.randn(num_classes, width, generator=generator) * DEVIATION)
        classify.bias.zero_()
    layers = [nn.BatchNorm1d(width, eps=EPSILON, affine=False)] if settings.normalise else []
    network = nn.Sequential(*layers, classify).train()
    optimizer = torch.optim.SGD(classify.parameters(), lr=settings.lr, momentum=0.9)
    count = len(labels)
    # A batch of one clip has no deviation.
    starts = [start for start in range(0, count, settings.batch_size) if count - start > 1]
    for epoch in range(settings.epochs):
        features = views[epoch % len(views)]
        order = torch.randperm(count, generator=generator)
        for number, start in enumerate(starts):
            rate = _rate(settings, epoch, (number + 1) / len(starts))
            for group in optimizer.param_groups:
                group["lr"] = rate
            chosen = order[start : start + settings.batch_size]
            optimizer.zero_grad()
            functional.cross_entropy(network(features[chosen]), labels[chosen]).backward()
            optimizer.step()
    return network.eval()


def _rate(settings: LinearSettings, epoch: int, progress: float) -> float:
    if settings.schedule == "step":
        return settings.lr * 0.1 ** sum(epoch >= step for step in settings.lr_steps)
    return settings.lr * 0.5 * (1 + math.cos(math.pi * (epoch + progress) / settings.epochs))


def nearest_labels(
    galleries: Sequence[torch.Tensor], labels: torch.Tensor, queries: Sequence[torch.Tensor]
) -> torch.Tensor:
    """The label of the training clip whose features point most nearly the same way (k = 1, cosine), int64 (Q,).

    With several encoders it is the clip with the largest sum of their cosines: one vote of each would tie wherever
    two disagree.

    Args:
        galleries: float (N, D) of each encoder, features of the training clips.
        labels: int64 (N,).
        queries: float (Q, D) of each encoder.
    """
    # The product of directions side by side is the sum of the cosines.
    known, asked = (torch.cat([functional.normalize(one, dim=1) for one in each], 1) for each in (galleries, queries))
    found = [(part @ known.T).argmax(1) for part in asked.split(1024)]
    return labels[torch.cat(found)]
