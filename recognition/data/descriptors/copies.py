"""Random variations of a clip in time and space, for the descriptors of training clips."""

import numpy as np

from pose_extraction.skeleton import COCO17

# Shortest part of a clip that is kept, and range of its playback speed.
SHORTEST_PART, FEWEST_FRAMES = 0.6, 8
TEMPO = (0.85, 1.18)
# Standard deviation of the tilt of the camera in radians, and range of the width relative to the height.
TILT, ASPECT = 0.07, (0.9, 1.1)
# Largest standard deviation of noise in units of the clip's extent, and largest shares of joints that are lost and of
# frames in which left and right are swapped; each is applied to some of the copies, mostly weakly.
NOISE, LOST, SWAPPED = 0.06, 0.5, 0.3
SHARE_NOISY, SHARE_LOSSY, SHARE_SWAPPED = 0.5, 0.5, 0.25
# Joints that are never seen of people who are cut off by the edge of the picture: the ankles, also the knees, also the
# hips.
_CUTS = (slice(15, 17), slice(13, 17), slice(11, 17))
_MIRROR = COCO17.flip_indices


def varied(keypoint: np.ndarray, time: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Return a part of a clip at another speed, tilted and stretched, with errors like those of a pose estimator.

    Args:
        keypoint: float (M, T, V, 2), NaN where a joint was not seen.
        time: float64 (T,), ascending times in seconds.
        rng: Random generator.

    Returns:
        Joints, float (M, T', V, 2), with NaN also for joints that are lost at random, and their times (T',) in seconds.
        T' is between `SHORTEST_PART` * T, or `FEWEST_FRAMES` if that is more, and T.
    """
    frames = keypoint.shape[1]
    kept = max(min(frames, FEWEST_FRAMES), int(frames * rng.uniform(SHORTEST_PART, 1)))
    start = int(rng.integers(frames - kept + 1))
    part, when = keypoint[:, start : start + kept], time[start : start + kept] * rng.uniform(*TEMPO)
    angle = rng.normal(0, TILT)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    part = (part @ turn) * (rng.uniform(*ASPECT), 1)
    known = part[np.isfinite(part).all(axis=-1)]
    if len(known) and rng.random() < SHARE_NOISY:
        part = part + rng.normal(size=part.shape) * np.ptp(known, axis=0).max() * NOISE * rng.random() ** 2
    if rng.random() < SHARE_SWAPPED:
        swapped = rng.random(part.shape[:2]) < rng.uniform(0, SWAPPED)
        part = np.where(swapped[..., None, None], part[:, :, _MIRROR], part)
    if rng.random() < SHARE_LOSSY:
        lost = rng.random(part.shape[:-1]) < LOST * rng.random() ** 2
        part = np.where(lost[..., None], np.nan, part)
    return part, when


def cut_off(keypoint: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return a copy of a clip in which the lower part of people is outside the picture for the whole clip.

    Args:
        keypoint: float (M, T, 17, 2), NaN where a joint was not seen.
        rng: Random generator; it draws what is missing: the ankles, also the knees, or also the hips.

    Returns:
        float (M, T, 17, 2), NaN for the joints that are missing in all frames.
    """
    copy = keypoint.copy()
    copy[:, :, _CUTS[rng.integers(len(_CUTS))]] = np.nan
    return copy
