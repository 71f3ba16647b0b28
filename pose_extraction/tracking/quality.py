"""Quality of poses, as counts that can be summed over videos, estimators and splits.

`frame_counts` analyses the output of an estimator before cleaning, `clean_counts` the result of cleaning. Both return a
flat mapping of names to numbers. `summarise` converts sums of such mappings into measures: missing joints and
missing people as in table 3 of MaskCLR's supplementary material, and properties of the tracks.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from pose_extraction.arrays.mapped import new_array, row_blocks
from pose_extraction.arrays.statistics import Values
from pose_extraction.oks import OUTLINE_SHARE, box_centre, median_seen, oks
from pose_extraction.poses import PoseTrack, VideoPoses
from pose_extraction.tracking.joint_cleaning import body_size
from pose_extraction.tracking.tracks import TrackedPoses

# Lengths are counted in bins, so that medians of sums can be computed: exactly for frames, to 0.1 s for durations.
FRAMES_BIN = "tracks_of_frames/"
SECONDS_BIN = "tracks_of_seconds/"

# Poses of a track that are further apart in time than this are not used to detect identity switches.
SWITCH_SECONDS = 0.5


class _Path(NamedTuple):
    """Where a person is over time: positions `start` to `stop` - 1, and the centres (T, 2) of the body there."""

    start: int
    stop: int
    centres: np.ndarray


def frame_counts(
    poses: TrackedPoses, first: int = 0, last: int | None = None, *, persons: int | None = None
) -> dict[str, float]:
    """Count properties of the raw output of an estimator.

    Args:
        poses: The poses with their identities from `Tracker`, without duplicate persons (see `remove_duplicates`),
            which would count twice.
        first: Position of the first frame to count.
        last: Position after the last one; None for the end.
        persons: Number of people in every frame, if known. Otherwise, a person is expected in all frames from the
            first to the last of a track; people without a track, or before their track, do not count as missing.

    Returns:
        Counts for `summarise`.
    """
    rows = slice(first, last)
    found = poses.found[rows].astype(float)
    joints, missing = poses.joints(first, last)
    return _counts(poses.tracks(first, last), poses.time[rows], found, joints, missing, persons)


def clean_counts(video: VideoPoses, *, persons: int | None = None) -> dict[str, float]:
    """Count properties of cleaned tracks. A person with any joint in a frame, seen or imputed, is present in it.

    Args:
        video: Result of cleaning.
        persons: See `frame_counts`.

    Returns:
        Counts for `summarise`.
    """
    found = np.zeros(video.num_frames)
    joints = missing = 0
    for track in video.tracks:
        here = present(track)
        found[track.start : track.stop] += here
        for rows in track.row_blocks():
            unseen = np.isnan(track.keypoint[rows, :, 0])[here[rows]]
            joints, missing = joints + unseen.size, missing + int(unseen.sum())
    return _counts(video.tracks, video.time, found, joints, missing, persons)


def present(track: PoseTrack) -> np.ndarray:
    """Return a mask (T,) of the frames in which a person has a box or any joint."""
    here = track.seen
    for rows in track.row_blocks():
        here[rows] |= ~np.isnan(track.keypoint[rows, :, 0]).all(1)
    return here


def _counts(
    tracks: Sequence[PoseTrack], times: np.ndarray, found: np.ndarray, joints: int, missing: int, persons: int | None
) -> dict[str, float]:
    counts: defaultdict[str, float] = defaultdict(float)
    interval = float(np.median(np.diff(times))) if len(times) > 1 else 0.0
    length = unseen = 0
    for track in tracks:
        length, unseen = length + len(track), unseen + int((~present(track)).sum())
        seconds = float(times[track.stop - 1] - times[track.start]) + interval
        counts[f"{FRAMES_BIN}{len(track)}"] += 1
        counts[f"{SECONDS_BIN}{seconds:.1f}"] += 1
        counts["track_frames"] += len(track)
        counts["track_seconds"] += seconds
        unrest, samples = _jitter(track, times[track.start : track.stop])
        counts["jitter_weighted"] += unrest * samples
        counts["jitter_samples"] += samples
    if persons is None:
        expected, absent = float(length), float(unseen)
    else:
        expected = float(persons * len(found))
        absent = float(np.maximum(persons - found, 0).sum())
    totals = {
        "videos": 1.0,
        "frames": float(len(found)),
        "frames_without_people": float((found == 0).sum()),
        "poses": float(found.sum()),
        "joints": float(joints),
        "joints_missing": float(missing),
        "people_expected": expected,
        "people_missing": absent,
        "tracks": float(len(tracks)),
        "suspected_switches": float(_switches(tracks, times)),
    }
    return {**totals, **counts}


def _jitter(track: PoseTrack, times: np.ndarray) -> tuple[float, int]:
    """Return the median distance of a joint from linear motion between its neighbouring frames, and the sample count.

    The distance is in body sizes. It is half the second difference, adapted to uneven sampling: noise has full weight,
    constant velocity none.
    """
    if len(track) < 3:
        return 0.0, 0
    part = ((times[1:-1] - times[:-2]) / (times[2:] - times[:-2]))[:, None, None]
    distances = Values(len(part) * track.keypoint.shape[1])
    for rows in row_blocks(len(part), track.keypoint):
        keypoint, share = track.keypoint[rows.start : rows.stop + 2].astype(float), part[rows]
        some = np.linalg.norm(keypoint[1:-1] - (1 - share) * keypoint[:-2] - share * keypoint[2:], axis=-1)
        distances.add(some[~np.isnan(some)])
    if not len(distances):
        return 0.0, 0
    return distances.median() / body_size(track), len(distances)


def _switches(tracks: Sequence[PoseTrack], times: np.ndarray) -> int:
    """Count suspected identity switches.

    A switch is suspected if a track jumps: between two detections at most `SWITCH_SECONDS` apart, it moves by more than
    its body size to a dissimilar pose (OKS below 0.05), and another track is within a body size of its origin or
    destination. It is also suspected if a track ends, and another begins within `SWITCH_SECONDS` and a body size, so
    that one person has two identities.
    """
    if len(tracks) < 2:
        return 0
    # Compare only tracks that are close in time: a long video has many tracks, most of them far apart.
    paths, sizes = [], []
    for track in tracks:
        paths.append(_Path(track.start, track.stop, _centres(track)))
        sizes.append(body_size(track))
    leaps = sum(_leaps_to_another(track, number, paths, sizes[number], times) for number, track in enumerate(tracks))
    by_start = sorted(range(len(paths)), key=lambda number: (times[paths[number].start], number))
    starts = np.array([times[paths[number].start] for number in by_start])
    continued: set[int] = set()
    for number, path in enumerate(paths):
        moment = times[path.stop - 1]
        soon = slice(*np.searchsorted(starts, (moment, moment + SWITCH_SECONDS), side="right"))
        for other in sorted(by_start[soon]):
            if other not in continued and np.linalg.norm(paths[other].centres[0] - path.centres[-1]) <= sizes[number]:
                continued.add(other)
                break
    return leaps + len(continued)


def _centres(track: PoseTrack) -> np.ndarray:
    """Return the position (T, 2) of the body in each frame: the median joint, or the centre of the box."""
    centres = new_array((len(track), track.keypoint.shape[-1]), np.float64)
    for rows in row_blocks(len(track), centres, *track.arrays):
        joints = median_seen(track.keypoint[rows].astype(float), axis=1)
        centres[rows] = np.where(np.isnan(joints), box_centre(track.box[rows]), joints)
    return centres


def _leaps_to_another(track: PoseTrack, number: int, paths: Sequence[_Path], size: float, times: np.ndarray) -> int:
    path = paths[number].centres
    rows = np.flatnonzero(present(track))
    if len(rows) < 2:
        return 0
    leaps: list[tuple[int, int]] = []
    for pairs in row_blocks(len(rows) - 1, path, track.keypoint):
        before, after = rows[pairs], rows[pairs.start + 1 : pairs.stop + 1]
        leap = np.linalg.norm(path[after] - path[before], axis=-1) > size
        leap &= times[track.start + after] - times[track.start + before] <= SWITCH_SECONDS
        leap &= oks(track.keypoint[before], track.keypoint[after], OUTLINE_SHARE * size**2) < 0.05
        leaps += zip(before[leap].tolist(), after[leap].tolist(), strict=True)
    count = 0
    for ends in leaps:
        # Positions of the other tracks at the two times, if present.
        others = [
            other.centres[track.start + row - other.start]
            for place, other in enumerate(paths)
            for row in ends
            if place != number and other.start <= track.start + row < other.stop
        ]
        if others:
            count += bool((np.linalg.norm(np.array(others)[:, None] - path[list(ends)], axis=-1) <= size).any())
    return count


def summarise(counts: Iterable[Mapping[str, float]]) -> dict[str, float | int | None]:
    """Convert counts of one or more videos into quality measures.

    Args:
        counts: Mappings from `frame_counts` or `clean_counts`, or sums of such mappings.

    Returns:
        videos, frames, frames_without_people, poses, tracks, suspected_switches (numbers);
        missing_keypoints_percent: missing joints in percent of all joints of detected poses;
        missing_people_percent: undetected people in percent of all expected people;
        track_frames_mean, track_frames_median, track_seconds_mean, track_seconds_median (to 0.1 s);
        jitter_percent: typical distance of a joint from linear motion, in percent of the body size.
        Measures with a denominator of 0 are None.
    """
    total: defaultdict[str, float] = defaultdict(float)
    for item in counts:
        for name, value in item.items():
            total[name] += value

    def share(part: str, whole: str, scale: float = 1.0) -> float | None:
        return scale * total[part] / total[whole] if total[whole] else None

    numbers = ("videos", "frames", "frames_without_people", "poses", "tracks", "suspected_switches")
    return {
        **{name: round(total[name]) for name in numbers},
        "missing_keypoints_percent": share("joints_missing", "joints", 100),
        "missing_people_percent": share("people_missing", "people_expected", 100),
        "track_frames_mean": share("track_frames", "tracks"),
        "track_frames_median": _median_of_bins(total, FRAMES_BIN),
        "track_seconds_mean": share("track_seconds", "tracks"),
        "track_seconds_median": _median_of_bins(total, SECONDS_BIN),
        "jitter_percent": share("jitter_weighted", "jitter_samples", 100),
    }


def _median_of_bins(total: Mapping[str, float], prefix: str) -> float | None:
    bins = sorted(
        (float(name[len(prefix) :]), round(value)) for name, value in total.items() if name.startswith(prefix)
    )
    if not bins:
        return None
    values, numbers = np.array(bins).T
    return float(np.median(np.repeat(values, numbers.astype(int))))
