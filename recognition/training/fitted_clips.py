"""The clips that the classifier of descriptors is fitted to: which ones, in which views, and their descriptors.

The choice depends on the data and the settings of a run only, so it can be repeated instead of being stored.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from recognition.data.clip_transforms import ClipTransforms, flip_probability
from recognition.data.descriptors.copies import cut_off, varied
from recognition.data.descriptors.movement import describe_clip
from recognition.data.transforms.augmentation import flip
from recognition.training.clip_groups import groups_of
from recognition.training.preparation import Prepared

# Most training clips that are fitted to; with their mirror images and random copies they are at most as many rows, if
# there is room for copies. Held-out clips may add as many rows again. Most random copies of a clip.
MOST_ROWS, MOST_COPIES = 4000, 6
# For so many random copies, there is another one of a person who is cut off.
COPIES_PER_CUT = 3


@dataclass(frozen=True)
class Views:
    """How often a clip is described, in this order: itself, mirrored, in random copies, and in random copies cut off.

    Args:
        mirrored: Whether its mirror image is described; then every other copy is one of the mirror image.
        copies: Number of random copies, at least 0.
        cuts: Number of random copies of people who are cut off, at least 0.
    """

    mirrored: bool
    copies: int
    cuts: int

    @property
    def total(self) -> int:
        """Number of rows of a clip."""
        return 1 + self.mirrored + self.copies + self.cuts


@dataclass(frozen=True)
class FittedClips:
    """Clips that a classifier is fitted to, and in which views; built by `choose_clips`.

    Args:
        indices: int64 (N,), the clips, as numbered in the file: training clips, then held-out ones.
        trained: bool (N,), whether a clip is one of the training clips.
        labels: int64 (N,), 0 to K - 1.
        groups: int64 (N,), what is left out together; see `groups_of`.
        views: The views of each clip.
        random_state: State of the random generator from which the copies are drawn.
    """

    indices: np.ndarray
    trained: np.ndarray
    labels: np.ndarray
    groups: np.ndarray
    views: Views
    random_state: Mapping[str, Any]

    @classmethod
    def of(cls, prepared: Prepared, indices: np.ndarray, views: Views, rng: np.random.Generator) -> "FittedClips":
        """Look up labels and groups of clips.

        Args:
            prepared: Data of the run.
            indices: int64 (N,), clips of the run, as numbered in the file.
            views: The views of each clip.
            rng: Random generator whose present state the copies start from; it is not advanced.
        """
        return cls(
            indices=indices,
            trained=np.isin(indices, prepared.training),
            labels=prepared.clips.labels[indices],
            groups=groups_of(prepared, indices),
            views=views,
            random_state=rng.bit_generator.state,
        )

    def per_row(self, values: np.ndarray) -> np.ndarray:
        """Return values of clips (N, ...) for the rows of their descriptors, (N * views.total, ...)."""
        return np.repeat(values, self.views.total, axis=0)

    def describe(self, prepared: Prepared) -> np.ndarray:
        """Return the descriptors of all views, the same ones each time.

        Args:
            prepared: Data and settings of the run.

        Returns:
            float32 (N * views.total, D), the rows of a clip one after the other, in the order of `Views`; NaN where a
            number is unknown.
        """
        rng = np.random.default_rng()
        rng.bit_generator.state = dict(self.random_state)
        transforms, views = ClipTransforms(prepared.clips, prepared.settings.data), self.views
        rows: list[np.ndarray] = []
        for index in self.indices:
            keypoint, time = transforms.described_joints(prepared.clips[int(index)])
            seen = np.isfinite(keypoint).all(axis=-1).astype(np.float32)
            sides = [keypoint, flip(keypoint, seen, prepared.layout.flip_indices)[0]] if views.mirrored else [keypoint]
            rows += [describe_clip(side, time) for side in sides]
            rows += [describe_clip(*varied(sides[number % len(sides)], time, rng)) for number in range(views.copies)]
            for number in range(views.cuts):
                part, when = varied(sides[number % len(sides)], time, rng)
                rows.append(describe_clip(cut_off(part, rng), when))
        return np.stack(rows)


def choose_clips(prepared: Prepared, *, held_out: bool = True) -> FittedClips:
    """Choose the clips and the views that a classifier of a run is fitted to.

    With more than `MOST_ROWS` training clips, it is a part of them in which classes occur as equally as possible. The
    more training clips there are, the fewer random copies of each. Held-out clips do not count for that, so that
    holding some out never costs the others their copies: of them, the same part is taken as of the training clips, as
    far as there is room.

    Args:
        prepared: Data and settings of the run. "auto" for `data.flip` counts as mirroring.
        held_out: Whether to include held-out clips.

    Raises:
        UsageError: `data.flip` is above 0, but the layout does not define left and right joints.
    """
    settings, labels = prepared.settings, prepared.clips.labels
    rng = np.random.default_rng([settings.training.seed, len(prepared.training)])
    training = _balanced(prepared.training, labels[prepared.training], MOST_ROWS, rng)
    mirrored = flip_probability(settings.data, prepared.layout) > 0
    copies = copies_for(len(training), mirrored=mirrored)
    views = Views(mirrored, copies, cuts=max(1, copies // COPIES_PER_CUT) if settings.data.cut_off else 0)
    if not held_out:
        return FittedClips.of(prepared, training, views, rng)
    same_part = len(prepared.held_out) * len(training) // len(prepared.training)
    most = max(1, min(same_part, MOST_ROWS // views.total))
    further = _balanced(prepared.held_out, labels[prepared.held_out], most, rng)
    return FittedClips.of(prepared, np.concatenate([training, further]), views, rng)


def copies_for(clips: int, *, mirrored: bool) -> int:
    """Return the number of random copies of each of so many clips, 0 to `MOST_COPIES`.

    Args:
        clips: Number of training clips that the classifier is fitted to, at least 1.
        mirrored: Whether their mirror images are described as well.
    """
    return int(np.clip(MOST_ROWS // clips - 1 - mirrored, 0, MOST_COPIES))


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
