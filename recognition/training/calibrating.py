"""After a training: its run files get a calibration, fitted on clips that were not trained on."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from recognition import run_file, run_folder, runs
from recognition.confidence.confidence import Confidence, fit_on_finite
from recognition.confidence.feature_distance import FEWEST_CLIPS, fit_feature_distance, left_out_distances
from recognition.data.dataset import SkeletonDataset
from recognition.data.descriptors.kernel_ridge import KernelRidge
from recognition.engine.loop import Loop
from recognition.maskclr.objective import MaskCLR
from recognition.training.preparation import Prepared

# Number of training clips that describe the known actions; more hardly change means and covariances.
MOST_CLIPS = 2000
# Number of held-out clips that suffice without those of a cross-validation.
ENOUGH_HELD_OUT = 200


@dataclass(frozen=True)
class CrossValidated:
    """Outputs for training clips by recognizers that were not trained on them.

    Args:
        indices: int64 (N,), the clips, as numbered in the file.
        logits: float64 (N, K); NaN for clips without output.
        groups: int64 (N,), what was left out together, from 0.
    """

    indices: np.ndarray
    logits: np.ndarray
    groups: np.ndarray


@dataclass(frozen=True)
class _Outputs:
    """Outputs for N clips.

    Args:
        features: float64 (N, D), see `Batch.described`.
        logits: float64 (N, K), joint ones if there is a classifier of descriptors.
        of_descriptors: float64 (N, K), those of this classifier alone; None without one.
        labels: int (N,).
    """

    features: np.ndarray
    logits: np.ndarray
    of_descriptors: np.ndarray | None
    labels: np.ndarray


def complete_file(
    path: Path | None,
    prepared: Prepared,
    objective: MaskCLR,
    loop: Loop,
    *,
    cross_validated: CrossValidated | None = None,
    final: KernelRidge | None = None,
) -> None:
    """Fit the confidence of the weights in a run file, and store it there with the final classifier of descriptors.

    Without clips to fit the confidence on, or if outputs are not finite, the file has none.

    Args:
        path: A run file of this training; None if it was not saved.
        prepared: Data and settings.
        objective: The recognizer with its losses; receives the weights of the file.
        loop: The loop, on whose device the recognizer runs.
        cross_validated: Further clips to fit it on, if fewer than `ENOUGH_HELD_OUT` clips were held out. The features
            for their distances are those that the recognizer has now.
        final: What replaces the classifier of descriptors in the end, unless the run was finished before. Its share in
            the answer, and the confidence, are those of classifiers that did not know the clips they were judged by.
    """
    if path is None:
        return
    content = run_file.load(path)
    if "confidence" in content:
        # The run was finished before.
        return
    objective.load_state_dict(content["model"])
    added: dict[str, Any] = {}
    confidence = _fitted_confidence(prepared, objective, loop, cross_validated)
    if confidence is not None:
        added["confidence"] = confidence.plain()
    movement = objective.recognizer.movement
    if movement is not None and final is not None:
        movement.set_fitted(final, network_share=movement.network_share)
        added["model"] = objective.state_dict()
    if added:
        run_file.save(path.with_suffix(run_file.SUFFIX), {**content, **added})


def _fitted_confidence(
    prepared: Prepared, objective: MaskCLR, loop: Loop, cross_validated: CrossValidated | None
) -> Confidence | None:
    training, held_out = prepared.training, prepared.held_out
    further = cross_validated if len(held_out) < ENOUGH_HELD_OUT else None
    if len(training) < FEWEST_CLIPS or (further is None and not len(held_out)):
        return None
    chosen = np.random.default_rng(prepared.settings.training.seed).permutation(training)[:MOST_CLIPS]
    known = _outputs(prepared, chosen, objective, loop)
    if np.isinf(known.features).any():
        return None
    distance = fit_feature_distance(known.features, known.labels)
    logits, labels, distances, scored = [], [], [], []
    if len(held_out):
        apart = _outputs(prepared, held_out, objective, loop)
        logits, labels, distances = [apart.logits], [apart.labels], [distance(apart.features)]
        scored = [apart.logits if apart.of_descriptors is None else apart.of_descriptors]
    if further is not None:
        own = _outputs(prepared, further.indices, objective, loop)
        logits.append(further.logits)
        scored.append(further.logits)
        labels.append(own.labels)
        distances.append(left_out_distances(own.features, own.labels, further.groups))
    return fit_on_finite(
        np.concatenate(logits),
        np.concatenate(labels),
        distance=distance,
        distances=np.concatenate(distances),
        # What the network answers to clips that it was trained on says nothing about others, so that with these clips
        # the unknown score, and its threshold, are based on the classifier of descriptors alone.
        of_descriptors=None if further is None else np.concatenate(scored),
    )


def keep_confidence(folder: Path, prepared: Prepared) -> None:
    """Store the confidence of the initial run in the files of a run with the same classes.

    Args:
        folder: The run directory.
        prepared: Data and settings of the run.
    """
    assert prepared.settings.init is not None
    earlier = run_file.load_facts(runs.run_file(prepared.settings.init))
    if "confidence" not in earlier or earlier["label_names"] != prepared.label_names:
        return
    for name in (run_folder.BEST, run_folder.LAST):
        path = run_folder.saved(folder, name)
        if path is not None:
            run_file.save(folder / name, {**run_file.load(path), "confidence": earlier["confidence"]})


def _outputs(prepared: Prepared, indices: np.ndarray, objective: MaskCLR, loop: Loop) -> _Outputs:
    """Run the recognizer on clips without random augmentation; results in the order of `indices`, in float64."""
    settings = prepared.settings
    dataset = SkeletonDataset(prepared.clips, indices, settings.data, train=False, seed=settings.training.seed)
    # Clips of similar length in one batch, to keep padding small.
    order, size = np.argsort(dataset.lengths, kind="stable"), settings.training.batch_size
    batches = [[(0, place) for place in order[first : first + size].tolist()] for first in range(0, len(order), size)]
    features, logits, scored = [], [], []
    objective.eval()
    with torch.no_grad(), loop.module.autocast():
        for part in loop.load(batches, dataset=dataset):
            batch = part.to(loop.fabric.device)
            of_batch = objective.recognizer.features(batch)
            features.append(part.described(of_batch[0].float().cpu().numpy()).astype(np.float64))
            logits.append(of_batch[1].double().cpu().numpy())
            if (own := objective.recognizer.of_descriptors(batch.descriptor)) is not None:
                scored.append(own.double().cpu().numpy())
    back = np.argsort(order)
    return _Outputs(
        np.concatenate(features)[back],
        np.concatenate(logits)[back],
        np.concatenate(scored)[back] if scored else None,
        prepared.clips.labels[indices],
    )
