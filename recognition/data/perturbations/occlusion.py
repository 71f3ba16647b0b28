"""Occlusion of joints, body parts and frames in the network's input.

Applied after `crop_scale`, so that the remaining joints keep their positions. (x, y) and score become zero, as for
unseen joints.

Occlusions per frame are drawn over the clip's duration (`grid_rows`), so that networks with different numbers of input
frames lose the same ones, as far as they see the same frames.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from recognition.data.perturbations.base import GRID, Space, drop_joints, grid_rows, smallest


class _AtInput:
    """Base class: perturbations of the network's input."""

    @property
    def space(self) -> Space:
        return "model"


@dataclass(frozen=True)
class PartOcclusion(_AtInput):
    """Hides some joints of every person in all frames.

    Args:
        joints: Indices of the joints, such as `COCO17.parts["left_arm"]`.
    """

    joints: tuple[int, ...]

    def __call__(
        self,
        keypoint: np.ndarray,
        score: np.ndarray,
        rng: np.random.Generator,
        size: tuple[int, int] | None = None,
    ) -> tuple[np.ndarray, np.ndarray]:
        gone = np.zeros(score.shape, bool)
        gone[..., list(self.joints)] = True
        return drop_joints(keypoint, score, gone, 0)


@dataclass(frozen=True)
class JointOcclusion(_AtInput):
    """Hides a random share of each person's joints.

    Args:
        share: 0 to 1; exactly this share of the T x V cells, rounded to a whole cell.
        whole: Whether joints are hidden in all frames: this share of the V joints, rounded to a whole joint.
    """

    share: float
    whole: bool = False

    def __call__(
        self,
        keypoint: np.ndarray,
        score: np.ndarray,
        rng: np.random.Generator,
        size: tuple[int, int] | None = None,
    ) -> tuple[np.ndarray, np.ndarray]:
        persons, frames, joints = score.shape
        numbers = (
            rng.random((persons, 1, joints))
            if self.whole
            else rng.random((persons, GRID, joints))[:, grid_rows(frames)]
        )
        hidden = np.stack([smallest(own, round(self.share * own.size)) for own in numbers])
        return drop_joints(keypoint, score, np.broadcast_to(hidden, score.shape), 0)


@dataclass(frozen=True)
class FrameMasking(_AtInput):
    """Hides a random share of the frames, the same for all persons.

    Args:
        share: 0 to 1, rounded to a whole frame; deletion always keeps at least one frame.
        by: "deletion" shortens the clip, and with it the network's temporal embedding; "zeros" keeps its length, and
            nothing is seen in those frames.
    """

    share: float
    by: Literal["deletion", "zeros"] = "deletion"

    def __call__(
        self,
        keypoint: np.ndarray,
        score: np.ndarray,
        rng: np.random.Generator,
        size: tuple[int, int] | None = None,
    ) -> tuple[np.ndarray, np.ndarray]:
        frames = score.shape[1]
        count = round(self.share * frames)
        numbers = rng.random(GRID)[grid_rows(frames)]
        gone = smallest(numbers, min(count, frames - 1) if self.by == "deletion" else count)
        if self.by == "deletion":
            return keypoint[:, ~gone], score[:, ~gone]
        return drop_joints(keypoint, score, np.broadcast_to(gone[:, None], score.shape), 0)


@dataclass(frozen=True)
class SpatialOcclusion(_AtInput):
    """Hides random body parts of each person in all frames (PCM3's spatial occlusion).

    Args:
        parts: Joint indices of each part.
        low: Smallest share of the parts to hide; drawn from [low, high] for each person and rounded to a whole part.
        high: Largest share, up to 1.
    """

    parts: tuple[tuple[int, ...], ...]
    low: float = 0.3
    high: float = 0.7

    def __call__(
        self,
        keypoint: np.ndarray,
        score: np.ndarray,
        rng: np.random.Generator,
        size: tuple[int, int] | None = None,
    ) -> tuple[np.ndarray, np.ndarray]:
        gone = np.zeros(score.shape, bool)
        for person in range(len(score)):
            count = round(rng.uniform(self.low, self.high) * len(self.parts))
            for part in rng.permutation(len(self.parts))[:count]:
                gone[person, :, list(self.parts[part])] = True
        return drop_joints(keypoint, score, gone, 0)


@dataclass(frozen=True)
class TemporalOcclusion(_AtInput):
    """Hides all persons in a contiguous block of frames (PCM3's temporal occlusion).

    Args:
        low: Smallest share of the frames to hide; drawn from [low, high] for each clip and rounded to a whole frame.
            The position of the block is uniformly distributed.
        high: Largest share, up to 1.
    """

    low: float = 0.3
    high: float = 0.7

    def __call__(
        self,
        keypoint: np.ndarray,
        score: np.ndarray,
        rng: np.random.Generator,
        size: tuple[int, int] | None = None,
    ) -> tuple[np.ndarray, np.ndarray]:
        frames = score.shape[1]
        count = round(rng.uniform(self.low, self.high) * frames)
        start = int(rng.random() * (frames - count + 1))
        gone = np.zeros(score.shape, bool)
        gone[:, start : start + count] = True
        return drop_joints(keypoint, score, gone, 0)
