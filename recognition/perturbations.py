"""Disturbances of skeletons that robustness is measured with (section 4.3 of the MaskCLR paper).

Each is drawn from a generator that is keyed to the seed and the clip, so that two models see the same one.
"""

from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np

Space = Literal["camera", "model"]


class Perturbation(Protocol):
    """Takes keypoint (M, T, V, D) and score (M, T, V), gives back the same, changed; the inputs stay as they are.

    In space "camera" it gets the clip's own frames in units of half the frame's longer side, before anything is sampled
    or drawn, NaN where a joint was not seen. In space "model" it gets what the network is given, zero where not seen.
    """

    @property
    def space(self) -> Space: ...

    def __call__(
        self, keypoint: np.ndarray, score: np.ndarray, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]: ...


@dataclass(frozen=True)
class GaussianNoise:
    """Normal noise on every coordinate of every joint that was seen, each person and frame by itself.

    Args:
        sigma: Standard deviation in the unit of the space; 0.01 in camera space is 9.6 pixels of a 1920-pixel frame.
        space: In camera space a frame that is repeated to fill a longer clip repeats its noise.
    """

    sigma: float
    space: Space = "camera"

    def __call__(
        self, keypoint: np.ndarray, score: np.ndarray, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        noise = rng.standard_normal(keypoint.shape, np.float32) * np.float32(self.sigma)
        disturbed = keypoint + np.where(score[..., None] > 0, noise, np.float32(0))
        return (np.clip(disturbed, -1, 1) if self.space == "model" else disturbed), score


@dataclass(frozen=True)
class JointOcclusion:
    """A share of each person's joints, over all frames and joints together, taken away at random.

    Args:
        share: Of the T x V cells, 0 to 1; exactly this share, rounded to a whole cell.
    """

    share: float

    @property
    def space(self) -> Space:
        return "model"

    def __call__(
        self, keypoint: np.ndarray, score: np.ndarray, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        persons, frames, joints = score.shape
        cells = frames * joints
        hidden = np.zeros((persons, cells), bool)
        for person in range(persons):
            hidden[person, rng.permutation(cells)[: round(self.share * cells)]] = True
        hidden = hidden.reshape(score.shape)
        return np.where(hidden[..., None], np.float32(0), keypoint), np.where(hidden, np.float32(0), score)
