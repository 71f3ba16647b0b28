"""Quality of poses, as counts that can be summed over videos, estimators and splits.

`frame_counts` analyses the output of an estimator before cleaning, `clean_counts` the result of cleaning. Both return a
flat mapping of names to numbers. `summarise` converts sums of such mappings into measures: missing joints and
missing people as in table 3 of MaskCLR's supplementary material, and properties of the tracks.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from pose_extraction.oks import OUTLINE_SHARE, box_centre, median_seen, oks
from pose_extraction.poses import FramePoses, PoseTrack, VideoPoses
from pose_extraction.tracking.joint_cleaning import body_size
from pose_extraction.tracking.tracks import build_tracks

# Lengths are counted in bins, so that medians of sums can be computed: exactly for frames, to 0.1 s for durations.
FRAMES_BIN = "tracks_of_frames/"
SECONDS_BIN = "tracks_of_seconds/"

# Poses of a track that are further apart in time than this are not used to detect identity switches.
SWITCH_SECONDS = 0.5


def frame_counts(
    frames: Sequence[FramePoses], ids: Sequence[np.ndarray], *, persons: int | None = None
) -> dict[str, float]:
    """Count properties of the raw output of an estimator.

    Args:
        frames: T frames, without duplicate persons (see `remove_duplicates`), which would count twice.
        ids: Track ids int (M,) of the poses in each frame from `Tracker`, -1 for none.
        persons: Number of people in every frame, if known. Otherwise, a person is expected in all frames from the
            first to the last of a track; people without a track, or before their track, do not count as missing.

    Returns:
        Counts for `summarise`.
    """
    found = np.array([frame.num_persons for frame in frames], float)
    joints = sum(frame.keypoint_score.size for frame in frames)
    missing = sum(int(np.isnan(frame.keypoint[..., 0]).sum()) for frame in frames)
    times = np.array([frame.time for frame in frames])
    return _counts(build_tracks(frames, ids), times, found, joints, missing, persons)


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
        unseen = np.isnan(track.keypoint[here, :, 0])
        joints, missing = joints + unseen.size, missing + int(unseen.sum())
    return _counts(video.tracks, video.time, found, joints, missing, persons)


def present(track: PoseTrack) -> np.ndarray:
    """Return a mask (T,) of the frames in which a person has a box or any joint."""
    here: np.ndarray = track.seen | ~np.isnan(track.keypoint[..., 0]).all(1)
    return here


def _counts(
    tracks: Sequence[PoseTrack], times: np.ndarray, found: np.ndarray, joints: int, missing: int, persons: int | None
) -> dict[str, float]:
    counts: defaultdict[str, float] = defaultdict(float)
    interval = float(np.median(np.diff(times))) if len(times) > 1 else 0.0
    if persons is None:
        expected = float(sum(len(track) for track in tracks))
        absent = float(sum((~present(track)).sum() for track in tracks))
    else:
        expected = float(persons * len(found))
        absent = float(np.maximum(persons - found, 0).sum())
    for track in tracks:
        seconds = float(times[track.stop - 1] - times[track.start]) + interval
        counts[f"{FRAMES_BIN}{len(track)}"] += 1
        counts[f"{SECONDS_BIN}{seconds:.1f}"] += 1
        counts["track_frames"] += len(track)
        counts["track_seconds"] += seconds
        unrest, samples = _jitter(track, times[track.start : track.stop])
        counts["jitter_weighted"] += unrest * samples
        counts["jitter_samples"] += samples
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
    keypoint = track.keypoint.astype(float)
    distance = np.linalg.norm(keypoint[1:-1] - (1 - part) * keypoint[:-2] - part * keypoint[2:], axis=-1)
    distance = distance[~np.isnan(distance)]
    return (float(np.median(distance)) / body_size(track), len(distance)) if len(distance) else (0.0, 0)


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
    centres = [_centres(track) for track in tracks]
    sizes = [body_size(track) for track in tracks]
    leaps = sum(_leaps_to_another(number, tracks, centres, sizes[number], times) for number in range(len(tracks)))
    by_start = sorted(range(len(tracks)), key=lambda number: (times[tracks[number].start], number))
    starts = np.array([times[tracks[number].start] for number in by_start])
    continued: set[int] = set()
    for number, track in enumerate(tracks):
        moment = times[track.stop - 1]
        soon = slice(*np.searchsorted(starts, (moment, moment + SWITCH_SECONDS), side="right"))
        for other in sorted(by_start[soon]):
            if other not in continued and np.linalg.norm(centres[other][0] - centres[number][-1]) <= sizes[number]:
                continued.add(other)
                break
    return leaps + len(continued)


def _centres(track: PoseTrack) -> np.ndarray:
    """Return the position (T, 2) of the body in each frame: the median joint, or the centre of the box."""
    joints = median_seen(track.keypoint.astype(float), axis=1)
    return np.where(np.isnan(joints), box_centre(track.box), joints)


def _leaps_to_another(
    number: int, tracks: Sequence[PoseTrack], centres: Sequence[np.ndarray], size: float, times: np.ndarray
) -> int:
    track, path = tracks[number], centres[number]
    rows = np.flatnonzero(present(track))
    if len(rows) < 2:
        return 0
    before, after = rows[:-1], rows[1:]
    leap = np.linalg.norm(path[after] - path[before], axis=-1) > size
    leap &= times[track.start + after] - times[track.start + before] <= SWITCH_SECONDS
    leap &= oks(track.keypoint[before], track.keypoint[after], OUTLINE_SHARE * size**2) < 0.05
    count = 0
    for ends in zip(before[leap], after[leap], strict=True):
        # Positions of the other tracks at the two times, if present.
        others = [
            centre[track.start + row - other.start]
            for place, (other, centre) in enumerate(zip(tracks, centres, strict=True))
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
