"""The motion of one person in a clip: a single skeleton on an even grid of times, in seconds.

A clip is an annotation of a skeleton file, in which a joint with score 0 was not seen.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from pose_extraction.formats import clip_times
from recognition.data.clip import UNKNOWN_RATE

Annotation = Mapping[str, Any]

# Longest gap between two frames that show a joint for which it is interpolated, in seconds.
GAP = 0.6
# Distance of the interpolated points, and standard deviation of the kernel that averages them, in seconds.
STEP, KERNEL = 0.02, 0.04


def joints_of(clip: Annotation) -> tuple[np.ndarray, np.ndarray]:
    """Return a clip's joints and their scores.

    Args:
        clip: Annotation with `keypoint` (M, T, V, 2 or 3). Without `keypoint_score`, a joint at (0, 0) is unseen, and
            the others have score 1.

    Returns:
        float64 (M, T, V, 2), pixels, NaN where not seen; float64 (M, T, V), 0 where not seen.
    """
    keypoint = np.array(clip["keypoint"], np.float64)[..., :2]
    if "keypoint_score" in clip:
        score = np.array(clip["keypoint_score"], np.float64)
    else:
        score = (keypoint != 0).any(axis=-1).astype(np.float64)
    unseen = ~(np.isfinite(keypoint).all(axis=-1) & (score > 0))
    keypoint[unseen], score[unseen] = np.nan, 0
    return keypoint, score


def times_of(clip: Annotation) -> np.ndarray:
    """Return the times of a clip's frames.

    Args:
        clip: Annotation, which may have times or a frame rate.

    Returns:
        float64 (T,), seconds; those of `UNKNOWN_RATE` frames per second from 0 if the annotation has neither.
    """
    frames = np.shape(clip["keypoint"])[1]
    recorded = clip_times.times_of(clip, frames)
    return np.arange(frames) / UNKNOWN_RATE if recorded is None else recorded


def has_person(clip: Annotation) -> bool:
    """Return whether any joint of any person was seen in any frame of an annotation."""
    return bool((joints_of(clip)[1] > 0).any())


def main_person(keypoint: np.ndarray, score: np.ndarray) -> np.ndarray:
    """Return the most visible person (T, V, 2); frames without it show the next most visible one.

    Trackers may lose a person and find it again under another identity, so that the same person has two rows.

    Args:
        keypoint: float (M, T, V, 2), NaN where not seen; M is at least 1.
        score: float (M, T, V), 0 where not seen. The most visible person has the most joints with a score above 0.

    Returns:
        float64 (T, V, 2), NaN where not seen.
    """
    order = np.argsort(-(score > 0).sum(axis=(1, 2)), kind="stable")
    person = np.full(keypoint.shape[1:], np.nan)
    for row in order:
        empty = np.isnan(person).all(axis=(1, 2))
        person[empty] = keypoint[row, empty]
    return person


def at_rate(person: np.ndarray, time: np.ndarray, rate: float) -> np.ndarray:
    """Resample a motion to an even rate: interpolated linearly, then averaged with a normal kernel.

    The result depends little on the frame rate, on missing joints and on single wrong frames.

    Args:
        person: float (T, V, 2), NaN where not seen.
        time: float (T,), ascending, in seconds.
        rate: Points per second, above 0.

    Returns:
        float64 (G, V, 2), NaN in gaps longer than `GAP`; G is at least 1.
    """
    grid = np.arange(time[0], time[-1] + 0.5 / rate, 1 / rate)
    fine = np.arange(time[0], time[-1] + STEP / 2, STEP)
    points = np.stack([_interpolated(person[:, joint], time, fine) for joint in range(person.shape[1])], axis=1)
    apart = np.abs(grid[:, None] - fine)
    weights = np.where(apart <= 3 * KERNEL, np.exp(-0.5 * (apart / KERNEL) ** 2), 0)  # (G, F)
    known = np.isfinite(points[..., 0])
    total = weights @ known  # (G, V)
    sums = np.einsum("gf,fvd->gvd", weights, np.where(known[..., None], points, 0))
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(total[..., None] > 0, sums / total[..., None], np.nan)


def _interpolated(joint: np.ndarray, time: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Return the positions (F, 2) of one joint (T, 2) at the times in `wanted`; NaN in long gaps.

    Before the first and after the last frame that shows the joint, it stays in place for up to half a gap.
    """
    seen = np.isfinite(joint).all(axis=1)
    if not seen.any():
        return np.full((len(wanted), 2), np.nan)
    known = time[seen]
    place = np.searchsorted(known, wanted)
    before, after = known[np.maximum(place - 1, 0)], known[np.minimum(place, len(known) - 1)]
    inside = (wanted >= known[0]) & (wanted <= known[-1])
    near = np.where(inside, after - before <= GAP, np.minimum(abs(wanted - before), abs(wanted - after)) <= GAP / 2)
    values = np.stack([np.interp(wanted, known, joint[seen, axis]) for axis in range(2)], axis=1)
    return np.where(near[:, None], values, np.nan)
