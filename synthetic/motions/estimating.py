"""Errors of a pose estimator: what it makes of the true joints of a person."""

from dataclasses import dataclass

import numpy as np

from pose_extraction.skeleton import COCO17

JOINTS = COCO17.num_joints
# Typical distance of an estimated joint from the true one, relative to the longer side of the person's box.
SPREAD = np.array((
    0.009, 0.008, 0.008, 0.009, 0.009, 0.013, 0.013, 0.016, 0.016, 0.018, 0.018, 0.017, 0.017, 0.016, 0.016, 0.018,
    0.018,
))  # fmt: skip
# How often a joint is missed, relative to the others: ears and eyes of an averted head, wrists and ankles.
MISSED = np.array([1.0, 1.0, 1.0, 1.3, 1.3, 0.4, 0.4, 0.8, 0.8, 1.5, 1.5, 0.5, 0.5, 0.8, 0.8, 1.7, 1.7])
LEGS, HEAD = (11, 12, 13, 14, 15, 16), (0, 1, 2, 3, 4)
# Joints that a wrong side exchanges: both arms, or both legs.
ARM_PAIRS, LEG_PAIRS = ((5, 6), (7, 8), (9, 10)), ((11, 12), (13, 14), (15, 16))


@dataclass(frozen=True)
class Quality:
    """How well an estimator does on one clip.

    Args:
        jitter: Factor of `SPREAD`.
        steady: Correlation of the errors of neighbouring frames, in [0, 1).
        missed: Share of the joints that are missed, before the factors of `MISSED`.
        swaps: Share of the frames in which arms or legs have the wrong side.
        lost: Share of the frames in which nobody is found.
        outliers: Share of the joints that are far from their place.
        scored: Whether scores are those of an estimator; otherwise they are 0 and 1.
        absent: Groups of joints that this estimator or file never has: "head", "face", "legs" or none.
    """

    jitter: float
    steady: float
    missed: float
    swaps: float
    lost: float
    outliers: float
    scored: bool
    absent: str | None


def draw_quality(random: np.random.Generator) -> Quality:
    """Draw a quality: from labels by hand to a weak estimator on a small person."""
    bad = float(random.beta(1.2, 2.5))
    kind = random.random()
    return Quality(
        jitter=0.15 + 2.2 * bad,
        steady=float(random.uniform(0.3, 0.9)),
        missed=0.12 * bad**1.5,
        swaps=float(0.12 * bad**2 if random.random() < 0.5 else 0),
        lost=float(0.15 * bad**2 if random.random() < 0.3 else 0),
        outliers=0.03 * bad**2,
        scored=bool(random.random() < 0.7),
        absent="face" if kind < 0.08 else "head" if kind < 0.1 else "legs" if kind < 0.16 else None,
    )


def estimated(
    random: np.random.Generator, quality: Quality, keypoint: np.ndarray, depth: np.ndarray, size: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray]:
    """Return joints (T, 17, 2) and scores (T, 17) as an estimator would give them; NaN and 0 where it saw none.

    Args:
        random: Random generator.
        quality: Quality of the estimator on this clip.
        keypoint: (T, 17, 2), true joints in pixels.
        depth: (T, 17), distance of the joints along the line of sight, metres.
        size: (height, width) of the frame in pixels.
    """
    hidden = _hidden(keypoint, depth)
    side = np.median(np.ptp(keypoint, axis=1).max(-1))
    found = keypoint + side * _errors(random, quality, keypoint.shape, hidden)
    found = _swapped(random, quality, found)
    score = _scores(random, quality, hidden)
    gone = _runs(random, quality.missed * MISSED * (1 + 2 * hidden.mean(0)), keypoint.shape[:2])
    gone |= _runs(random, np.full(1, quality.lost), (len(keypoint), 1))
    gone |= _outside(found, size)
    gone[:, _absent_joints(quality.absent)] = True
    if gone.all():
        # A person has to be in the clip.
        gone[len(gone) // 2] = False
    found[gone] = np.nan
    return found, np.where(gone, 0.0, score)


def _hidden(keypoint: np.ndarray, depth: np.ndarray) -> np.ndarray:
    """Return bool (T, 17): whether a joint of an arm or a leg, or an ear, is behind the trunk or the head."""
    trunk = keypoint[:, (5, 6, 11, 12)]
    middle, half = trunk.mean(1, keepdims=True), 0.5 * np.ptp(trunk, axis=1)[:, None] + 1e-6
    across = (np.abs(keypoint - middle) <= half).all(-1)
    behind = depth > depth[:, (5, 6, 11, 12)].mean(1, keepdims=True) + 0.06
    hidden = across & behind
    hidden[:, (0, 1, 2, 5, 6, 11, 12)] = False
    head = depth[:, HEAD].mean(1)
    for ear in (3, 4):
        hidden[:, ear] = depth[:, ear] > head + 0.04
    averted = depth[:, 0] > depth[:, (3, 4)].mean(1) + 0.03
    hidden[:, :3] = averted[:, None]
    return hidden


def _errors(random: np.random.Generator, quality: Quality, shape: tuple[int, ...], hidden: np.ndarray) -> np.ndarray:
    """Return displacements (T, 17, 2), relative to the size of the person: lasting, correlated and single ones."""
    frames = shape[0]
    normal = random.standard_normal(shape)
    rest = np.sqrt(1 - quality.steady**2)
    for frame in range(1, frames):
        normal[frame] = quality.steady * normal[frame - 1] + rest * normal[frame]
    lasting = 0.7 * random.standard_normal(shape[1:])
    error = quality.jitter * SPREAD[:, None] * (normal + lasting) * np.where(hidden, 2.5, 1.0)[..., None]
    jumps = random.random(shape[:2]) < quality.outliers
    return error + jumps[..., None] * random.normal(0, 0.15, shape)


def _swapped(random: np.random.Generator, quality: Quality, keypoint: np.ndarray) -> np.ndarray:
    """Exchange left and right arms, or legs, in some stretches of frames."""
    found = keypoint.copy()
    for pairs in (ARM_PAIRS, LEG_PAIRS):
        wrong = _runs(random, np.full(1, quality.swaps), (len(found), 1))[:, 0]
        for left, right in pairs:
            found[wrong, left], found[wrong, right] = keypoint[wrong, right], keypoint[wrong, left]
    return found


def _scores(random: np.random.Generator, quality: Quality, hidden: np.ndarray) -> np.ndarray:
    if not quality.scored:
        return np.ones(hidden.shape)
    level = 0.92 - 0.12 * quality.jitter
    noise = 0.06 * random.standard_normal(hidden.shape) + 0.08 * random.standard_normal(hidden.shape[1])
    return np.clip(level + noise - 0.3 * hidden, 0.05, 1.0)


def _runs(random: np.random.Generator, share: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Return bool (T, V), True in about these shares (V,) of the frames, in runs of some frames."""
    length = 6.0
    share = np.clip(share, 0, 0.9)
    begins = random.random(shape) < share / length
    lasts = np.ceil(random.exponential(length, shape)).astype(int)
    until = np.where(begins, np.arange(shape[0])[:, None] + lasts, 0)
    return np.maximum.accumulate(until, axis=0) > np.arange(shape[0])[:, None]


def _outside(keypoint: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    height, width = size
    x, y = keypoint[..., 0], keypoint[..., 1]
    return (x < 0) | (x > width - 1) | (y < 0) | (y > height - 1)


def _absent_joints(absent: str | None) -> list[int]:
    if absent == "face":
        return [1, 2, 3, 4]
    if absent == "head":
        return list(HEAD)
    return [13, 14, 15, 16] if absent == "legs" else []
