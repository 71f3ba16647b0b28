"""Joints, body parts and frames that are taken away from what the network is given.

At the network's input, after `crop_scale`: what is left stays where it was. (x, y) and score become zero, as for a
joint that was not seen.

What is drawn by frames is drawn over the clip's time (`grid_rows`), so that networks that see other numbers of frames
lose the same ones, as far as they see the same.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from recognition.perturbations.base import GRID, Space, grid_rows, smallest, without


class _AtInput:
    """What all of these have in common."""

    @property
    def space(self) -> Space:
        return "model"


@dataclass(frozen=True)
class PartOcclusion(_AtInput):
    """Some joints of every person, taken away in all frames.

    Args:
        joints: Which ones, such as `COCO17.parts["left_arm"]`.
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
        return without(keypoint, score, gone, 0)


@dataclass(frozen=True)
class JointOcclusion(_AtInput):
    """A share of each person's joints taken away at random.

    Args:
        share: 0 to 1; exactly this share of the T x V cells, rounded to a whole cell.
        whole: Whether whole joints go, in all frames alike: this share of the V joints, rounded to a whole joint.
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
        return without(keypoint, score, np.broadcast_to(hidden, score.shape), 0)


@dataclass(frozen=True)
class FrameMasking(_AtInput):
    """A share of the frames, drawn at random, the same for all persons.

    Args:
        share: 0 to 1, rounded to a whole frame; of deletion, one frame is always left.
        by: "deletion" makes the clip shorter, the network's temporal embedding with it; "zeros" keeps its length, and
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
        return without(keypoint, score, np.broadcast_to(gone[:, None], score.shape), 0)


@dataclass(frozen=True)
class SpatialOcclusion(_AtInput):
    """Some body parts of each person, drawn at random, taken away in all frames (PCM3's spatial occlusion).

    Args:
        parts: Joints of each part.
        low: The share of the parts that goes is drawn from [low, high] for each person, and rounded to a whole part.
        high: Up to 1.
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
        return without(keypoint, score, gone, 0)


@dataclass(frozen=True)
class TemporalOcclusion(_AtInput):
    """A contiguous block of frames in which nobody is seen (PCM3's temporal occlusion).

    Args:
        low: The block's share of the frames is drawn from [low, high] for each clip, and rounded to a whole frame. It
            begins anywhere where it fits in.
        high: Up to 1.
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
        return without(keypoint, score, gone, 0)
