import itertools
import tracemalloc
from collections import Counter

import numpy as np
import pytest

from pose_extraction.oks import OUTLINE_SHARE, oks, pose_bounds
from pose_extraction.poses import FramePoses, PoseTrack, VideoPoses
from pose_extraction.tracking.joint_cleaning import body_size, fill_gaps
from pose_extraction.tracking.quality import clean_counts, frame_counts, summarise
from pose_extraction.tracking.tracks import build_tracks, tracked
from test_support.clips.made_motion import SIZE, STANDING

HEIGHT = 200.0


def frame(index: int, *places: float, time: float | None = None) -> FramePoses:
    """People standing at the given x positions."""
    time = index / 10 if time is None else time
    if not places:
        return FramePoses.empty(index, time)
    keypoint = np.stack([STANDING * HEIGHT + (x, 600) for x in places]).astype(np.float32)
    ones = np.ones(keypoint.shape[:2], np.float32)
    return FramePoses(index, time, pose_bounds(keypoint), ones[:, 0], keypoint, ones)


def video(frames: list[FramePoses], ids: list[np.ndarray]) -> VideoPoses:
    index, time = np.array([f.frame_index for f in frames]), np.array([f.time for f in frames])
    return VideoPoses(index, time, SIZE, build_tracks(frames, ids))


def test_missing_keypoints_are_counted_within_detected_poses():
    frames = [frame(0, 300), frame(1), frame(2, 300)]
    frames[2].keypoint[0, :4] = np.nan
    frames[2].keypoint_score[0, :4] = 0
    ids = [np.array([0]), np.zeros(0, int), np.array([0])]
    for counts in (frame_counts(tracked(frames, ids)), clean_counts(video(frames, ids))):
        assert summarise([counts])["missing_keypoints_percent"] == pytest.approx(100 * 4 / 34)


def test_missing_people_with_a_known_number():
    frames = [frame(0, 300, 700), frame(1, 300), frame(2), frame(3, 300, 600, 900)]
    ids = [np.arange(f.num_persons) for f in frames]
    assert summarise([frame_counts(tracked(frames, ids), persons=2)])["missing_people_percent"] == pytest.approx(
        100 * 3 / 8
    )


def test_missing_people_without_a_known_number_are_gaps_in_tracks():
    frames = [frame(0, 300), frame(1, 300), frame(2), frame(3, 300), frame(4)]
    ids = [np.arange(f.num_persons) for f in frames]
    assert summarise([frame_counts(tracked(frames, ids))])["missing_people_percent"] == pytest.approx(25)


def test_filled_gaps_are_not_missing_people():
    frames = [frame(0, 300), frame(1), frame(2, 300)]
    filled = fill_gaps(video(frames, [np.arange(f.num_persons) for f in frames]), max_seconds=0.5)
    assert summarise([clean_counts(filled)])["missing_people_percent"] == 0
    assert summarise([clean_counts(filled, persons=1)])["missing_people_percent"] == 0


def test_lengths_of_tracks_in_frames_and_seconds():
    lengths = (2, 3, 10)
    frames = [frame(i, *(300 + 300 * n for n, length in enumerate(lengths) if i < length)) for i in range(10)]
    ids = [np.array([n for n, length in enumerate(lengths) if i < length]) for i in range(10)]
    result = summarise([frame_counts(tracked(frames, ids))])
    assert result["tracks"] == 3
    assert result["track_frames_mean"] == 5
    assert result["track_frames_median"] == 3
    assert result["track_seconds_mean"] == pytest.approx(0.5)
    assert result["track_seconds_median"] == pytest.approx(0.3)


def test_counts_of_videos_add_up():
    short, long = [frame(i, 300) for i in range(2)], [frame(i, 300, 800) for i in range(8)]
    counts = [frame_counts(tracked(f, [np.arange(x.num_persons) for x in f]), persons=2) for f in (short, long)]
    total = Counter(counts[0])
    total.update(counts[1])
    assert summarise(counts) == summarise([total])
    assert summarise(counts)["videos"] == 2
    assert summarise(counts)["missing_people_percent"] == pytest.approx(10)
    assert summarise(counts)["track_frames_median"] == 8


def test_exchanged_identities_count_twice():
    frames = [frame(i, 300, 900) for i in range(10)]
    right = [np.array([0, 1])] * 10
    wrong = [np.array([0, 1])] * 5 + [np.array([1, 0])] * 5
    assert frame_counts(tracked(frames, right))["suspected_switches"] == 0
    assert frame_counts(tracked(frames, wrong))["suspected_switches"] == 2


def test_an_identity_that_ends_where_another_begins_counts():
    frames = [frame(i, 300) for i in range(10)]
    assert frame_counts(tracked(frames, [np.array([i // 5]) for i in range(10)]))["suspected_switches"] == 1
    far = [frame(i, 300 if i < 5 else 900) for i in range(10)]
    assert frame_counts(tracked(far, [np.array([i // 5]) for i in range(10)]))["suspected_switches"] == 0
    late = [*frames[:5], *(frame(i, 300, time=i / 10 + 1) for i in range(5, 10))]
    assert frame_counts(tracked(late, [np.array([i // 5]) for i in range(10)]))["suspected_switches"] == 0


def test_jitter_measures_noise_and_not_uniform_motion():
    """Uniform motion has no jitter even with uneven sampling; noise of 1 % of the body size results in about 1.4 %."""
    times = np.cumsum(np.random.default_rng(0).uniform(0.02, 0.06, 100))
    steady = [frame(i, 300 + 200 * t, time=t) for i, t in enumerate(times)]
    ids = [np.array([0])] * 100
    assert summarise([frame_counts(tracked(steady, ids))])["jitter_percent"] < 0.01
    box = pose_bounds(steady[0].keypoint)[0]
    size = np.sqrt((box[2] - box[0]) * (box[3] - box[1]))
    random = np.random.default_rng(1)
    for item in steady:
        item.keypoint += random.normal(0, 0.01 * size, item.keypoint.shape).astype(np.float32)
    # The noise of three positions is 1.22 standard deviations per axis; the median of a Rayleigh distribution 1.18.
    assert summarise([frame_counts(tracked(steady, ids))])["jitter_percent"] == pytest.approx(1.45, rel=0.1)


def test_measures_of_a_video_without_people_are_none():
    frames = [frame(i) for i in range(3)]
    result = summarise([frame_counts(tracked(frames, [np.zeros(0, int)] * 3))])
    assert result["frames_without_people"] == 3
    assert result["missing_keypoints_percent"] is result["missing_people_percent"] is result["jitter_percent"] is None
    assert (
        summarise([frame_counts(tracked(frames, [np.zeros(0, int)] * 3), persons=2)])["missing_people_percent"] == 100
    )
    assert summarise([])["videos"] == 0


def plain_switches(tracks: list[PoseTrack], times: np.ndarray) -> int:
    """Definition of `suspected_switches`, by comparing all pairs of tracks in all frames."""

    def centre(track: PoseTrack, position: int) -> np.ndarray:
        return np.nanmedian(track.keypoint[position - track.start].astype(float), axis=0)

    count, continued = 0, set()
    for track in tracks:
        size = body_size(track)
        rows = track.start + np.flatnonzero(track.seen)
        for one, two in itertools.pairwise(rows.tolist()):
            ends = [centre(track, one), centre(track, two)]
            poses = track.keypoint[one - track.start], track.keypoint[two - track.start]
            if np.linalg.norm(ends[1] - ends[0]) <= size or times[two] - times[one] > 0.5:
                continue
            if oks(*poses, OUTLINE_SHARE * size**2) < 0.05:
                count += any(
                    np.linalg.norm(centre(other, moment) - end) <= size
                    for other in tracks
                    for moment in (one, two)
                    for end in ends
                    if other is not track and moment in other.start + np.flatnonzero(other.seen)
                )
        for other in tracks:
            wait = times[other.start] - times[track.stop - 1]
            if other is track or other.track_id in continued or not 0 < wait <= 0.5:
                continue
            if np.linalg.norm(centre(other, other.start) - centre(track, track.stop - 1)) <= size:
                continued.add(other.track_id)
                break
    return count + len(continued)


@pytest.mark.parametrize("seed", range(5))
def test_switches_equal_the_plain_definition(seed):
    """Five people, absent in some frames, whose identities are exchanged or replaced at random."""
    random = np.random.default_rng(seed)
    frames, ids, names = [], [], np.arange(5)
    for index in range(60):
        if random.random() < 0.2:
            random.shuffle(names)
        names = np.where(random.random(5) < 0.03, names.max() + 1 + np.arange(5), names)
        here = random.random(5) < 0.8
        frames.append(frame(index, *(300 + 150 * np.flatnonzero(here))))
        ids.append(names[here])
    times = np.array([item.time for item in frames])
    expected = plain_switches(build_tracks(frames, ids), times)
    assert expected > 10
    assert frame_counts(tracked(frames, ids))["suspected_switches"] == expected


@pytest.mark.slow
def test_memory_does_not_grow_with_tracks_times_frames():
    """2000 consecutive tracks of three frames: an array of tracks x frames would have 190 MB."""
    frames = [frame(index, 300 + 40 * (index // 3 % 30)) for index in range(6000)]
    ids = [np.array([index // 3]) for index in range(6000)]
    tracemalloc.start()
    try:
        counts = frame_counts(tracked(frames, ids))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert counts["tracks"] == 2000
    assert peak < 20e6
