"""Linear evaluation and retrieval: how well the features of a frozen encoder separate actions."""

import math
from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional

from recognition.optimizers import SGD
from recognition.protocols.settings import LinearSettings

# Epsilon of the batch normalisation before MAMP's classifier, and deviation of the classifiers' initial weights.
EPSILON, DEVIATION = 1e-6, 0.01


def fit_linear(
    views: Sequence[torch.Tensor], labels: torch.Tensor, num_classes: int, settings: LinearSettings, *, seed: int
) -> nn.Module:
    """Train a linear classifier of features.

    Args:
        views: float32 (N, D) each, features of the training clips, one array per augmentation.
        labels: int64 (N,).
        num_classes: K.
        settings: Settings of the training by SGD, with momentum 0.9 and without weight decay.
        seed: Seed of the order of the clips and of the initial weights.

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
    optimizer = SGD(classify.parameters(), lr=settings.lr, momentum=0.9)
    count = len(labels)
    # The standard deviation of a batch of one clip is undefined.
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
    """Return the label of each query's nearest training clip (k = 1, cosine similarity), int64 (Q,).

    With several encoders, similarity is the sum of their cosine similarities; majority votes would tie whenever two
    encoders disagree.

    Args:
        galleries: float (N, D) per encoder, features of the training clips.
        labels: int64 (N,).
        queries: float (Q, D) per encoder.
    """
    # The product of concatenated unit vectors is the sum of the cosines.
    known, asked = (torch.cat([functional.normalize(one, dim=1) for one in each], 1) for each in (galleries, queries))
    found = [(part @ known.T).argmax(1) for part in asked.split(1024)]
    return labels[torch.cat(found)]
