"""Groups of the clips of a run, such as persons: what the classifier of descriptors leaves out together."""

import numpy as np

from recognition.data.descriptors.kernel_ridge import elsewhere
from recognition.training.preparation import Prepared


def groups_of(prepared: Prepared, indices: np.ndarray) -> np.ndarray:
    """Return what is left out together: groups such as persons, or single clips where groups tell nothing.

    Groups are used if some class occurs in two of them. Where each action has a person of its own, leaving out a person
    would leave nothing that the action could be recognised by.

    Args:
        prepared: Data of the run.
        indices: int64 (N,), clips of the run, as numbered in the file.

    Returns:
        int64 (N,), numbers from 0. They depend on all of `indices`: a part of these clips may have other numbers.
    """
    groups = _numbers_of_groups(prepared, indices)
    return groups if elsewhere(prepared.clips.labels[indices], groups).any() else np.arange(len(indices))


def note_on_groups(prepared: Prepared) -> str | None:
    """Return a note if the groups of the clips could not be used, because each has actions of its own.

    Args:
        prepared: Data of the run; training clips and held-out clips are looked at.
    """
    indices = np.concatenate([prepared.training, prepared.held_out])
    groups = _numbers_of_groups(prepared, indices)
    named = any(prepared.clips.groups[index] is not None for index in indices)
    if not named or elsewhere(prepared.clips.labels[indices], groups).any():
        return None
    return (
        "no action occurs in two groups (such as persons), so probabilities are calibrated on single clips, and may be "
        "too high for people who were not recorded"
    )


def _numbers_of_groups(prepared: Prepared, indices: np.ndarray) -> np.ndarray:
    """Return the number of the group of each clip; a clip without a group is one of its own."""
    names = [(prepared.clips.groups[index], index if prepared.clips.groups[index] is None else -1) for index in indices]
    numbers = {name: number for number, name in enumerate(dict.fromkeys(names))}
    return np.array([numbers[name] for name in names])
