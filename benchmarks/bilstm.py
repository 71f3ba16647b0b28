"""A plain recurrent baseline: two bidirectional LSTM layers over positions, velocities and scores of 64 frames.

It reads clips as MaskCLR does, through the same data sets with the same transforms, and takes its epoch and its
hyper-parameters from the same held-out clips. `recognition_accuracy.py` trains it beside MaskCLR.
"""

import itertools
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch
from torch import nn

from recognition.batches import Batch
from recognition.batching import ClipBatches, make_loader
from recognition.dataset import SkeletonDataset

NUM_FRAMES = 64
# What is tuned, every combination.
WIDTHS, DROPOUTS, LEARNING_RATES = (96, 192), (0.3, 0.6), (1e-3, 4e-3)


@dataclass(frozen=True)
class BiLSTMSettings:
    """Size and training of the baseline.

    Args:
        width: Hidden units of each direction.
        dropout: Between the layers and before the classifier.
        lr: Largest learning rate of AdamW; a cosine leads it to zero.
        weight_decay: Of AdamW.
        epochs: Passes over the training clips.
        batch_size: Clips a step.
    """

    width: int = 128
    dropout: float = 0.5
    lr: float = 2e-3
    weight_decay: float = 0.01
    epochs: int = 60
    batch_size: int = 32


class BiLSTM(nn.Module):
    """Logits of clips in 2D: persons are read one by one, and their features averaged.

    Args:
        num_joints: V.
        num_classes: K.
        width: Hidden units of each direction.
        dropout: Between the layers and before the classifier.
    """

    def __init__(self, *, num_joints: int, num_classes: int, width: int, dropout: float) -> None:
        super().__init__()
        # x, y, their change since the frame before, and the score of every joint.
        self.norm = nn.LayerNorm(5 * num_joints)
        self.lstm = nn.LSTM(5 * num_joints, width, num_layers=2, batch_first=True, dropout=dropout, bidirectional=True)
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(4 * width, num_classes)

    def forward(self, batch: Batch) -> torch.Tensor:
        """Logits (N, K) of clips that all have the same number of frames."""
        clip_of = batch.person_mask.nonzero()[:, 0]
        keypoint = batch.keypoint[batch.person_mask]  # (P, T, V, 3)
        position, score = keypoint[..., :2], keypoint[..., 2]
        seen = score > 0
        moved = torch.zeros_like(position)
        # A joint that appears did not fly in from the centre.
        moved[:, 1:] = (position[:, 1:] - position[:, :-1]) * (seen[:, 1:] & seen[:, :-1])[..., None]
        features = torch.cat([position.flatten(2), 10 * moved.flatten(2), score], dim=-1)  # (P, T, 5V)
        states, _ = self.lstm(self.norm(features))  # (P, T, 2 width)
        pooled = torch.cat([states.mean(dim=1), states.amax(dim=1)], dim=-1)
        clips = pooled.new_zeros(len(batch), pooled.shape[1]).index_add(0, clip_of, pooled)
        return self.classifier(self.dropout(clips / batch.person_mask.sum(dim=1, keepdim=True)))


def _batches(dataset: SkeletonDataset, batch_size: int, *, train: bool, seed: int) -> ClipBatches:
    return ClipBatches(
        dataset.lengths, dataset.labels, batch_size=batch_size, train=train, seed=seed, own_lengths=False
    )


def bilstm_scores(model: BiLSTM, dataset: SkeletonDataset, *, batch_size: int = 128) -> np.ndarray:
    """Probabilities float32 (N, K) of a data set's clips, in its order."""
    model.eval()
    batches = _batches(dataset, batch_size, train=False, seed=0).batches(0)
    device = model.classifier.weight.device
    scores = np.zeros((len(dataset), model.classifier.out_features), np.float32)
    with torch.inference_mode():
        for keys, batch in zip(batches, make_loader(dataset, batches, workers=0), strict=True):
            scores[[position for _, position in keys]] = model(batch.to(device)).softmax(dim=-1).cpu().numpy()
    return scores


def fit_bilstm(
    train: SkeletonDataset,
    held_out: SkeletonDataset,
    settings: BiLSTMSettings,
    *,
    num_classes: int,
    seed: int,
    device: str = "cpu",
    keep: Literal["best", "last"] = "best",
    say: Callable[[str], None] = lambda _: None,
) -> tuple[BiLSTM, float]:
    """Trains the baseline.

    Args:
        train: Clips to train on, `NUM_FRAMES` long each.
        held_out: Clips to choose the epoch on.
        settings: Size and training.
        num_classes: K.
        seed: Of the weights, the order of the clips and the dropout.
        device: Where it runs.
        keep: Which epoch's weights: the best on the held-out clips (higher accuracy, then likelihood), or the last.
        say: Is told how each epoch went.

    Returns:
        The network at that epoch, and its accuracy on the held-out clips.
    """
    torch.manual_seed(seed)
    num_joints = train[0].keypoint.shape[2]
    model = BiLSTM(num_joints=num_joints, num_classes=num_classes, width=settings.width, dropout=settings.dropout)
    model.to(device)
    order = _batches(train, settings.batch_size, train=True, seed=seed)
    optimizer = torch.optim.AdamW(model.parameters(), lr=settings.lr, weight_decay=settings.weight_decay)
    steps = settings.epochs * len(order.batches(0))
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    best, kept = (-1.0, 0.0), model.state_dict()
    for epoch in range(settings.epochs):
        model.train()
        for batch in make_loader(train, order.batches(epoch), workers=0):
            here = batch.to(device)
            loss = nn.functional.cross_entropy(model(here), here.label)
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 5.0)
            optimizer.step()
            schedule.step()
        scores = bilstm_scores(model, held_out)
        accuracy = float((scores.argmax(axis=1) == held_out.labels).mean())
        likelihood = float(np.log(scores[np.arange(len(scores)), held_out.labels] + 1e-9).mean())
        say(f"epoch {epoch + 1}: held-out accuracy {accuracy:.3f}, log-likelihood {likelihood:.3f}")
        if keep == "last" or (accuracy, likelihood) >= best:
            best, kept = (accuracy, likelihood), {name: value.clone() for name, value in model.state_dict().items()}
    model.load_state_dict(kept)
    return model.eval(), best[0]


def grid_settings(base: BiLSTMSettings) -> Iterable[BiLSTMSettings]:
    """All settings of the grid, with the rest as in `base`."""
    for width, dropout, lr in itertools.product(WIDTHS, DROPOUTS, LEARNING_RATES):
        yield replace(base, width=width, dropout=dropout, lr=lr)


def tune_bilstm(
    train: SkeletonDataset,
    held_out: SkeletonDataset,
    base: BiLSTMSettings,
    *,
    num_classes: int,
    seed: int,
    device: str = "cpu",
    keep: Literal["best", "last"] = "best",
    say: Callable[[str], None] = lambda _: None,
) -> BiLSTMSettings:
    """The settings of the grid with the highest accuracy on the held-out clips; arguments as of `fit_bilstm`."""
    best, chosen = -1.0, base
    for settings in grid_settings(base):
        _, accuracy = fit_bilstm(
            train, held_out, settings, num_classes=num_classes, seed=seed, device=device, keep=keep
        )
        say(f"width {settings.width}, dropout {settings.dropout}, lr {settings.lr}: held-out accuracy {accuracy:.3f}")
        if accuracy > best:
            best, chosen = accuracy, settings
    return chosen
