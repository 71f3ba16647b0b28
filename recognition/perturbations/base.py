"""What every disturbance of skeletons is: a function of a clip's joints and scores and of a generator."""

import zlib
from functools import lru_cache
from typing import Literal, Protocol

import numpy as np

Space = Literal["camera", "model"]
# Rows of random numbers over the time of what a network is given.
GRID = 1024


class Perturbation(Protocol):
    """Takes keypoint (M, T, V, D) and score (M, T, V), gives back the same, changed; the inputs stay as they are.

    In space "camera" it gets the clip's own frames in units of half the frame's longer side, before anything is sampled
    or drawn, NaN where a joint was not seen. In space "model" it gets what the network is given, zero where not seen.
    A joint that was not seen stays so, and one that is taken away has score 0 and NaN or zero for its place. T may
    become smaller, and the frame too, if its sides keep their ratio. `size` is (height, width) of the frame in pixels,
    None in 3D.
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


def generator_of(seed: int, name: str) -> np.random.Generator:
    """What damage of a clip is drawn from. By its name: the draw stays when the file gains clips or loses them."""
    return np.random.default_rng([seed, zlib.crc32(name.encode())])


@lru_cache(maxsize=64)
def grid_rows(frames: int) -> np.ndarray:
    """int64 (frames,), rising: which of `GRID` rows over time each frame of an input takes its numbers from.

    Inputs of other lengths take the same rows where they look at about the same time, so that their numbers are the
    same, and yet no two frames of one input share a row (up to `GRID` frames). Frame t stands at t / frames, as
    `sample_frames` has it, and for all rows that are nearer to it than to its neighbours. Of these it takes the one
    that a power of two divides most often: the fewer frames, the rounder the rows, and the round ones are the first
    choice of longer inputs, too.
    """
    edges = -(-(2 * np.arange(frames + 1) - 1) * GRID // (2 * frames))  # rounded up
    first, end = np.maximum(edges[:-1], 0), edges[1:]
    rows = np.minimum(first, GRID - 1)
    step = 1
    while step <= GRID:
        round_one = -(-first // step) * step
        rows = np.where(round_one < np.minimum(end, GRID), round_one, rows)
        step *= 2
    rows.flags.writeable = False
    return rows


def smallest(numbers: np.ndarray, count: int) -> np.ndarray:
    """bool, in the shape of random numbers: the `count` smallest ones."""
    chosen = np.zeros(numbers.size, bool)
    chosen[numbers.argsort(axis=None, kind="stable")[:count]] = True
    return chosen.reshape(numbers.shape)


def without(keypoint: np.ndarray, score: np.ndarray, gone: np.ndarray, nowhere: float) -> tuple[np.ndarray, np.ndarray]:
    """Joints and scores without those that `gone` (M, T, V) says, which are put at `nowhere`: NaN, or zero."""
    return np.where(gone[..., None], np.float32(nowhere), keypoint), np.where(gone, np.float32(0), score)
