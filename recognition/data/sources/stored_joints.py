"""Sources of a clip's joints."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np


class Joints(Protocol):
    """Source of a clip's joints, read on demand."""

    @property
    def num_frames(self) -> int: ...

    def read(self, *, exact: bool = True) -> tuple[np.ndarray, np.ndarray | None]:
        """Return joints (M, T, V, D) and scores (M, T, V) or None.

        Args:
            exact: Whether the joints must have the float type that is stored; otherwise the one that is fastest.
        """
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

    def read(self, *, exact: bool = True) -> tuple[np.ndarray, np.ndarray | None]:
        return self.keypoint, self.score

    def digest_parts(self) -> Sequence[np.ndarray]:
        return [self.keypoint] if self.score is None else [self.keypoint, self.score]


@dataclass(frozen=True, slots=True)
class PartJoints:
    """Joints of one person of a clip, in some of its frames.

    Args:
        whole: Joints of the clip.
        row: Position of the person.
        first: First frame.
        last: Frame after the last.
    """

    whole: Joints
    row: int
    first: int
    last: int

    @property
    def num_frames(self) -> int:
        return self.last - self.first

    def read(self, *, exact: bool = True) -> tuple[np.ndarray, np.ndarray | None]:
        keypoint, score = self.whole.read(exact=exact)
        rows, frames = slice(self.row, self.row + 1), slice(self.first, self.last)
        return keypoint[rows, frames], None if score is None else score[rows, frames]

    def digest_parts(self) -> Sequence[np.ndarray]:
        return [array for array in self.read() if array is not None]
