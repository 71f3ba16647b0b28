"""Displaced joints: Gaussian noise, and random positions for single joints."""

from dataclasses import dataclass

import numpy as np

from recognition.data.perturbations.base import GRID, Space, grid_rows


@dataclass(frozen=True)
class GaussianNoise:
    """Normal noise on every coordinate of every visible joint, independent for each person.

    Args:
        sigma: Standard deviation in units of the space; 0.01 in camera space is 9.6 pixels of a 1920-pixel frame.
        space: In "camera" space a frame that is repeated to fill a longer clip repeats its noise. In "model" space
            noise is drawn over the clip's duration (`grid_rows`), about the same for inputs of other lengths.
        constant: Whether the noise of a joint is the same in all frames (supplementary, section 7.1).
    """

    sigma: float
    space: Space = "camera"
    constant: bool = False

    def __call__(
        self,
        keypoint: np.ndarray,
        score: np.ndarray,
        rng: np.random.Generator,
        size: tuple[int, int] | None = None,
    ) -> tuple[np.ndarray, np.ndarray]:
        persons, frames, joints, dimensions = keypoint.shape
        rows = grid_rows(frames) if self.space == "model" else np.arange(frames)
        drawn = GRID if self.space == "model" else frames
        noise = rng.standard_normal((persons, 1 if self.constant else drawn, joints, dimensions), np.float32)
        if not self.constant:
            noise = noise[:, rows]
        disturbed = keypoint + np.where(score[..., None] > 0, noise * np.float32(self.sigma), np.float32(0))
        return (np.clip(disturbed, -1, 1) if self.space == "model" else disturbed), score


@dataclass(frozen=True)
class ShiftedJoints:
    """Moves some joints of every person, the same ones in all frames of the clip, to random points of the person's box.

    The point is uniformly distributed in the box around the person's visible joints in that frame. Only joints that are
    visible on some person in some frame are chosen, and unseen joints stay unseen.

    Args:
        count: Number of joints; all of them if a clip shows fewer.
        constant: Whether a joint keeps its relative position in the box over the clip, instead of a new one per frame.
    """

    count: int
    constant: bool = False

    @property
    def space(self) -> Space:
        return "camera"

    def __call__(
        self,
        keypoint: np.ndarray,
        score: np.ndarray,
        rng: np.random.Generator,
        size: tuple[int, int] | None = None,
    ) -> tuple[np.ndarray, np.ndarray]:
        persons, frames, _, dimensions = keypoint.shape
        seen = score > 0
        shown = np.flatnonzero(seen.any(axis=(0, 1)))
        chosen = rng.permutation(shown)[: self.count]
        place = rng.random((persons, 1 if self.constant else frames, len(chosen), dimensions), np.float32)
        points = np.where(seen[..., None], keypoint, np.float32(np.inf))
        low = points.min(axis=2, keepdims=True)
        high = np.where(seen[..., None], keypoint, np.float32(-np.inf)).max(axis=2, keepdims=True)
        there = seen[:, :, chosen, None]
        with np.errstate(invalid="ignore"):
            moved = low + place * (high - low)
        disturbed = keypoint.copy()
        disturbed[:, :, chosen] = np.where(there, moved, keypoint[:, :, chosen])
        return disturbed, score
