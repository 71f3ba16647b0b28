"""From the outputs of a network to answers: calibrated probabilities and the unknown score."""

import numpy as np
import torch

from pose_extraction.errors import WeightsError
from recognition.data.batches import Batch
from recognition.data.descriptors.classifier import MovementClassifier
from recognition.inference.trained_network import DescribedRun


def answers(
    run: DescribedRun, movement: MovementClassifier | None, batch: Batch, features: np.ndarray, logits: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return the probabilities, float32 (N, K), and the unknown scores, float64 (N,), of a batch.

    Args:
        run: The run, with its confidence.
        movement: Its classifier of descriptors, if it has one.
        batch: Its N clips.
        features: (N, hidden), first result of the `ClipNetwork` for them.
        logits: (N, K), second result.

    Raises:
        WeightsError: A logit is not finite.
    """
    wrong = ~np.isfinite(logits).all(axis=1)
    if wrong.any():
        name = batch.names[int(wrong.argmax())]
        raise WeightsError(
            f"{run.path}: its output for clip {name} is not finite; train it again, or try --precision fp32"
        )
    confidence = run.confidence
    probabilities = confidence.probabilities(logits)
    if confidence.of_descriptors:
        assert movement is not None and batch.descriptor is not None
        with torch.inference_mode():
            logits = movement(batch.descriptor.cpu()).numpy()
    return probabilities, confidence.unknown(logits, batch.described(features))
