"""Fitting the classifier of descriptors to the clips of a run."""

from dataclasses import dataclass

import numpy as np

from recognition.data.clip_transforms import AUTO_FLIP, ClipTransforms, flip_probability
from recognition.data.descriptors.copies import cut_off, varied
from recognition.data.descriptors.extending import Known, extend
from recognition.data.descriptors.kernel_ridge import (
    ROWS_OF_CHOICE,
    KernelRidge,
    elsewhere,
    fit,
    left_out_likelihood,
    only,
    rows_of_choice,
)
from recognition.data.descriptors.movement import GROUPS, describe_clip
from recognition.data.transforms.augmentation import flip
from recognition.training.calibrating import CrossValidated
from recognition.training.initialising import earlier_run
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
_SHARES_OF_GROUPS = [(size, SHARES[name]) for name, size in GROUPS]
# Odds that mirror images help, before any clip is looked at. With even odds, chance decides where all clips are
# recognised either way: on yoga, 97.3 % of the test clips were right instead of all. And the gain in log-likelihood per
# clip that doing without them must bring, so that chance does not decide on sets of hundreds of clips, either.
ODDS_OF_MIRRORING, LEAST_GAIN = 3.0, 0.01
# Most training clips that are fitted to; with their mirror images and random copies they are at most as many rows, if
# there is room for copies. Held-out clips may add as many rows again. Most random copies of a clip.
MOST_ROWS, MOST_COPIES = 4000, 6
# For so many random copies, there is another one of a person who is cut off.
COPIES_PER_CUT = 3


def with_mirroring(prepared: Prepared) -> Prepared:
    """Resolve `data.flip`, if it is "auto": clips are mirrored unless left-out clips speak against it.

    Mirror images help where people do an action to either side, as in walking, and harm where all do it to the same
    side, as in playing the violin. What counts is the likelihood of each clip itself for classifiers that have not seen
    its person, with and without mirror images among their training clips. The answer is used for the network as well,
    whose training would take much longer to ask.

    A classifier that extends an earlier one mirrors as that one did, whose rows it keeps.

    Args:
        prepared: Data and settings of a run; those without a classifier of descriptors are returned as they are.

    Raises:
        WeightsError: The earlier run does not exist, or is damaged.
    """
    settings = prepared.settings
    data = settings.data
    if data.flip != "auto" or data.descriptors is not True:
        return prepared
    if settings.training.keep_descriptors:
        earlier = None if settings.init is None else earlier_run(settings.init)
        flip_share = data.flip if earlier is None else earlier.settings.data.flip
    else:
        flip_share = 0.0 if _mirror_images_harm(prepared) else AUTO_FLIP
    return prepared.with_settings(settings.model_copy(update={"data": data.model_copy(update={"flip": flip_share})}))


def _mirror_images_harm(prepared: Prepared) -> bool:
    """Compare classifiers of the same clips with and without their mirror images, both without random copies."""
    rng = _generator(prepared)
    indices = _fitted_indices(prepared, rng)
    # With their mirror images, they are at most as many rows as a choice is made with.
    indices = indices[rows_of_choice(_groups_of(prepared, indices), ROWS_OF_CHOICE // 2)]
    rows, labels, groups = _rows_of(prepared, indices, _Views(mirrored=True, copies=0, cuts=0), rng)
    itself = np.arange(len(rows)) % 2 == 0

    def likelihood(kept: np.ndarray) -> float:
        own = (rows[kept], labels[kept], groups[kept])
        return left_out_likelihood(*own, classes=prepared.num_classes, shares=_SHARES_OF_GROUPS, judged=itself[kept])

    gain = likelihood(itself) - likelihood(np.ones(len(rows), bool))
    return gain > max(np.log(ODDS_OF_MIRRORING), LEAST_GAIN * len(indices))


def fit_movement(prepared: Prepared, known: Known | None = None) -> KernelRidge:
    """Fit the classifier to the run's training clips and held-out clips, their mirror images and random copies.

    Kernel and weights are chosen by leaving out each person in turn. The more people there are, the better, so those of
    the held-out clips take part; `without_held_out_clips` returns what these clips can be judged by.

    With more than `MOST_ROWS` training clips, it is fitted to a part in which classes occur as equally as possible.

    Args:
        prepared: Data and settings of the run.
        known: An earlier classifier with class numbers of this run, whose training descriptors are kept. The training
            clips are added to it, and its kernel and weights stay.
    """
    rng = _generator(prepared)
    indices = _training_indices(prepared, rng) if known is not None else _fitted_indices(prepared, rng)
    views = _views_of(prepared, indices)
    rows, labels, groups = _rows_of(prepared, indices, views, rng)
    if known is not None:
        return extend(known, rows, labels, classes=prepared.num_classes)
    # Copies make the classifier robust; how well it works is judged by the clips and their mirror images.
    judged = np.tile(np.arange(views.total) < 1 + views.mirrored, len(indices))
    return fit(
        rows,
        labels,
        groups,
        classes=prepared.num_classes,
        shares=_SHARES_OF_GROUPS,
        judged=judged,
    )


def without_held_out_clips(fitted: KernelRidge, prepared: Prepared) -> KernelRidge:
    """Return the classifier fitted to the training clips alone, with the same kernel, weights and sharpness.

    Its answers to the held-out clips choose the epoch and the share of the network, and calibrate the probabilities.

    Args:
        fitted: Result of `fit_movement`, without an earlier classifier.
        prepared: Data and settings of the run.
    """
    if not len(prepared.held_out):
        return fitted
    indices = _fitted_indices(prepared, _generator(prepared))
    views = _views_of(prepared, indices)
    kept = np.repeat(np.isin(indices, prepared.training), views.total)
    labels = np.repeat(prepared.clips.labels[indices], views.total)
    return only(fitted, kept, labels, classes=prepared.num_classes)


@dataclass(frozen=True)
class _Views:
    """How often a clip is described: whether mirrored as well, in how many random copies, and in how many cut off."""

    mirrored: bool
    copies: int
    cuts: int

    @property
    def total(self) -> int:
        return 1 + self.mirrored + self.copies + self.cuts


def copies_for(clips: int, *, mirrored: bool) -> int:
    """Return the number of random copies of each of so many clips, 0 to `MOST_COPIES`.

    Args:
        clips: Number of clips that the classifier is fitted to, at least 1.
        mirrored: Whether their mirror images are described as well.
    """
    return int(np.clip(MOST_ROWS // clips - 1 - mirrored, 0, MOST_COPIES))


def _views_of(prepared: Prepared, indices: np.ndarray) -> _Views:
    """Return how each of these clips is described: the more training clips are among them, the fewer random copies.

    Held-out clips do not count, so that holding some out never costs the others their copies.
    """
    data = prepared.settings.data
    mirrored = flip_probability(data, prepared.layout) > 0
    copies = copies_for(int(np.isin(indices, prepared.training).sum()), mirrored=mirrored)
    return _Views(mirrored, copies, cuts=max(1, copies // COPIES_PER_CUT) if data.cut_off else 0)


def _rows_of(
    prepared: Prepared, indices: np.ndarray, views: _Views, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return descriptors of N clips in all views (N * total, D), with the label and the group of each.

    The first view of a clip is the clip itself.
    """
    transforms = ClipTransforms(prepared.clips, prepared.settings.data)
    rows: list[np.ndarray] = []
    for index in indices:
        keypoint, time = transforms.described_joints(prepared.clips[int(index)])
        seen = np.isfinite(keypoint).all(axis=-1).astype(np.float32)
        sides = [keypoint, flip(keypoint, seen, prepared.layout.flip_indices)[0]] if views.mirrored else [keypoint]
        rows += [describe_clip(side, time) for side in sides]
        rows += [describe_clip(*varied(sides[number % len(sides)], time, rng)) for number in range(views.copies)]
        for number in range(views.cuts):
            part, when = varied(sides[number % len(sides)], time, rng)
            rows.append(describe_clip(cut_off(part, rng), when))
    of_clips = (prepared.clips.labels[indices], _groups_of(prepared, indices))
    labels, groups = (np.repeat(each, views.total) for each in of_clips)
    return np.stack(rows), labels, groups


def left_out_clips(fitted: KernelRidge, prepared: Prepared) -> CrossValidated:
    """Return the classifier's logits for the training clips that it was fitted to, each without its group.

    Held-out clips are not among them.

    Args:
        fitted: Result of `fit_movement`.
        prepared: Data and settings of the run.
    """
    indices = _fitted_indices(prepared, _generator(prepared))
    own = fitted.left_out[:: _views_of(prepared, indices).total]
    apart = np.isin(indices, prepared.training)
    return CrossValidated(indices[apart], own[apart], _groups_of(prepared, indices[apart]))


def _generator(prepared: Prepared) -> np.random.Generator:
    return np.random.default_rng([prepared.settings.training.seed, len(prepared.training)])


def _fitted_indices(prepared: Prepared, rng: np.random.Generator) -> np.ndarray:
    """Return training clips, and the same part of the held-out clips, as far as there is room for them."""
    training, held_out = _training_indices(prepared, rng), prepared.held_out
    same_part = len(held_out) * len(training) // len(prepared.training)
    most = max(1, min(same_part, MOST_ROWS // _views_of(prepared, training).total))
    return np.concatenate([training, _balanced(held_out, prepared.clips.labels[held_out], most, rng)])


def _training_indices(prepared: Prepared, rng: np.random.Generator) -> np.ndarray:
    return _balanced(prepared.training, prepared.clips.labels[prepared.training], MOST_ROWS, rng)


def note_on_groups(prepared: Prepared) -> str | None:
    """Return a note if the groups of the clips could not be used, because each has actions of its own."""
    indices = np.concatenate([prepared.training, prepared.held_out])
    groups = _numbers_of_groups(prepared, indices)
    named = any(prepared.clips.groups[index] is not None for index in indices)
    if not named or elsewhere(prepared.clips.labels[indices], groups).any():
        return None
    return (
        "no action occurs in two groups (such as persons), so probabilities are calibrated on single clips, and may be "
        "too high for people who were not recorded"
    )


def _groups_of(prepared: Prepared, indices: np.ndarray) -> np.ndarray:
    """Return what is left out together: groups such as persons, or single clips where groups tell nothing.

    They do if some class occurs in two groups. Where each action has a person of its own, leaving out a person would
    leave nothing that the action could be recognised by.
    """
    groups = _numbers_of_groups(prepared, indices)
    return groups if elsewhere(prepared.clips.labels[indices], groups).any() else np.arange(len(indices))


def _numbers_of_groups(prepared: Prepared, indices: np.ndarray) -> np.ndarray:
    """Return the number of the group of each clip; a clip without a group is one of its own."""
    names = [(prepared.clips.groups[index], index if prepared.clips.groups[index] is None else -1) for index in indices]
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
