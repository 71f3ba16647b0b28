"""Which frames of a clip the network sees.

Arrays are float32 (M, T, V, D) with D = 2 or 3 coordinates. A joint that was not seen is NaN with score 0.
"""

import numpy as np


def sample_frames(length: int, target: int, rng: np.random.Generator | None = None) -> np.ndarray:
    """Select the indices of `target` frames, evenly distributed over a clip.

    A short clip repeats frames. With `rng`, positions are jittered as in MotionBERT's recipe: in a short clip, each is
    rounded up or down at random; in a long clip, it is drawn from its interval. Otherwise positions are rounded down.

    Args:
        length: Frames of the clip, at least 1.
        target: Frames to select, at least 1.
        rng: Random generator; None for fixed positions.

    Returns:
        int64 (target,), ascending.
    """
    even = np.linspace(0, length, target, endpoint=False)
    if rng is None:
        return even.astype(np.int64)
    if length < target:
        chosen = np.sort(np.where(rng.random(target) < 0.5, np.floor(even), np.ceil(even)))
    else:
        chosen = even + rng.random(target) * (length / target)
    return np.minimum(chosen, length - 1).astype(np.int64)


def resample_linear(keypoint: np.ndarray, score: np.ndarray, target: int) -> tuple[np.ndarray, np.ndarray]:
    """Resample to `target` evenly distributed frames by linear interpolation (bilinear resizing along time).

    If a joint was seen in only one of two neighbouring frames, its position there is used; if in none, the joint counts
    as not seen.

    Args:
        keypoint: float32 (M, T, V, D), NaN where not seen.
        score: float32 (M, T, V), 0 where not seen.
        target: Number of frames of the result.

    Returns:
        float32 (M, target, V, D) and (M, target, V).
    """
    frames = score.shape[1]
    place = np.clip((np.arange(target) + 0.5) * (frames / target) - 0.5, 0, frames - 1)
    before = np.floor(place).astype(np.int64)
    after = np.minimum(before + 1, frames - 1)
    share = (place - before).astype(np.float32)[:, None]
    weights = np.stack([(1 - share) * (score[:, before] > 0), share * (score[:, after] > 0)])  # (2, M, target, V)
    total = weights.sum(axis=0)
    parts = np.nan_to_num(np.stack([keypoint[:, before], keypoint[:, after]]))
    scores = np.stack([score[:, before], score[:, after]])
    with np.errstate(invalid="ignore", divide="ignore"):
        return (parts * weights[..., None]).sum(axis=0) / total[..., None], np.where(
            total > 0, (scores * weights).sum(axis=0) / total, 0
        ).astype(np.float32)


def times_at_rate(time: np.ndarray, rate: float) -> np.ndarray:
    """Return times at a fixed rate, float64 (U,), from the first frame of a clip to the last.

    Args:
        time: float64 (T,), ascending times of the frames in seconds.
        rate: Frames per second.
    """
    count = round((time[-1] - time[0]) * rate) + 1
    return np.minimum(time[0] + np.arange(count) / rate, time[-1])


def at_rate(
    keypoint: np.ndarray, score: np.ndarray, time: np.ndarray, rate: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Resample a clip to a fixed frame rate by linear interpolation in time.

    If a joint was seen in only one of two neighbouring frames, its position there is used; if in none, the joint counts
    as not seen.

    Args:
        keypoint: float32 (M, T, V, D), NaN where not seen.
        score: float32 (M, T, V), 0 where not seen.
        time: float64 (T,), ascending times of the frames in seconds.
        rate: Frames per second of the result.

    Returns:
        float32 (M, U, V, D), (M, U, V) and the times of the frames, float64 (U,), from the first frame to the last.
    """
    new = times_at_rate(time, rate)
    after = np.clip(np.searchsorted(time, new, side="right"), 1, max(1, len(time) - 1))
    after = np.minimum(after, len(time) - 1)
    before = np.maximum(after - 1, 0)
    length = np.where(after > before, time[after] - time[before], 1.0)
    share = np.clip((new - time[before]) / length, 0, 1).astype(np.float32)[:, None]
    weights = np.stack([(1 - share) * (score[:, before] > 0), share * (score[:, after] > 0)])  # (2, M, U, V)
    total = weights.sum(axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        mixed = (np.nan_to_num(np.stack([keypoint[:, before], keypoint[:, after]])) * weights[..., None]).sum(axis=0)
        keypoint = np.where(total[..., None] > 0, mixed / total[..., None], np.nan)
        scores = (np.stack([score[:, before], score[:, after]]) * weights).sum(axis=0) / total
    return keypoint.astype(np.float32), np.where(total > 0, scores, 0).astype(np.float32), new


def random_part(length: int, shares: tuple[float, float], rng: np.random.Generator, *, fewest: int = 1) -> slice:
    """Draw a contiguous part of a clip: first its length from a range, then its position.

    Args:
        length: Frames of the clip.
        shares: Range of the length as a share of the clip, each in (0, 1].
        rng: Random generator.
        fewest: Minimum number of frames, if the clip is that long.
    """
    kept = min(max(fewest, int(length * rng.uniform(*shares))), length)
    start = int(rng.integers(length - kept + 1))
    return slice(start, start + kept)


def middle_part(length: int, share: float, *, fewest: int = 1) -> slice:
    """Return the middle part of a clip, used for testing: `share` of its frames, but at least `fewest`.

    As in the published codes of MAMP and PCM3, the frames to leave out at either end are rounded down.
    """
    kept = length - 2 * int((1 - share) * length / 2)
    kept = min(max(fewest, kept), length)
    start = (length - kept) // 2
    return slice(start, start + kept)
