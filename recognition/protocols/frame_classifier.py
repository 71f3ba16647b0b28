"""A classifier of frames for detection: an encoder with one linear layer, trained together (section 4.3 of PCM3)."""

import numpy as np
import torch
from torch import nn

from pose_extraction.engines.engine import Engine
from recognition.data.batches import Batch
from recognition.pretraining.encoder import Encoder
from recognition.protocols.outputs import outputs_of
from recognition.protocols.windows import SequenceWindows

# Windows per batch of inference.
BATCH = 64


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


@torch.no_grad()
def score_sequence(
    classifier: FrameClassifier,
    windows: SequenceWindows,
    sequence: int,
    num_frames: int,
    *,
    engine: Engine,
) -> np.ndarray:
    """Return the probabilities of each frame of a sequence, averaged over its windows, float64 (T, K + 1).

    Args:
        classifier: Network on the engine's device, in evaluation mode.
        windows: Windows of the sequence, among others.
        sequence: Index of the sequence.
        num_frames: T.
        engine: Resolved device and precision.
    """
    total = np.zeros((num_frames, classifier.head.out_features))
    count = np.zeros((num_frames, 1))
    positions = windows.positions_of(sequence)
    outputs = outputs_of(classifier, windows.dataset, positions, batch_size=BATCH, workers=0, engine=engine)
    scores = (one for batch in outputs for one in batch.double().softmax(2).cpu().numpy())
    for position, one in zip(positions, scores, strict=True):
        start = windows.origins[position][1]
        length = min(len(one), num_frames - start)
        total[start : start + length] += one[:length]
        count[start : start + length] += 1
    return total / count
