"""What every disturbance of skeletons is: a function of a clip's joints and scores and of a generator."""

from typing import Literal, Protocol

import numpy as np

Space = Literal["camera", "model"]


class Perturbation(Protocol):
    """Takes keypoint (M, T, V, D) and score (M, T, V), gives back the same, changed; the inputs stay as they are.

    In space "camera" it gets the clip's own frames in units of half the frame's longer side, before anything is sampled
    or drawn, NaN where a joint was not seen. In space "model" it gets what the network is given, zero where not seen.
    A joint that was not seen stays so, and one that is taken away has score 0 and NaN or zero for its place. T may
    become smaller. `size` is (height, width) of the frame in pixels, None in 3D.
    """

    @property
    def space(self) -> Space: ...

    def __call__(
        self,
        keypoint: np.ndarray,
        score: np.ndarray,
        rng: np.random.Generator,
        size: tuple[int, int] | None = None,
    ) -> tuple[np.ndarray, np.ndarray]: ...


def without(keypoint: np.ndarray, score: np.ndarray, gone: np.ndarray, nowhere: float) -> tuple[np.ndarray, np.ndarray]:
    """Joints and scores without those that `gone` (M, T, V) says, which are put at `nowhere`: NaN, or zero."""
    return np.where(gone[..., None], np.float32(nowhere), keypoint), np.where(gone, np.float32(0), score)
