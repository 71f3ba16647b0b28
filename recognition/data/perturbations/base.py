"""The interface of every perturbation: a function of a clip's joints and scores and of a random generator."""

import zlib
from functools import lru_cache
from typing import Literal, Protocol

import numpy as np

Space = Literal["camera", "model"]
# Number of random values drawn over the duration of a network input.
GRID = 1024


class Perturbation(Protocol):
    """Takes keypoint (M, T, V, D) and score (M, T, V) and returns perturbed copies; the inputs are not modified.

    In "camera" space it receives the clip's own frames in units of half the frame's longer side, before any sampling or
    augmentation, with NaN for unseen joints. In "model" space it receives the network's input, with zeros for unseen
    joints. Unseen joints stay unseen, and removed joints get score 0 and the coordinates NaN or zero. T may decrease,
    and so may the frame, if its aspect ratio stays the same. `size` is (height, width) of the frame in pixels, None in
    3D.
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
    """Return the generator of a clip, seeded by its name, so that adding or removing clips does not change it."""
    return np.random.default_rng([seed, zlib.crc32(name.encode())])


@lru_cache(maxsize=64)
def grid_rows(frames: int) -> np.ndarray:
    """Return the row of `GRID` that each input frame takes its random numbers from, int64 (frames,), increasing.

    Inputs of different lengths share rows where they show about the same time, so that they get the same random
    numbers, while no two frames of one input share a row (up to `GRID` frames). Frame t is at time t / frames, as in
    `sample_frames`, and may use all rows that are nearer to it than to its neighbours. It takes the one divisible by
    the largest power of two: short inputs use the roundest rows, which longer inputs also prefer.

    Args:
        frames: Number of input frames, at least 1.
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
    """Mark the `count` smallest numbers of an array; of equal ones, those that come first.

    Args:
        numbers: float, any shape.
        count: Number of cells to mark; all, if there are fewer.

    Returns:
        bool, the shape of `numbers`.
    """
    chosen = np.zeros(numbers.size, bool)
    chosen[numbers.argsort(axis=None, kind="stable")[:count]] = True
    return chosen.reshape(numbers.shape)


def drop_joints(
    keypoint: np.ndarray, score: np.ndarray, gone: np.ndarray, nowhere: float
) -> tuple[np.ndarray, np.ndarray]:
    """Make joints unseen: score 0, and coordinates `nowhere`.

    Args:
        keypoint: float32 (M, T, V, D).
        score: float32 (M, T, V).
        gone: bool (M, T, V), the joints.
        nowhere: NaN or 0.

    Returns:
        New arrays of the same shapes.
    """
    return np.where(gone[..., None], np.float32(nowhere), keypoint), np.where(gone, np.float32(0), score)
