"""A recurrent baseline: two bidirectional LSTM layers on positions, velocities and scores of 64 frames.

It uses the same data sets and transforms as MaskCLR, and the same held-out clips for selecting the epoch and the
hyperparameters. `recognition_accuracy.py` trains it together with MaskCLR.
"""

import itertools
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch
from torch import nn

from recognition.data.batches import Batch
from recognition.data.batching import ClipBatches, make_loader
from recognition.data.dataset import SkeletonDataset

NUM_FRAMES = 64
# Grid of hyperparameters.
WIDTHS, DROPOUTS, LEARNING_RATES = (96, 192), (0.3, 0.6), (1e-3, 4e-3)


@dataclass(frozen=True)
class BiLSTMSettings:
    """Size and training settings of the baseline.

    Args:
        width: Hidden units per direction.
        dropout: Dropout between the layers and before the classifier.
        lr: Maximum learning rate of AdamW, with cosine decay to zero.
        weight_decay: Weight decay of AdamW.
        epochs: Number of epochs.
        batch_size: Clips per step.
    """

    width: int = 128
    dropout: float = 0.5
    lr: float = 2e-3
    weight_decay: float = 0.01
    epochs: int = 60
    batch_size: int = 32


class BiLSTM(nn.Module):
    """Classifier for 2D clips: each person is encoded separately, and the features are averaged.

    Args:
        num_joints: V.
        num_classes: K.
        width: Hidden units per direction.
        dropout: Dropout between the layers and before the classifier.
    """

    def __init__(self, *, num_joints: int, num_classes: int, width: int, dropout: float) -> None:
        super().__init__()
        # x, y, their velocities, and the score of every joint.
        self.norm = nn.LayerNorm(5 * num_joints)
        self.lstm = nn.LSTM(5 * num_joints, width, num_layers=2, batch_first=True, dropout=dropout, bidirectional=True)
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(4 * width, num_classes)

    def forward(self, batch: Batch) -> torch.Tensor:
        """Return logits (N, K) of clips with equal numbers of frames."""
        clip_of = batch.person_mask.nonzero()[:, 0]
        keypoint = batch.keypoint[batch.person_mask]  # (P, T, V, 3)
        position, score = keypoint[..., :2], keypoint[..., 2]
        seen = score > 0
        moved = torch.zeros_like(position)
        # A joint that becomes visible has no velocity.
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
    """Return the probabilities of the clips in a data set in order, float32 (N, K)."""
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
    """Train the baseline.

    Args:
        train: Training clips with `NUM_FRAMES` frames each.
        held_out: Clips for selecting the epoch.
        settings: Size and training settings.
        num_classes: K.
        seed: Seed of the weights, the order of the clips and dropout.
        device: Device of the training.
        keep: Which epoch's weights to return: the best on the held-out clips (accuracy, then likelihood), or the last.
        say: Receives a message after each epoch.

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
    """Yield all settings of the grid; other values are those of `base`."""
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
    """Return the settings with the highest accuracy on the held-out clips; arguments as for `fit_bilstm`."""
    best, chosen = -1.0, base
    for settings in grid_settings(base):
        _, accuracy = fit_bilstm(
            train, held_out, settings, num_classes=num_classes, seed=seed, device=device, keep=keep
        )
        say(f"width {settings.width}, dropout {settings.dropout}, lr {settings.lr}: held-out accuracy {accuracy:.3f}")
        if accuracy > best:
            best, chosen = accuracy, settings
    return chosen
