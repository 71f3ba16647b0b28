"""Cleaning joint by joint: low scores, jumps, gaps, jitter.

Each step is a pure function from `VideoPoses` to `VideoPoses` that appends what it did to the history. Lengths are in
body sizes (square root of the area of the person's box), times in seconds, so that nothing depends on resolution or
frame rate. Notation: T frames, V joints.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from pose_extraction.oks import box_area, median_seen, pose_bounds
from pose_extraction.poses import PoseTrack, VideoPoses
from pose_extraction.skeleton import COCO17

# A median absolute deviation times this is a standard deviation, if the values are normally distributed.
DEVIATION = 1.4826

# Part of the body size that a joint may move between two frames at any speed: the estimator's own unrest.
UNREST = 0.05

# How many seen frames on either side a joint is compared with.
REACH = 3

_BONES = np.asarray(COCO17.bones)


def with_step(
    video: VideoPoses, tracks: list[PoseTrack], step: str, parameters: Mapping[str, Any], counts: Mapping[str, float]
) -> VideoPoses:
    """`video` with other tracks and one more entry in its history."""
    entry = {"step": step, "parameters": dict(parameters), "counts": dict(counts)}
    return replace(video, tracks=tracks, history=[*video.history, entry])


def body_size(track: PoseTrack) -> float:
    """Typical size of a track's person in pixels: square root of the median area of the boxes, at least 1."""
    area = box_area(track.box[track.seen])
    if not len(area):
        area = box_area(pose_bounds(track.keypoint))
        area = area[~np.isnan(area)]
    return max(float(np.sqrt(np.median(area))), 1.0) if len(area) else 1.0


def _without(track: PoseTrack, gone: np.ndarray) -> PoseTrack:
    """`track` less the joints marked in `gone`, bool (T, V)."""
    return replace(
        track,
        keypoint=np.where(gone[..., None], np.float32(np.nan), track.keypoint),
        keypoint_score=np.where(gone, np.float32(0), track.keypoint_score),
        imputed=track.imputed & ~gone,
    )


def mask_low_scores(video: VideoPoses, *, threshold: float) -> VideoPoses:
    """Takes joints of a score below `threshold` (in [0, 1]) as not seen."""
    tracks, masked = [], 0
    for track in video.tracks:
        gone = (track.keypoint_score < threshold) & ~np.isnan(track.keypoint[..., 0])
        masked += int(gone.sum())
        tracks.append(_without(track, gone))
    return with_step(video, tracks, "mask_low_scores", {"threshold": threshold}, {"joints_masked": masked})


def remove_jumps(video: VideoPoses, *, deviations: float, min_speed: float, min_stretch: float) -> VideoPoses:
    """Takes joints as not seen that leap out of the motion and back, or that stretch a bone beyond its length.

    A joint leaps when it cannot be reached from most of the frames around it at the track's own speed limit, the
    median of the joints' speeds plus `deviations` times their median absolute deviation, and lies off the way between
    the frames before and the frames after, so that fast motion which goes somewhere stays. Both are measured after the
    motion of the body as a whole has been taken away.

    A bone is stretched when it exceeds its median length in the track by `deviations` times the length's median
    absolute deviation; of its two joints the one with more stretched bones, then the lower score, goes.

    Args:
        video: What to clean.
        deviations: Multiple of the median absolute deviation, scaled to a standard deviation.
        min_speed: Speed that is never a leap, body sizes a second.
        min_stretch: Excess of a bone's length that is never a stretch, body sizes.
    """
    tracks, leaps, stretches = [], 0, 0
    for track in video.tracks:
        size = body_size(track)
        time = video.time[track.start : track.stop]
        still = _without_body_motion(track.keypoint.astype(float)) / size
        leap = _leaps(still, time, deviations, min_speed)
        stretch = _stretches(np.where(leap[..., None], np.nan, still), track.keypoint_score, deviations, min_stretch)
        leaps, stretches = leaps + int(leap.sum()), stretches + int(stretch.sum())
        tracks.append(_without(track, leap | stretch))
    parameters = {"deviations": deviations, "min_speed": min_speed, "min_stretch": min_stretch}
    return with_step(video, tracks, "remove_jumps", parameters, {"joints_leapt": leaps, "joints_stretched": stretches})


def _without_body_motion(keypoint: np.ndarray) -> np.ndarray:
    """Poses (T, V, 2) less the path of the body, which is summed from the joints' median steps.

    Steps, unlike centres, do not change when other joints are seen.
    """
    step = np.diff(keypoint, axis=0)
    known = (~np.isnan(step[..., 0])).sum(1) >= 5
    path = np.where(known[:, None], median_seen(step, axis=1), 0.0).cumsum(0)
    return keypoint - np.concatenate((np.zeros((1, 2)), path))[:, None]


def _leaps(still: np.ndarray, time: np.ndarray, deviations: float, min_speed: float) -> np.ndarray:
    """bool (T, V): joints that leapt out of the motion `still` (T, V, 2), in body sizes."""
    length = len(still)
    if length < 3:
        return np.zeros(still.shape[:2], bool)
    speed = np.linalg.norm(np.diff(still, axis=0), axis=-1) / np.diff(time)[:, None]
    speed = speed[~np.isnan(speed)]
    limit = min_speed
    if len(speed):
        middle = np.median(speed)
        limit = max(min_speed, middle + deviations * DEVIATION * np.median(np.abs(speed - middle)))

    # Neighbours as two stacks (REACH, T, V, 2): what lies before and what lies after each frame.
    padded = np.pad(still, ((REACH, REACH), (0, 0), (0, 0)), constant_values=np.nan)
    clock = np.pad(time, REACH, mode="edge")
    before = np.stack([padded[REACH - o : REACH - o + length] for o in range(1, REACH + 1)])
    after = np.stack([padded[REACH + o : REACH + o + length] for o in range(1, REACH + 1)])
    waits = [np.abs(clock[REACH + o : REACH + o + length] - time) for o in (-1, -2, -3, 1, 2, 3)]
    around = np.concatenate((before, after))
    distance = np.linalg.norm(around - still, axis=-1)
    seen = ~np.isnan(distance)
    # The nearer the neighbour the more it has to say, which finds small leaps; three far ones outvote one near one.
    weight = np.tile(1.0 / np.arange(1, REACH + 1), 2)[:, None, None] * seen
    beyond = weight * (distance > limit * np.stack(waits)[..., None] + UNREST)
    outvoted = (beyond.sum(0) > 0.51 * weight.sum(0)) & (seen.sum(0) >= 3)
    if not outvoted.any():
        return outvoted
    start, end = median_seen(before), median_seen(after)
    way = np.linalg.norm(end - start, axis=-1)
    off = np.linalg.norm(still - 0.5 * (start + end), axis=-1)
    # At either end of the track there is no way between: the vote alone decides.
    return outvoted & (np.isnan(way) | (off > 0.75 * way + UNREST))


def _stretches(still: np.ndarray, score: np.ndarray, deviations: float, min_stretch: float) -> np.ndarray:
    """bool (T, V): joints at the wrong end of a bone that is too long."""
    if still.shape[1] != COCO17.num_joints:
        return np.zeros(still.shape[:2], bool)
    first, second = _BONES.T
    bone = np.linalg.norm(still[:, first] - still[:, second], axis=-1)
    middle = median_seen(bone)
    spread = median_seen(np.abs(bone - middle))
    # Foreshortening makes bones short, nothing makes them long: only excess counts. NaN compares as False.
    long = bone > middle + np.maximum(deviations * DEVIATION * spread, min_stretch)
    gone = np.zeros(still.shape[:2], bool)
    if not long.any():
        return gone
    faults = np.zeros(still.shape[:2])
    for number, (one, other) in enumerate(_BONES):
        faults[:, one] += long[:, number]
        faults[:, other] += long[:, number]
    blame = faults - score
    for number, (one, other) in enumerate(_BONES):
        worse = blame[:, one] > blame[:, other]
        gone[:, one] |= long[:, number] & worse
        gone[:, other] |= long[:, number] & ~worse
    return gone


def fill_gaps(video: VideoPoses, *, max_seconds: float) -> VideoPoses:
    """Fills gaps between two seen places of a joint, up to `max_seconds` apart, and marks them `imputed`.

    Places are interpolated over time, not frame number. A filled joint has half the lower score of the two ends: it is
    there, but nobody saw it. Nothing is added before a joint was first seen or after it was last seen.
    """
    tracks, filled = [], 0
    for track in video.tracks:
        time = video.time[track.start : track.stop]
        seen = ~np.isnan(track.keypoint[..., 0])
        rows = np.arange(len(track))[:, None]
        before = np.maximum.accumulate(np.where(seen, rows, -1), axis=0)
        after = np.minimum.accumulate(np.where(seen, rows, len(track))[::-1], axis=0)[::-1]
        gap = ~seen & (before >= 0) & (after < len(track))
        before, after = np.where(gap, before, 0), np.where(gap, after, 0)
        # The clock's rounding must not decide about a gap of exactly the limit.
        gap &= time[after] - time[before] <= max_seconds + 1e-6
        row, joint = np.nonzero(gap)
        start, end = before[row, joint], after[row, joint]
        part = ((time[row] - time[start]) / (time[end] - time[start]))[:, None]
        keypoint, score = track.keypoint.copy(), track.keypoint_score.copy()
        keypoint[row, joint] = (1 - part) * keypoint[start, joint] + part * keypoint[end, joint]
        score[row, joint] = 0.5 * np.minimum(score[start, joint], score[end, joint])
        filled += len(row)
        tracks.append(replace(track, keypoint=keypoint, keypoint_score=score, imputed=track.imputed | gap))
    return with_step(video, tracks, "fill_gaps", {"max_seconds": max_seconds}, {"joints_filled": filled})


def smooth(video: VideoPoses, *, window_seconds: float) -> VideoPoses:
    """Smooths every joint's path with a parabola fitted by least squares to the frames around each (Savitzky-Golay).

    The fit is over time, so that it holds for uneven frames too (Gorry 1991), and never reaches across a gap. A joint
    with fewer than four places inside the window, to which a parabola would fit anything, is left as it is.

    Args:
        video: What to smooth.
        window_seconds: Width of the window, both sides together.
    """
    tracks, smoothed = [], 0
    for track in video.tracks:
        keypoint, changed = _smoothed(track.keypoint, video.time[track.start : track.stop], window_seconds)
        smoothed += changed
        tracks.append(replace(track, keypoint=keypoint))
    return with_step(video, tracks, "smooth", {"window_seconds": window_seconds}, {"joints_smoothed": smoothed})


def _smoothed(keypoint: np.ndarray, time: np.ndarray, window: float) -> tuple[np.ndarray, int]:
    length = len(keypoint)
    interval = float(np.median(np.diff(time))) if length > 1 else window
    half = min(int(np.ceil(0.5 * window / max(interval, 1e-6))), length - 1)
    if half < 1:
        return keypoint, 0
    seen = ~np.isnan(keypoint[..., 0])
    stretch = np.cumsum(~seen, axis=0)
    padded = np.pad(np.nan_to_num(keypoint).astype(float), ((half, half), (0, 0), (0, 0)))
    padded_seen = np.pad(seen, ((half, half), (0, 0)))
    padded_stretch = np.pad(stretch, ((half, half), (0, 0)), constant_values=-1)
    clock = np.pad(time, half, constant_values=np.inf)
    # Moments of the time offsets and of the places, (T, V) and (T, V, 2), gathered offset by offset.
    moment = np.zeros((5, *seen.shape))
    target = np.zeros((3, *keypoint.shape))
    for offset in range(2 * half + 1):
        rows = slice(offset, offset + length)
        wait = (clock[rows] - time) / window
        inside = np.abs(wait) <= 0.5 + 1e-6
        wait = np.where(inside, wait, 0.0)[:, None]
        weight = (padded_seen[rows] & (padded_stretch[rows] == stretch) & inside[:, None]).astype(float)
        for power in range(5):
            moment[power] += weight * wait**power
        for power in range(3):
            target[power] += (weight * wait**power)[..., None] * padded[rows]
    fitted = seen & (moment[0] >= 4)
    # The parabola's value at offset 0 by Cramer's rule on the three normal equations.
    m0, m1, m2, m3, m4 = (m[fitted] for m in moment)
    t0, t1, t2 = (t[fitted] for t in target)
    first, second, third = m2 * m4 - m3 * m3, m2 * m3 - m1 * m4, m1 * m3 - m2 * m2
    value = first[:, None] * t0 + second[:, None] * t1 + third[:, None] * t2
    result = keypoint.copy()
    result[fitted] = value / (m0 * first + m1 * second + m2 * third)[:, None]
    return result, int(fitted.sum())
