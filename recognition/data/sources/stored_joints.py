"""Sources of a clip's joints, and which joints were seen if the file stores no scores."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np


class Joints(Protocol):
    """Source of a clip's joints, read on demand."""

    @property
    def num_frames(self) -> int: ...

    def read(self) -> tuple[np.ndarray, np.ndarray | None]:
        """Return joints (M, T, V, D) and scores (M, T, V) or None, of any float type."""
        ...

    def digest_parts(self) -> Sequence[np.ndarray]:
        """Return arrays that identify the content of this clip."""
        ...


@dataclass(frozen=True, slots=True)
class StoredJoints:
    """Joints that are stored in the skeleton file itself."""

    keypoint: np.ndarray
    score: np.ndarray | None

    @property
    def num_frames(self) -> int:
        return self.keypoint.shape[1]

    def read(self) -> tuple[np.ndarray, np.ndarray | None]:
        return self.keypoint, self.score

    def digest_parts(self) -> Sequence[np.ndarray]:
        return [self.keypoint] if self.score is None else [self.keypoint, self.score]


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
