"""Fitting the classifier of descriptors to the training clips of a run."""

import numpy as np

from recognition.data.clip_transforms import ClipTransforms, flip_probability
from recognition.data.descriptors.copies import cut_off, varied
from recognition.data.descriptors.extending import Known, extend
from recognition.data.descriptors.kernel_ridge import KernelRidge, fit
from recognition.data.descriptors.movement import GROUPS, describe_clip
from recognition.data.transforms.augmentation import flip
from recognition.training.calibrating import CrossValidated
from recognition.training.preparation import Prepared

# Possible shares of each group of numbers in the distance of two clips: posture and its spread, speeds, travel,
# movement across the image, and what stays the same when left and right are exchanged.
SHARES = {
    "posture": (3.0,),
    "spread": (2.0,),
    "speed": (2.0,),
    "travel": (2.0,),
    "across": (1.0,),
    "sides": (0.0, 1.0, 3.0),
}
# Most rows of the kernel matrix, whose factorisation takes seconds, and most random copies of a clip.
MOST_ROWS, MOST_COPIES = 4000, 6
# For so many random copies, there is another one of a person who is cut off.
COPIES_PER_CUT = 3


def fit_movement(prepared: Prepared, known: Known | None = None) -> KernelRidge:
    """Fit the classifier to the run's training clips, their mirror images and random copies.

    With more than `MOST_ROWS` clips, it is fitted to a part in which classes occur as equally as possible.

    Args:
        prepared: Data and settings of the run.
        known: An earlier classifier with class numbers of this run, whose training descriptors are kept.
    """
    settings, clips = prepared.settings, prepared.clips
    rng = _generator(prepared)
    indices = _fitted_indices(prepared, rng)
    mirrored = flip_probability(settings.data, prepared.layout) > 0
    copies = int(np.clip(MOST_ROWS // len(indices) - 1 - mirrored, 0, MOST_COPIES))
    cuts = max(1, copies // COPIES_PER_CUT) if settings.data.cut_off else 0
    transforms = ClipTransforms(clips, settings.data)
    rows: list[np.ndarray] = []
    for index in indices:
        keypoint, time = transforms.described_joints(clips[int(index)])
        seen = np.isfinite(keypoint).all(axis=-1).astype(np.float32)
        views = [keypoint, flip(keypoint, seen, prepared.layout.flip_indices)[0]] if mirrored else [keypoint]
        rows += [describe_clip(view, time) for view in views]
        rows += [describe_clip(*varied(views[number % len(views)], time, rng)) for number in range(copies)]
        for number in range(cuts):
            part, when = varied(views[number % len(views)], time, rng)
            rows.append(describe_clip(cut_off(part, rng), when))
    times = 1 + mirrored + copies + cuts
    # Copies make the classifier robust; how well it works is judged by the clips and their mirror images.
    judged = np.tile(np.arange(times) < 1 + mirrored, len(indices))
    labels, groups = (np.repeat(each, times) for each in (clips.labels[indices], _groups_of(prepared, indices)))
    if known is not None:
        return extend(known, np.stack(rows), labels, groups, classes=prepared.num_classes)
    return fit(
        np.stack(rows),
        labels,
        groups,
        classes=prepared.num_classes,
        shares=[(size, SHARES[name]) for name, size in GROUPS],
        judged=judged,
    )


def left_out_clips(fitted: KernelRidge, prepared: Prepared) -> CrossValidated:
    """Return the classifier's logits for the training clips that it was fitted to, each without its group.

    Args:
        fitted: Result of `fit_movement`.
        prepared: Data and settings of the run.
    """
    indices = _fitted_indices(prepared, _generator(prepared))
    # The first of the rows of a clip is the clip itself; the others are copies.
    times = len(fitted.left_out) // len(indices)
    return CrossValidated(indices, fitted.left_out[::times], _groups_of(prepared, indices))


def _generator(prepared: Prepared) -> np.random.Generator:
    return np.random.default_rng([prepared.settings.training.seed, len(prepared.training)])


def _fitted_indices(prepared: Prepared, rng: np.random.Generator) -> np.ndarray:
    return _balanced(prepared.training, prepared.clips.labels[prepared.training], MOST_ROWS, rng)


def _groups_of(prepared: Prepared, indices: np.ndarray) -> np.ndarray:
    """Return what is left out together: groups such as persons, or single clips where these are not known."""
    # A clip without a group is one of its own.
    names = [(prepared.clips.groups[index], index if prepared.clips.groups[index] is None else -1) for index in indices]
    if len(set(names)) < 2:
        return np.arange(len(indices))
    numbers = {name: number for number, name in enumerate(dict.fromkeys(names))}
    return np.array([numbers[name] for name in names])


def _balanced(indices: np.ndarray, labels: np.ndarray, most: int, rng: np.random.Generator) -> np.ndarray:
    """Return all indices, or at most `most` of them, the same number of each class as far as possible, in order."""
    if len(indices) <= most:
        return indices
    order = rng.permutation(len(indices))
    # Position of each clip within its class: all first ones, then all second ones, and so on.
    place = np.empty(len(indices), np.int64)
    for label in np.unique(labels):
        own = order[labels[order] == label]
        place[own] = np.arange(len(own))
    return indices[np.sort(np.argsort(place, kind="stable")[:most])]
