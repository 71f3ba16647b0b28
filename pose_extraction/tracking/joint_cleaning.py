"""Cleaning steps for single joints: score threshold, jump removal, gap filling, smoothing.

Each step is a pure function from `VideoPoses` to `VideoPoses` that appends its parameters and counts to the history.
Lengths are in body sizes (square root of the area of the person's box) and times in seconds, so that the results do not
depend on resolution or frame rate. Notation: T frames, V joints.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from pose_extraction.arrays.mapped import BLOCK, new_array, release, row_blocks
from pose_extraction.arrays.statistics import Values
from pose_extraction.oks import box_area, median_seen, pose_bounds
from pose_extraction.poses import PoseTrack, VideoPoses
from pose_extraction.skeleton import COCO17
from pose_extraction.tracking.stored_tracks import add_parts, fresh

# Ratio of the standard deviation to the median absolute deviation for normally distributed values.
DEVIATION = 1.4826

# Distance in body sizes that a joint may move between two frames at any speed, to allow for the estimator's noise.
NOISE_DISTANCE = 0.05

# Number of frames on each side with which the position of a joint is compared.
REACH = 3
# Seconds by which a gap may be longer than the maximum, because time stamps are rounded.
GAP_SLACK = 1e-6

_BONES = np.asarray(COCO17.bones)


def with_step(
    video: VideoPoses,
    tracks: Sequence[PoseTrack],
    step: str,
    parameters: Mapping[str, Any],
    counts: Mapping[str, float],
) -> VideoPoses:
    """Return `video` with new tracks and an additional history entry.

    Args:
        video: Video before the step.
        tracks: Tracks after the step.
        step: Name of the step.
        parameters: Parameters of the step.
        counts: What the step changed.
    """
    entry = {"step": step, "parameters": dict(parameters), "counts": dict(counts)}
    return replace(video, tracks=tracks, history=[*video.history, entry])


def body_size(track: PoseTrack) -> float:
    """Return the body size of a track in pixels: square root of the median box area, at least 1."""
    area = np.concatenate([box_area(track.box[rows]) for rows in track.row_blocks()])
    area = area[~np.isnan(area)]
    if not len(area):
        area = np.concatenate([box_area(pose_bounds(track.keypoint[rows])) for rows in track.row_blocks()])
        area = area[~np.isnan(area)]
    return max(float(np.sqrt(np.median(area))), 1.0) if len(area) else 1.0


def _without(track: PoseTrack, gone: np.ndarray) -> PoseTrack:
    """Return `track` with the joints in the mask `gone`, bool (T, V), marked as not seen."""
    return replace(
        track,
        keypoint=np.where(gone[..., None], np.float32(np.nan), track.keypoint),
        keypoint_score=np.where(gone, np.float32(0), track.keypoint_score),
        imputed=track.imputed & ~gone,
    )


def mask_low_scores(video: VideoPoses, *, threshold: float) -> VideoPoses:
    """Mark joints with a score below `threshold`, in [0, 1], as not seen."""
    tracks, masked = fresh(video.tracks), 0

    def parts(track: PoseTrack) -> Iterator[PoseTrack]:
        nonlocal masked
        for rows in track.row_blocks():
            part = track.part(rows)
            gone = (part.keypoint_score < threshold) & ~np.isnan(part.keypoint[..., 0])
            masked += int(gone.sum())
            yield _without(part, gone)

    for track in video.tracks:
        add_parts(tracks, track, parts(track))
    return with_step(video, tracks, "mask_low_scores", {"threshold": threshold}, {"joints_masked": masked})


def remove_jumps(video: VideoPoses, *, deviations: float, min_speed: float, min_stretch: float) -> VideoPoses:
    """Mark joints as not seen that jump away from their path and back, or that stretch a bone beyond its length.

    A joint jumps if it cannot be reached from most of the neighbouring frames at the speed limit of the track, and lies
    off the path between the preceding and following frames. The speed limit is the median speed of the joints plus
    `deviations` times the median absolute deviation. The second condition keeps fast motion to another place. Both
    conditions use coordinates relative to the motion of the whole body.

    A bone is stretched if its length exceeds the median length in the track by `deviations` times the median absolute
    deviation of the length. Of its two joints, the one with more stretched bones is removed, or else the one with the
    lower score.

    Args:
        video: Tracked video.
        deviations: Multiple of the median absolute deviation, scaled to a standard deviation.
        min_speed: Lower bound of the speed limit, in body sizes per second.
        min_stretch: Lower bound of the excess length of a stretched bone, in body sizes.

    Returns:
        The video without these joints.
    """
    tracks, leaps, stretches = fresh(video.tracks), 0, 0
    for track in video.tracks:
        time = video.time[track.start : track.stop]
        still = _Still(track.keypoint, body_size(track))
        leap = still.gone = _leaps(still, time, deviations, min_speed)
        stretch = _stretches(still, track.keypoint_score, deviations, min_stretch)
        leaps, stretches = leaps + int(leap.sum()), stretches + int(stretch.sum())
        blocks = row_blocks(len(track), leap, stretch, *track.arrays)
        add_parts(tracks, track, (_without(track.part(rows), leap[rows] | stretch[rows]) for rows in blocks))
    parameters = {"deviations": deviations, "min_speed": min_speed, "min_stretch": min_stretch}
    return with_step(video, tracks, "remove_jumps", parameters, {"joints_leapt": leaps, "joints_stretched": stretches})


class _Still:
    """Poses (T, V, 2) relative to the path of the body, which is the cumulated median step of the joints.

    Unlike the centre of the joints, the median step does not change when other joints become visible. The float64
    coordinates are computed on request, because those of a long track would take twice its memory.

    Args:
        keypoint: (T, V, 2) in pixels.
        size: Body size in pixels, the unit of the coordinates.
    """

    def __init__(self, keypoint: np.ndarray, size: float) -> None:
        self._keypoint, self._size = keypoint, size
        self.shape = keypoint.shape[:2]
        # Mask (T, V) of joints to leave out.
        self.gone = new_array(self.shape, bool)
        self._path = new_array((len(keypoint), 2), np.float64)
        place = np.zeros(2)
        for rows in row_blocks(len(keypoint) - 1, keypoint, self._path):
            step = np.diff(keypoint[rows.start : rows.stop + 1].astype(float), axis=0)
            known = (~np.isnan(step[..., 0])).sum(1) >= 5
            path = np.where(known[:, None], median_seen(step, axis=1), 0.0)
            path[:1] += place
            self._path[rows.start + 1 : rows.stop + 1] = path.cumsum(0)
            place = self._path[rows.stop].copy()

    def __len__(self) -> int:
        return len(self._keypoint)

    def __getitem__(self, rows: slice) -> np.ndarray:
        still = self._keypoint[rows].astype(float)
        still -= self._path[rows, None]
        still /= self._size
        still[self.gone[rows]] = np.nan
        release(self._keypoint, self._path, self.gone)
        return still


def _leaps(still: _Still, time: np.ndarray, deviations: float, min_speed: float) -> np.ndarray:
    """Return a mask (T, V) of the joints that jump, from relative coordinates (T, V, 2) in body sizes."""
    length = len(still)
    if length < 3:
        return np.zeros(still.shape, bool)
    speeds = Values((length - 1) * still.shape[1])
    for rows in row_blocks(length - 1):
        ahead = slice(rows.start, rows.stop + 1)
        speed = np.linalg.norm(np.diff(still[ahead], axis=0), axis=-1) / np.diff(time[ahead])[:, None]
        speeds.add(speed[~np.isnan(speed)])
    limit = min_speed
    if len(speeds):
        middle = speeds.median()
        speeds.subtract(middle)
        limit = max(min_speed, middle + deviations * DEVIATION * speeds.median())
    del speeds

    gone = new_array(still.shape, bool)
    for rows in row_blocks(length, gone):
        gone[rows] = _leaps_in(still, time, rows.start, rows.stop, limit)
    return gone


def _leaps_in(still: _Still, time: np.ndarray, first: int, stop: int, limit: float) -> np.ndarray:
    """Return a mask of the joints that jump in the frames from `first` to `stop` - 1.

    Args:
        still: Relative coordinates (T, V, 2) of all frames, in body sizes.
        time: Times (T,) in seconds.
        first: Position of the first frame.
        stop: Position after the last frame.
        limit: Speed limit of the track, in body sizes per second.
    """
    low, high, length = max(0, first - REACH), min(len(still), stop + REACH), stop - first
    missing = REACH - (first - low), REACH - (high - stop)
    # Two stacks of neighbours (REACH, T, V, 2): the preceding and the following frames.
    padded = np.pad(still[low:high], (missing, (0, 0), (0, 0)), constant_values=np.nan)
    clock = np.pad(time[low:high], missing, mode="edge")
    here, time = still[first:stop], time[first:stop]
    before = np.stack([padded[REACH - o : REACH - o + length] for o in range(1, REACH + 1)])
    after = np.stack([padded[REACH + o : REACH + o + length] for o in range(1, REACH + 1)])
    waits = [np.abs(clock[REACH + o : REACH + o + length] - time) for o in (-1, -2, -3, 1, 2, 3)]
    around = np.concatenate((before, after))
    distance = np.linalg.norm(around - here, axis=-1)
    seen = ~np.isnan(distance)
    # Closer neighbours have larger weights, to detect small jumps; three distant ones outvote one close neighbour.
    weight = np.tile(1.0 / np.arange(1, REACH + 1), 2)[:, None, None] * seen
    beyond = weight * (distance > limit * np.stack(waits)[..., None] + NOISE_DISTANCE)
    outvoted = (beyond.sum(0) > 0.51 * weight.sum(0)) & (seen.sum(0) >= 3)
    if not outvoted.any():
        return outvoted
    start, end = median_seen(before), median_seen(after)
    way = np.linalg.norm(end - start, axis=-1)
    off = np.linalg.norm(here - 0.5 * (start + end), axis=-1)
    # At both ends of a track there is no path between neighbours, so only the vote counts.
    return outvoted & (np.isnan(way) | (off > 0.75 * way + NOISE_DISTANCE))


def _stretches(still: _Still, score: np.ndarray, deviations: float, min_stretch: float) -> np.ndarray:
    """Return a mask (T, V) of the joints at the wrong end of an overlong bone."""
    gone = new_array(still.shape, bool)
    if still.shape[1] != COCO17.num_joints:
        return gone
    first, second = _BONES.T
    # Bones first, because the medians are those of a bone in all frames.
    bone = new_array((len(_BONES), len(still)), np.float64)
    for rows in row_blocks(len(still), bone):
        block = still[rows]
        bone[:, rows] = np.linalg.norm(block[:, first] - block[:, second], axis=-1).T
    # Perspective shortens bones, but never lengthens them, so only excess length counts.
    longest = np.empty(len(_BONES))
    for bones in _blocks_of_bones(*bone.shape):
        middle = median_seen(bone[bones], axis=1)
        spread = median_seen(np.abs(bone[bones] - middle[:, None]), axis=1)
        longest[bones] = middle + np.maximum(deviations * DEVIATION * spread, min_stretch)
        release(bone)
    for rows in row_blocks(len(still), bone, score, gone):
        # NaN compares as False.
        long = bone[:, rows] > longest[:, None]
        if long.any():
            gone[rows] = _wrong_ends(long, score[rows])
    return gone


def _wrong_ends(long: np.ndarray, score: np.ndarray) -> np.ndarray:
    """Return a mask (T, V) of the joints to blame for stretched bones.

    Args:
        long: Mask (B, T) of the bones that are stretched.
        score: Scores (T, V) of the joints.
    """
    faults, gone = np.zeros(score.shape, np.uint8), np.zeros(score.shape, bool)
    for number, (one, other) in enumerate(_BONES):
        faults[:, one] += long[number]
        faults[:, other] += long[number]
    blame = np.subtract(faults, score, dtype=float)
    for number, (one, other) in enumerate(_BONES):
        worse = blame[:, one] > blame[:, other]
        gone[:, one] |= long[number] & worse
        gone[:, other] |= long[number] & ~worse
    return gone


def _blocks_of_bones(number: int, length: int) -> Iterator[slice]:
    """Yield blocks of bones: all of them for a short track, so that temporary arrays stay small."""
    step = max(1, BLOCK * number // max(length, 1))
    for first in range(0, number, step):
        yield slice(first, first + step)


def fill_gaps(video: VideoPoses, *, max_seconds: float) -> VideoPoses:
    """Fill the gaps between observed positions of a joint, and mark them as `imputed`.

    Positions are interpolated linearly over time, not over frame numbers. The score of a filled joint is half the
    smaller score at both ends of the gap. Nothing is extrapolated before the first or after the last observation.

    Args:
        video: Tracked video.
        max_seconds: Maximum time between the two observations.

    Returns:
        The video with filled gaps.
    """
    tracks, filled = fresh(video.tracks), 0

    def parts(track: PoseTrack) -> Iterator[PoseTrack]:
        nonlocal filled
        time = video.time[track.start : track.stop]
        for rows in track.row_blocks():
            # With both ends of every gap that is short enough.
            first = int(np.searchsorted(time, time[rows.start] - max_seconds - 2 * GAP_SLACK, side="left"))
            last = int(np.searchsorted(time, time[rows.stop - 1] + max_seconds + 2 * GAP_SLACK, side="right"))
            keypoint, score = track.keypoint[first:last].copy(), track.keypoint_score[first:last].copy()
            own = slice(rows.start - first, rows.stop - first)
            gap = _fill(keypoint, score, time[first:last], max_seconds)[own]
            filled += int(gap.sum())
            part = track.part(rows)
            yield replace(part, keypoint=keypoint[own], keypoint_score=score[own], imputed=part.imputed | gap)

    for track in video.tracks:
        add_parts(tracks, track, parts(track))
    return with_step(video, tracks, "fill_gaps", {"max_seconds": max_seconds}, {"joints_filled": filled})


def _fill(keypoint: np.ndarray, score: np.ndarray, time: np.ndarray, max_seconds: float) -> np.ndarray:
    """Fill the gaps of joints (T, V, 2) and their scores (T, V) in place; return where, bool (T, V)."""
    seen = ~np.isnan(keypoint[..., 0])
    rows = np.arange(len(keypoint))[:, None]
    before = np.maximum.accumulate(np.where(seen, rows, -1), axis=0)
    after = np.minimum.accumulate(np.where(seen, rows, len(keypoint))[::-1], axis=0)[::-1]
    gap: np.ndarray = ~seen & (before >= 0) & (after < len(keypoint))
    before, after = np.where(gap, before, 0), np.where(gap, after, 0)
    # Rounding of time stamps must not exclude a gap of exactly the maximum length.
    gap &= time[after] - time[before] <= max_seconds + GAP_SLACK
    row, joint = np.nonzero(gap)
    start, end = before[row, joint], after[row, joint]
    part = ((time[row] - time[start]) / (time[end] - time[start]))[:, None]
    keypoint[row, joint] = (1 - part) * keypoint[start, joint] + part * keypoint[end, joint]
    score[row, joint] = 0.5 * np.minimum(score[start, joint], score[end, joint])
    return gap


def smooth(video: VideoPoses, *, window_seconds: float) -> VideoPoses:
    """Smooth the path of each joint by local least-squares fits of parabolas (Savitzky-Golay filter).

    The fit uses time instead of frame numbers, so that it is valid for uneven sampling (Gorry 1991), and does not cross
    gaps. Joints with fewer than four positions in the window are not changed.

    Args:
        video: Tracked video.
        window_seconds: Width of the window, including both sides.

    Returns:
        The smoothed video.
    """
    tracks, smoothed = fresh(video.tracks), 0

    def parts(track: PoseTrack) -> Iterator[PoseTrack]:
        nonlocal smoothed
        time = video.time[track.start : track.stop]
        interval = float(np.median(np.diff(time))) if len(time) > 1 else window_seconds
        # Number of frames in half a window.
        half = min(int(np.ceil(0.5 * window_seconds / max(interval, 1e-6))), len(time) - 1)
        for rows in track.row_blocks():
            part = track.part(rows)
            if half < 1:
                yield part
                continue
            around = slice(max(rows.start - half, 0), rows.stop + half)
            keypoint, fitted = _smoothed(track.keypoint[around], time[around], window_seconds, half)
            own = slice(rows.start - around.start, rows.stop - around.start)
            smoothed += int(fitted[own].sum())
            yield replace(part, keypoint=keypoint[own])

    for track in video.tracks:
        add_parts(tracks, track, parts(track))
    return with_step(video, tracks, "smooth", {"window_seconds": window_seconds}, {"joints_smoothed": smoothed})


def _smoothed(keypoint: np.ndarray, time: np.ndarray, window: float, half: int) -> tuple[np.ndarray, np.ndarray]:
    """Return smoothed joints (T, V, 2), and a mask (T, V) of those that have changed.

    Args:
        keypoint: Joints (T, V, 2) in pixels.
        time: Times (T,) in seconds.
        window: Width of the window in seconds.
        half: Number of frames in half a window.
    """
    length = len(keypoint)
    seen = ~np.isnan(keypoint[..., 0])
    stretch = np.cumsum(~seen, axis=0)
    padded = np.pad(np.nan_to_num(keypoint).astype(float), ((half, half), (0, 0), (0, 0)))
    padded_seen = np.pad(seen, ((half, half), (0, 0)))
    padded_stretch = np.pad(stretch, ((half, half), (0, 0)), constant_values=-1)
    clock = np.pad(time, half, constant_values=np.inf)
    # Moments of the time offsets (T, V) and of the positions (T, V, 2), accumulated over the offsets.
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
    # Value of the parabola at offset 0: Cramer's rule for the three normal equations.
    m0, m1, m2, m3, m4 = (m[fitted] for m in moment)
    t0, t1, t2 = (t[fitted] for t in target)
    first, second, third = m2 * m4 - m3 * m3, m2 * m3 - m1 * m4, m1 * m3 - m2 * m2
    value = first[:, None] * t0 + second[:, None] * t1 + third[:, None] * t2
    result = keypoint.copy()
    result[fitted] = value / (m0 * first + m1 * second + m2 * third)[:, None]
    return result, fitted
