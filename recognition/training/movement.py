"""Fitting the classifier of descriptors to the clips of a run.

`fit_movement` fits it to the clips of `choose_clips`. The other functions repeat this choice, because they need to know
which row of the result belongs to which clip.
"""

import numpy as np

from recognition.data.descriptors.extending import Known, extend
from recognition.data.descriptors.kernel_ridge import KernelRidge, fit, only
from recognition.data.descriptors.movement import GROUPS
from recognition.training.calibrating import CrossValidated
from recognition.training.clip_groups import groups_of
from recognition.training.fitted_clips import choose_clips
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
# The same with the size of each group, in the order of the numbers.
SHARES_OF_GROUPS = [(size, SHARES[name]) for name, size in GROUPS]


def fit_movement(prepared: Prepared, known: Known | None = None) -> KernelRidge:
    """Fit the classifier to the run's training clips and held-out clips, their mirror images and random copies.

    Kernel and weights are chosen by leaving out each person in turn. The more people there are, the better, so those of
    the held-out clips take part; `without_held_out_clips` returns what these clips can be judged by.

    Args:
        prepared: Data and settings of the run.
        known: An earlier classifier with class numbers of this run, whose training descriptors are kept. The training
            clips are added to it, and its kernel and weights stay.
    """
    clips = choose_clips(prepared, held_out=known is None)
    rows, labels = clips.describe(prepared), clips.per_row(clips.labels)
    if known is not None:
        return extend(known, rows, labels, classes=prepared.num_classes)
    # Copies make the classifier robust; how well it works is judged by the clips and their mirror images.
    judged = np.tile(np.arange(clips.views.total) < 1 + clips.views.mirrored, len(clips.indices))
    return fit(
        rows,
        labels,
        clips.per_row(clips.groups),
        classes=prepared.num_classes,
        shares=SHARES_OF_GROUPS,
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
    clips = choose_clips(prepared)
    return only(fitted, clips.per_row(clips.trained), clips.per_row(clips.labels), classes=prepared.num_classes)


def left_out_clips(fitted: KernelRidge, prepared: Prepared) -> CrossValidated:
    """Return the classifier's logits for the training clips that it was fitted to, each without its group.

    Held-out clips are not among them.

    Args:
        fitted: Result of `fit_movement`, without an earlier classifier.
        prepared: Data and settings of the run.
    """
    clips = choose_clips(prepared)
    # The first row of a clip is the clip itself.
    own = fitted.left_out[:: clips.views.total]
    indices = clips.indices[clips.trained]
    return CrossValidated(indices, own[clips.trained], groups_of(prepared, indices))
