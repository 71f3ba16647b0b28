"""After a training: the calibration of its run files, fitted on the held-out part."""

from pathlib import Path

import numpy as np
import torch

from recognition import runs
from recognition.confidence.confidence import fit_confidence
from recognition.confidence.feature_distance import FEWEST_CLIPS, fit_feature_distance
from recognition.data.dataset import SkeletonDataset
from recognition.engine.loop import Loop
from recognition.maskclr.objective import MaskCLR
from recognition.training.preparation import Prepared

# Number of training clips that describe the known actions; more hardly change means and covariances.
MOST_CLIPS = 2000


def complete_confidence(path: Path, prepared: Prepared, objective: MaskCLR, loop: Loop) -> None:
    """Fit the confidence of the weights in a run file, and store it there.

    Without a held-out part, or if its results are not finite, the file remains as it is.

    Args:
        path: A run file of this training.
        prepared: Data and settings.
        objective: The recognizer with its losses; receives the weights of the file.
        loop: The loop, on whose device the recognizer runs.
    """
    training, held_out = prepared.training, prepared.held_out
    if not path.is_file() or not len(held_out) or len(training) < FEWEST_CLIPS:
        return
    content = runs.load(path)
    objective.load_state_dict(content["model"])
    chosen = np.random.default_rng(prepared.settings.training.seed).permutation(training)[:MOST_CLIPS]
    known, _, labels = _outputs(prepared, chosen, objective, loop)
    features, logits, truth = _outputs(prepared, held_out, objective, loop)
    if not all(np.isfinite(found).all() for found in (known, features, logits)):
        return
    distance = fit_feature_distance(known, labels)
    confidence = fit_confidence(logits, truth, distance=distance, distances=distance(features))
    runs.save(path, {**content, "confidence": confidence.plain()})


def _outputs(
    prepared: Prepared, indices: np.ndarray, objective: MaskCLR, loop: Loop
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return features (N, D) and logits (N, K) in float64, and labels (N,), of clips without random augmentation."""
    settings = prepared.settings
    dataset = SkeletonDataset(prepared.clips, indices, settings.data, train=False, seed=settings.training.seed)
    # Clips of similar length in one batch, to keep padding small.
    order, size = np.argsort(dataset.lengths, kind="stable").tolist(), settings.training.batch_size
    batches = [[(0, place) for place in order[first : first + size]] for first in range(0, len(order), size)]
    features, logits, labels = [], [], []
    objective.eval()
    with torch.no_grad(), loop.module.autocast():
        for part in loop.load(batches, dataset=dataset):
            of_batch = objective.recognizer.features(part.to(loop.fabric.device))
            features.append(of_batch[0].double().cpu().numpy())
            logits.append(of_batch[1].double().cpu().numpy())
            labels.append(part.label.numpy())
    return np.concatenate(features), np.concatenate(logits), np.concatenate(labels)
