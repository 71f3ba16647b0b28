"""Damage that detectors, trackers and recorders do to skeletons, on the clip's own frames.

All are in camera space. A clip whose persons come without identities is put in order afterwards by `follow_two`, as
ever: what is measured is the damage that is left.
"""

from dataclasses import dataclass

import numpy as np

from recognition.perturbations.base import Space, without

# Frames that someone is lost for at a time.
LOST_FOR = 10


class _OnFrames:
    """What all of these have in common."""

    @property
    def space(self) -> Space:
        return "camera"


@dataclass(frozen=True)
class IdentitySwitches(_OnFrames):
    """Two persons change places from some frame on, with their scores. Nothing happens to a clip of one person.

    Args:
        rate: Probability of a switch from a frame to the next, 0 to 1; which two persons is drawn.
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
        order = np.tile(np.arange(persons)[:, None], frames)  # (M, T): whose pose stands where
        switches = np.flatnonzero(rng.random(frames - 1) < self.rate) + 1
        for frame in switches:
            pair = rng.permutation(persons)[:2]
            order[pair, frame:] = order[pair[::-1], frame:]
        at = np.arange(frames)
        return keypoint[order, at], score[order, at]


@dataclass(frozen=True)
class LeftRightSwaps(_OnFrames):
    """In some frames of each person, drawn one by one, left joints are taken for right ones, with their scores.

    Args:
        share: Of the frames, 0 to 1, rounded to a whole frame.
        flip_indices: The mirrored joint of each joint.
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
    """Each person is lost in some frames, up to `LOST_FOR` of them in a row.

    Args:
        share: Of the frames, 0 to 1, rounded to a whole frame.
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
        return without(keypoint, score, np.broadcast_to(lost[..., None], score.shape), np.nan)


@dataclass(frozen=True)
class LowerFrameRate(_OnFrames):
    """Every `factor`-th frame alone is there; which one is the first is drawn.

    Args:
        factor: From 1 on. Of a clip with fewer frames than this, one is left.
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
    """Scores are lower, as those of an estimator that is less sure; joints stay where they are.

    Those that fall below a run's threshold are then not seen, which is up to who knows the run.

    Args:
        loss: What a score loses of itself, 0 to below 1.
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
    """A smaller picture: joints outside a window, the same in all frames, are not seen. For clips in 2D.

    Places are told in the window, as in a video that was cropped: from its corner, in halves of its longer side. Its
    sides have the ratio of the frame's, which is all that later steps take of the frame's size.

    Args:
        cut: What height and width lose of themselves, 0 to below 1. Where the window lies is drawn.
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
            # An estimator may put joints outside the picture; they stay.
            return keypoint, score
        height, width = size
        extent = np.array([width, height], np.float32) * np.float32(2 / max(size))
        low = rng.uniform(0, self.cut, 2).astype(np.float32) * extent - 1
        high = low + extent * np.float32(1 - self.cut)
        with np.errstate(invalid="ignore"):
            outside = ((keypoint < low) | (keypoint > high)).any(axis=-1)
        return without((keypoint - low) / np.float32(1 - self.cut) - np.float32(1), score, outside, np.nan)
