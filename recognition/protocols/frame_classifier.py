"""A classifier of frames for detection: an encoder with one linear layer, trained together (section 4.3 of PCM3)."""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from recognition.data.batches import Batch
from recognition.data.batching import ClipBatches, make_loader
from recognition.data.dataset import SkeletonDataset
from recognition.pretraining.encoder import Encoder
from recognition.protocols.finetune import layer_groups, optimizer_of, set_drop_path, set_rates
from recognition.protocols.settings import FinetuneSettings


class FrameClassifier(nn.Module):
    """Predicts class scores for every frame.

    MAMP's joints are concatenated, as in its fine-tuning: from their mean, a linear layer could not tell which joint
    moved.

    Args:
        encoder: The encoder, which becomes a submodule.
        num_classes: K; the background is an additional, last class.
    """

    def __init__(self, encoder: Encoder, num_classes: int) -> None:
        super().__init__()
        self.encoder = encoder
        self.head = nn.Linear(encoder.frame_width, num_classes + 1)
        nn.init.normal_(self.head.weight, std=0.01)
        nn.init.zeros_(self.head.bias)

    def forward(self, batch: Batch) -> torch.Tensor:
        """Return logits (N, T, K + 1)."""
        return self.head(self.encoder.frames_by_joints(batch))


def fit_frames(
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


@torch.no_grad()
def score_sequence(
    classifier: FrameClassifier,
    dataset: SkeletonDataset,
    places: Sequence[int],
    starts: Sequence[int],
    num_frames: int,
    *,
    device: str = "cpu",
    bf16: bool = False,
) -> np.ndarray:
    """Return the probabilities of each frame of a sequence, averaged over its windows, float64 (T, K + 1).

    Args:
        classifier: Network on `device`, in evaluation mode.
        dataset: Windows of one length.
        places: Indices of the sequence's windows in the data set.
        starts: First frame of each window.
        num_frames: T.
        device: "cpu" or a GPU.
        bf16: Whether to use bfloat16 autocast.
    """
    total = np.zeros((num_frames, classifier.head.out_features))
    count = np.zeros((num_frames, 1))
    batches = [[(0, place) for place in places[start : start + 64]] for start in range(0, len(places), 64)]
    first = iter(starts)
    for batch in make_loader(dataset, batches, workers=0):
        with torch.autocast(device.partition(":")[0], dtype=torch.bfloat16, enabled=bf16):
            scores = classifier(batch.to(device)).double().softmax(2).cpu().numpy()
        for one in scores:
            start = next(first)
            length = min(len(one), num_frames - start)
            total[start : start + length] += one[:length]
            count[start : start + length] += 1
    return total / count
