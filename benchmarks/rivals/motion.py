"""The motion of one person in a clip: a single skeleton on an even grid of times, in seconds.

A clip is an annotation of a skeleton file, in which a joint with score 0 was not seen.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

Annotation = Mapping[str, Any]

# Frame rate of files that store no time stamps, in frames per second.
ASSUMED_RATE = 30.0
# Width of the kernel that averages neighbouring frames, and largest distance to a frame that counts, in seconds.
KERNEL, REACH = 0.04, 0.3


def joints_of(clip: Annotation) -> tuple[np.ndarray, np.ndarray]:
    """Return a clip's joints, float64 (M, T, V, 2) with NaN where not seen, and their scores, float64 (M, T, V)."""
    keypoint = np.array(clip["keypoint"], np.float64)[..., :2]
    if "keypoint_score" in clip:
        score = np.array(clip["keypoint_score"], np.float64)
    else:
        score = (keypoint != 0).any(axis=-1).astype(np.float64)
    unseen = ~(np.isfinite(keypoint).all(axis=-1) & (score > 0))
    keypoint[unseen], score[unseen] = np.nan, 0
    return keypoint, score


def times_of(clip: Annotation) -> np.ndarray:
    """Return the times of a clip's frames in seconds, float64 (T,); at `ASSUMED_RATE` if the file has none."""
    frames = np.shape(clip["keypoint"])[1]
    if "time" in clip:
        return np.asarray(clip["time"], np.float64)
    return np.arange(frames) / float(clip.get("fps", ASSUMED_RATE))


def has_person(clip: Annotation) -> bool:
    """Return whether any joint was seen in any frame."""
    return bool((joints_of(clip)[1] > 0).any())


def main_person(keypoint: np.ndarray, score: np.ndarray) -> np.ndarray:
    """Return the most visible person (T, V, 2); frames without it show the next most visible one.

    Trackers may lose a person and find it again under another identity, so that the same person has two rows.

    Args:
        keypoint: (M, T, V, 2), NaN where not seen.
        score: (M, T, V), 0 where not seen.
    """
    order = np.argsort(-(score > 0).sum(axis=(1, 2)), kind="stable")
    person = np.full(keypoint.shape[1:], np.nan)
    for row in order:
        empty = np.isnan(person).all(axis=(1, 2))
        person[empty] = keypoint[row, empty]
    return person


def at_rate(person: np.ndarray, time: np.ndarray, rate: float) -> np.ndarray:
    """Resample a motion to an even rate by a weighted mean of the frames around each point in time.

    The weights are normal with standard deviation `KERNEL`, so that the result depends little on the frame rate and on
    single wrong frames. Gaps of up to twice `REACH` are filled.

    Args:
        person: (T, V, 2), NaN where not seen.
        time: (T,), ascending, in seconds.
        rate: Points per second.

    Returns:
        float64 (G, V, 2), NaN where no frame within `REACH` shows the joint; G is at least 1.
    """
    grid = np.arange(time[0], time[-1] + 0.5 / rate, 1 / rate)
    apart = np.abs(grid[:, None] - time)
    weights = np.where(apart <= REACH, np.exp(-0.5 * (apart / KERNEL) ** 2), 0)  # (G, T)
    seen = np.isfinite(person).all(axis=-1)
    total = weights @ seen  # (G, V)
    points = np.einsum("gt,tvd->gvd", weights, np.where(seen[..., None], person, 0))
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(total[..., None] > 0, points / total[..., None], np.nan)
