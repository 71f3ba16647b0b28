"""Fine-tuning for measurements: encoder and classifier together, on all or a few labels, pre-trained or from scratch.

`skelpipe train --init` creates recognizers for use; this module applies the recipes of both methods' published results.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from pose_extraction.engines.engine import Engine
from pose_extraction.errors import TrainingError
from recognition.data.batches import Batch
from recognition.data.batching import ClipBatches
from recognition.data.dataset import SkeletonDataset
from recognition.engine.loop import NotFiniteError, fit
from recognition.engine.trainable import Trainable
from recognition.pretraining.encoder import Encoder
from recognition.protocols.classifier import Classifier, set_drop_path
from recognition.protocols.frame_classifier import FrameClassifier
from recognition.protocols.optimisation import layer_groups, optimizer_of, set_rates
from recognition.protocols.settings import FinetuneSettings


def finetune(
    encoder: Encoder,
    dataset: SkeletonDataset,
    num_classes: int,
    settings: FinetuneSettings,
    *,
    seed: int,
    engine: Engine,
    tell: Callable[[str], None] = lambda _: None,
) -> Classifier:
    """Train encoder and classifier on labelled clips.

    Args:
        encoder: Initial encoder; it is trained in place.
        dataset: Labelled clips, augmented differently in every epoch.
        num_classes: K.
        settings: The recipe.
        seed: Seed of the order of the clips and of the head's weights.
        engine: Resolved device and precision.
        tell: Called with progress messages.

    Returns:
        The classifier after the last epoch, in evaluation mode.

    Raises:
        TrainingError: A loss or a gradient is not finite.
    """
    torch.manual_seed(seed)
    classifier = Classifier(encoder, num_classes, settings)
    objective = CrossEntropy(classifier, label_smoothing=settings.label_smoothing)
    _fit(Finetuning(objective, encoder, dataset, settings, seed=seed), engine=engine, tell=tell)
    return classifier.eval()


def finetune_frames(
    encoder: Encoder,
    dataset: SkeletonDataset,
    labels: np.ndarray,
    num_classes: int,
    settings: FinetuneSettings,
    *,
    seed: int,
    engine: Engine,
    tell: Callable[[str], None] = lambda _: None,
) -> FrameClassifier:
    """Train encoder and frame classifier on windows.

    Args:
        encoder: Initial encoder; it is trained in place.
        dataset: The windows.
        labels: int64 (W, T), class of each frame, K for the background.
        num_classes: K.
        settings: The recipe.
        seed: Seed of the order of the windows and of the initial weights.
        engine: Resolved device and precision.
        tell: Called with progress messages.

    Returns:
        The classifier after the last epoch, in evaluation mode.

    Raises:
        TrainingError: A loss or a gradient is not finite.
    """
    torch.manual_seed(seed)
    classifier = FrameClassifier(encoder, num_classes)
    set_drop_path(encoder, settings.drop_path)
    objective = CrossEntropy(classifier, label_smoothing=settings.label_smoothing, frame_labels=torch.as_tensor(labels))
    _fit(Finetuning(objective, encoder, dataset, settings, seed=seed), engine=engine, tell=tell)
    return classifier.eval()


@dataclass
class Losses:
    """Losses of a micro-batch.

    Args:
        total: Scalar, mean cross-entropy.
        clips: Scalar, number of clips.
    """

    total: torch.Tensor
    clips: torch.Tensor


class CrossEntropy(nn.Module):
    """Mean cross-entropy of a classifier of clips or of frames.

    Args:
        classifier: Returns logits (N, K), or (N, T, K + 1) for frames.
        label_smoothing: In [0, 1).
        frame_labels: int64 (W, T), class of each frame of each window of the data set; None for a classifier of clips,
            whose batches contain the labels.
    """

    frame_labels: torch.Tensor | None

    def __init__(
        self, classifier: nn.Module, *, label_smoothing: float, frame_labels: torch.Tensor | None = None
    ) -> None:
        super().__init__()
        self.classifier = classifier
        self.label_smoothing = label_smoothing
        self.register_buffer("frame_labels", frame_labels, persistent=False)

    def forward(self, batch: Batch) -> Losses:
        # Under autocast logits can be bf16, whose 8 bits are too few for a loss.
        logits = self.classifier(batch).float()
        labels = batch.label if self.frame_labels is None else self.frame_labels[batch.index]
        total = functional.cross_entropy(logits.flatten(0, -2), labels.flatten(), label_smoothing=self.label_smoothing)
        return Losses(total, total.new_tensor(len(batch)))


class Finetuning(Trainable):
    """Fine-tuning of an encoder with a classifier, for the training loop.

    Args:
        objective: The classifier with its loss.
        encoder: The encoder in it.
        dataset: Clips or windows.
        settings: The recipe.
        seed: Seed of the order of the clips.
    """

    losses = ("total",)

    def __init__(
        self, objective: nn.Module, encoder: Encoder, dataset: SkeletonDataset, settings: FinetuneSettings, *, seed: int
    ) -> None:
        self.objective, self.dataset, self.settings = objective, dataset, settings
        self.epochs = settings.epochs
        self.optimizer = optimizer_of(layer_groups(objective, encoder, settings), settings)
        self.batches = ClipBatches(
            dataset.lengths, dataset.labels, batch_size=settings.batch_size, train=True, seed=seed, own_lengths=False
        )

    def set_rates(self, epoch: int, progress: float) -> dict[str, float]:
        return {"lr": set_rates(self.optimizer, self.settings, epoch, progress)}


def _fit(training: Finetuning, *, engine: Engine, tell: Callable[[str], None]) -> None:
    try:
        fit(training, device=engine.device, bf16=engine.bf16, report=tell)
    except NotFiniteError as error:
        raise TrainingError(
            f"fine-tuning failed: {error}; reduce the learning rate, for example --set "
            f"finetune.lr={training.settings.lr / 10:g}"
        ) from error
