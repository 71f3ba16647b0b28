"""Random subsets of labelled clips for the semi-supervised protocol."""

import numpy as np


def labelled_share(labels: np.ndarray, share: float, *, seed: int) -> np.ndarray:
    """Return the increasing indices of about `share` of the clips, stratified by class, with at least one clip per
    class.

    Args:
        labels: int (N,).
        share: In (0, 1].
        seed: Seed of the choice, so that all encoders are fine-tuned on the same clips.
    """
    rng = np.random.default_rng(seed)
    chosen = []
    for label in np.unique(labels):
        places = rng.permutation(np.flatnonzero(labels == label))
        chosen.append(places[: max(1, round(share * len(places)))])
    return np.sort(np.concatenate(chosen))
