"""What the arrays of a clip in a skeleton file mean: which joints of which persons were seen."""

from collections.abc import Mapping
from typing import Any

import numpy as np


def seen_of(keypoint: np.ndarray) -> np.ndarray:
    """Return which joints were seen, for a file without scores.

    In 2D, (0, 0) is the corner of the image and marks a joint that was not seen. In 3D it is a valid position, because
    the root joint is the origin of many skeletons; there, a person is absent from a frame if all joints are zero.

    Args:
        keypoint: (M, T, V, D), D = 2 or 3.

    Returns:
        bool (M, T, V), True where a joint was seen.
    """
    seen: np.ndarray = (keypoint != 0).any(axis=-1) & np.isfinite(keypoint).all(axis=-1)
    if keypoint.shape[-1] == 3:
        return np.isfinite(keypoint).all(axis=-1) & seen.any(axis=-1, keepdims=True)
    return seen


def seen_joints(annotation: Mapping[str, Any], row: int) -> np.ndarray:
    """Return which joints of one person of a clip were seen, bool (T, V).

    Args:
        annotation: The clip.
        row: Position of the person in the clip.
    """
    keypoint, score = annotation["keypoint"][row : row + 1], annotation.get("keypoint_score")
    seen: np.ndarray = seen_of(keypoint)[0] if score is None else np.asarray(score[row]) > 0
    return seen


def track_ids(annotation: Mapping[str, Any]) -> list[int]:
    """Return the track number of each person of a clip; without any, persons are numbered by position."""
    return [int(name) for name in annotation.get("track_id", range(len(annotation["keypoint"])))]
