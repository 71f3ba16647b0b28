"""Where a clip's joints come from, and which of them were seen where their file does not say."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np


class Joints(Protocol):
    """Where a clip's joints come from when they are asked for."""

    @property
    def num_frames(self) -> int: ...

    def read(self) -> tuple[np.ndarray, np.ndarray | None]:
        """Joints (M, T, V, D) and scores (M, T, V) or None, of any float type."""
        ...

    def digest_parts(self) -> Sequence[np.ndarray]:
        """Arrays that tell this clip from others."""
        ...


@dataclass(frozen=True, slots=True)
class StoredJoints:
    """Joints that lie in the file itself."""

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
    """Which joints were seen, where a file has no scores: bool (M, T, V).

    In 2D, (0, 0) is the picture's corner, and stands for a joint that was not seen. In 3D it is a place like others:
    the root of every skeleton whose origin is its root. There a person is absent from a frame when all joints are zero.
    """
    seen: np.ndarray = (keypoint != 0).any(axis=-1) & np.isfinite(keypoint).all(axis=-1)
    if keypoint.shape[-1] == 3:
        return np.isfinite(keypoint).all(axis=-1) & seen.any(axis=-1, keepdims=True)
    return seen
