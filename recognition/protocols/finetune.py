"""Fine-tuning for measurements: encoder and classifier together, on all or a few labels, pre-trained or from scratch.

`skelpipe train --init` creates recognizers for use; this module applies the recipes of both methods' published results.
"""

from collections.abc import Callable

import numpy as np
import torch
from torch.nn import functional

from recognition.data.batching import ClipBatches, make_loader
from recognition.data.dataset import SkeletonDataset
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
    device: str = "cpu",
    bf16: bool = False,
    tell: Callable[[str], None] = lambda _: None,
) -> Classifier:
    """Train encoder and classifier on labelled clips.

    Args:
        encoder: Initial encoder; it is trained in place.
        dataset: Labelled clips, augmented differently in every epoch.
        num_classes: K.
        settings: The recipe.
        seed: Seed of the order of the clips and of the head's weights.
        device: "cpu" or a GPU.
        bf16: Whether to use bfloat16 autocast.
        tell: Called with progress messages.

    Returns:
        The classifier after the last epoch, in evaluation mode.
    """
    torch.manual_seed(seed)
    classifier = Classifier(encoder, num_classes, settings).to(device).train()
    optimizer = optimizer_of(layer_groups(classifier, encoder, settings), settings)
    batches = ClipBatches(
        dataset.lengths, dataset.labels, batch_size=settings.batch_size, train=True, seed=seed, own_lengths=False
    )
    for epoch in range(settings.epochs):
        total = 0.0
        for number, batch in enumerate(make_loader(dataset, batches.batches(epoch), workers="auto"), 1):
            set_rates(optimizer, settings, epoch, number / len(batches))
            batch = batch.to(device)
            optimizer.zero_grad()
            with torch.autocast(device.partition(":")[0], dtype=torch.bfloat16, enabled=bf16):
                logits = classifier(batch)
            loss = functional.cross_entropy(logits.float(), batch.label, label_smoothing=settings.label_smoothing)
            loss.backward()
            optimizer.step()
            total += float(loss.detach())
        if (epoch + 1) % max(1, settings.epochs // 5) == 0:
            tell(f"epoch {epoch + 1}/{settings.epochs}: loss {total / len(batches):.4f}")
    return classifier.eval()


def finetune_frames(
    encoder: Encoder,
    dataset: SkeletonDataset,
    labels: np.ndarray,
    num_classes: int,
    settings: FinetuneSettings,
    *,
    seed: int,
    device: str = "cpu",
    bf16: bool = False,
    tell: Callable[[str], None] = lambda _: None,
) -> FrameClassifier:
    """Train a frame classifier on windows.

    Args:
        encoder: Initial encoder; it is trained in place.
        dataset: The windows.
        labels: int64 (W, T), class of each frame, K for the background.
        num_classes: K.
        settings: The recipe.
        seed: Seed of the order of the windows and of the initial weights.
        device: "cpu" or a GPU.
        bf16: Whether to use bfloat16 autocast.
        tell: Called with progress messages.

    Returns:
        The classifier after the last epoch, in evaluation mode.
    """
    torch.manual_seed(seed)
    classifier = FrameClassifier(encoder, num_classes).to(device).train()
    set_drop_path(encoder, settings.drop_path)
    optimizer = optimizer_of(layer_groups(classifier, encoder, settings), settings)
    wanted = torch.as_tensor(labels)
    batches = ClipBatches(
        dataset.lengths, dataset.labels, batch_size=settings.batch_size, train=True, seed=seed, own_lengths=False
    )
    for epoch in range(settings.epochs):
        total = 0.0
        for number, batch in enumerate(make_loader(dataset, batches.batches(epoch), workers="auto"), 1):
            set_rates(optimizer, settings, epoch, number / len(batches))
            optimizer.zero_grad()
            with torch.autocast(device.partition(":")[0], dtype=torch.bfloat16, enabled=bf16):
                logits = classifier(batch.to(device))
            loss = functional.cross_entropy(
                logits.float().flatten(0, 1),
                wanted[batch.index].flatten().to(device),
                label_smoothing=settings.label_smoothing,
            )
            loss.backward()
            optimizer.step()
            total += float(loss.detach())
        if (epoch + 1) % max(1, settings.epochs // 5) == 0:
            tell(f"epoch {epoch + 1}/{settings.epochs}: loss {total / len(batches):.4f}")
    return classifier.eval()
