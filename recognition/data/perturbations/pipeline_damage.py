"""Artefacts that detectors, trackers and recorders cause in skeletons, applied to the clip's own frames.

All are in camera space. As usual, `follow_two` then orders the persons of clips without identities, so that
measurements show the damage that remains after it.
"""

from dataclasses import dataclass

import numpy as np

from recognition.data.perturbations.base import Space, drop_joints

# Longest interruption of a person, in frames.
LOST_FOR = 10


class _OnFrames:
    """Base class: perturbations of the clip's own frames."""

    @property
    def space(self) -> Space:
        return "camera"


@dataclass(frozen=True)
class IdentitySwitches(_OnFrames):
    """Two persons swap places, with their scores, from some frame on. Clips of one person are unchanged.

    Args:
        rate: Probability of a swap between consecutive frames, 0 to 1; the two persons are drawn at random.
    """

    rate: float

    def __call__(
        self,
        keypoint: np.ndarray,
        score: np.ndarray,
        rng: np.random.Generator,
        size: tuple[int, int] | None = None,
    ) -> tuple[np.ndarray, np.ndarray]:
        persons, frames = score.shape[:2]
        if persons < 2:
            return keypoint, score
        order = np.tile(np.arange(persons)[:, None], frames)  # (M, T): index of the person at each place
        switches = np.flatnonzero(rng.random(frames - 1) < self.rate) + 1
        for frame in switches:
            pair = rng.permutation(persons)[:2]
            order[pair, frame:] = order[pair[::-1], frame:]
        at = np.arange(frames)
        return keypoint[order, at], score[order, at]


@dataclass(frozen=True)
class LeftRightSwaps(_OnFrames):
    """Swaps left and right joints, with their scores, in random frames of each person.

    Args:
        share: Share of the frames, 0 to 1, rounded to a whole frame.
        flip_indices: Index of the mirrored joint of each joint.
    """

    share: float
    flip_indices: tuple[int, ...]

    def __call__(
        self,
        keypoint: np.ndarray,
        score: np.ndarray,
        rng: np.random.Generator,
        size: tuple[int, int] | None = None,
    ) -> tuple[np.ndarray, np.ndarray]:
        persons, frames = score.shape[:2]
        swapped = np.zeros((persons, frames), bool)
        for person in range(persons):
            swapped[person, rng.permutation(frames)[: round(self.share * frames)]] = True
        mirror = list(self.flip_indices)
        return (
            np.where(swapped[..., None, None], keypoint[:, :, mirror], keypoint),
            np.where(swapped[..., None], score[:, :, mirror], score),
        )


@dataclass(frozen=True)
class DroppedPeople(_OnFrames):
    """Loses each person in some frames, up to `LOST_FOR` consecutive frames at a time.

    Args:
        share: Share of the frames, 0 to 1, rounded to a whole frame.
    """

    share: float

    def __call__(
        self,
        keypoint: np.ndarray,
        score: np.ndarray,
        rng: np.random.Generator,
        size: tuple[int, int] | None = None,
    ) -> tuple[np.ndarray, np.ndarray]:
        persons, frames = score.shape[:2]
        lost = np.zeros((persons, frames), bool)
        for own in lost:
            left = round(self.share * frames)
            while left:
                start = int(rng.integers(frames))
                stretch = np.flatnonzero(~own[start : start + LOST_FOR])[:left] + start
                own[stretch] = True
                left -= len(stretch)
        return drop_joints(keypoint, score, np.broadcast_to(lost[..., None], score.shape), np.nan)


@dataclass(frozen=True)
class LowerFrameRate(_OnFrames):
    """Keeps every `factor`-th frame, with a random offset.

    Args:
        factor: 1 or more. Clips with fewer frames keep one.
    """

    factor: int

    def __call__(
        self,
        keypoint: np.ndarray,
        score: np.ndarray,
        rng: np.random.Generator,
        size: tuple[int, int] | None = None,
    ) -> tuple[np.ndarray, np.ndarray]:
        start = int(rng.integers(min(self.factor, score.shape[1])))
        return keypoint[:, start :: self.factor], score[:, start :: self.factor]


@dataclass(frozen=True)
class LowerConfidence(_OnFrames):
    """Lowers scores, as if the estimator were less confident; joints keep their positions.

    Joints whose score falls below a run's threshold become unseen; the code that knows the run applies the threshold.

    Args:
        loss: Relative reduction of scores, 0 to below 1.
    """

    loss: float

    def __call__(
        self,
        keypoint: np.ndarray,
        score: np.ndarray,
        rng: np.random.Generator,
        size: tuple[int, int] | None = None,
    ) -> tuple[np.ndarray, np.ndarray]:
        return keypoint, score * np.float32(1 - self.loss)


@dataclass(frozen=True)
class FrameCrop(_OnFrames):
    """Crops the image: joints outside a window, the same in all frames, become unseen. For clips in 2D.

    Coordinates are then relative to the window, as in a cropped video: from its corner, in units of half its longer
    side. The window has the frame's aspect ratio, the only property of the frame's size that later steps use.

    Args:
        cut: Relative reduction of height and width, 0 to below 1. The position of the window is drawn at random.
    """

    cut: float

    def __call__(
        self,
        keypoint: np.ndarray,
        score: np.ndarray,
        rng: np.random.Generator,
        size: tuple[int, int] | None = None,
    ) -> tuple[np.ndarray, np.ndarray]:
        if size is None:
            raise ValueError("a crop of the frame needs the frame's size, which clips in 3D do not have")
        if not self.cut:
            # An estimator may place joints outside the image; they stay.
            return keypoint, score
        height, width = size
        extent = np.array([width, height], np.float32) * np.float32(2 / max(size))
        low = rng.uniform(0, self.cut, 2).astype(np.float32) * extent - 1
        high = low + extent * np.float32(1 - self.cut)
        with np.errstate(invalid="ignore"):
            outside = ((keypoint < low) | (keypoint > high)).any(axis=-1)
        return drop_joints((keypoint - low) / np.float32(1 - self.cut) - np.float32(1), score, outside, np.nan)
