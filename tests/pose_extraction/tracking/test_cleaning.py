"""Cleaning with known ground truth: errors must decrease, real motion must be preserved."""

import copy
from dataclasses import replace

import numpy as np
import pytest
from scipy.signal import savgol_filter

from pose_extraction.errors import UsageError
from pose_extraction.oks import pose_bounds
from pose_extraction.poses import FramePoses, PoseTrack, VideoPoses
from pose_extraction.tracking import joint_cleaning
from pose_extraction.tracking.cleaning import CleaningSettings, clean, drop_tracks, rank_persons, remove_duplicates
from pose_extraction.tracking.joint_cleaning import fill_gaps, mask_low_scores, remove_jumps, smooth
from test_support.clips.made_motion import SIZE, STANDING, make_motion

JUMPS = {"deviations": 6.0, "min_speed": CleaningSettings().min_speed, "min_stretch": 0.25}
HEIGHT = 200.0


def track_of(keypoint: np.ndarray, *, name: int = 0, start: int = 0, score: float = 0.8) -> PoseTrack:
    """A track of poses (T, 17, 2), detected in all frames."""
    keypoint = np.asarray(keypoint, np.float32)
    seen = ~np.isnan(keypoint[..., 0])
    box = pose_bounds(keypoint).astype(np.float32)
    return PoseTrack(
        name,
        start,
        keypoint,
        np.where(seen, score, 0).astype(np.float32),
        box,
        np.full(len(keypoint), score, np.float32),
        np.zeros_like(seen),
    )


def video_of(*tracks: PoseTrack, rate: float = 25.0, times: np.ndarray | None = None) -> VideoPoses:
    count = max(track.stop for track in tracks)
    times = np.arange(count) / rate if times is None else times
    return VideoPoses(np.arange(count), np.asarray(times, float), SIZE, list(tracks))


def standing(count: int, *, x: float = 600.0, noise: float = 0.0, seed: int = 0, height: float = HEIGHT) -> np.ndarray:
    pose = np.tile(STANDING * height + (x, 600.0), (count, 1, 1))
    return pose + np.random.default_rng(seed).normal(0, 1, pose.shape) * noise * height


def walking(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Ground truth poses (T, 17, 2) of a walking person, and the times (T,)."""
    motion = make_motion(seed)
    rows = np.flatnonzero(~np.isnan(motion.keypoint[0, : motion.cut, 0, 0]))
    times = np.array([motion.frames[row].time for row in rows])
    return motion.keypoint[0, rows], times - times[0]


def boxer(speed: float, rate: float, *, seconds: float = 4.0) -> np.ndarray:
    """A standing person who punches with the left fist every second, by 0.35 heights at `speed` heights per second."""
    times = np.arange(int(seconds * rate)) / rate
    poses = standing(len(times), noise=0.004, seed=3)
    reach = 0.35
    out = np.clip(reach - np.abs((times % 1.0 - 0.5) * speed), 0, reach) * HEIGHT
    poses[:, 9, 0] += out
    poses[:, 7, 0] += out / 2
    return poses


def error(video: VideoPoses, truth: np.ndarray) -> float:
    """Root mean square error of the seen joints in pixels."""
    distance = np.linalg.norm(video.tracks[0].keypoint - truth, axis=-1)
    return float(np.sqrt(np.nanmean(distance**2)))


def as_frame(*poses: np.ndarray, scores: tuple[float, ...], boxes: list | None = None) -> FramePoses:
    keypoint = np.stack(poses).astype(np.float32)
    box = pose_bounds(keypoint) if boxes is None else np.asarray(boxes, np.float32)
    return FramePoses(
        0, 0.0, box, np.asarray(scores, np.float32), keypoint, np.full(keypoint.shape[:2], 0.8, np.float32)
    )


@pytest.fixture
def damaged() -> tuple[VideoPoses, np.ndarray]:
    """A walking person with noise, 2 % of the joints displaced by up to a body size, 5 % lost, and a gap of 0.25 s."""
    truth, times = walking(1)
    random = np.random.default_rng(7)
    keypoint = truth + random.normal(0, 0.01 * HEIGHT, truth.shape)
    thrown = random.random(truth.shape[:2]) < 0.02
    keypoint[thrown] += random.uniform(0.4, 1.0, (thrown.sum(), 2)) * random.choice([-1, 1], (thrown.sum(), 2)) * HEIGHT
    keypoint[random.random(truth.shape[:2]) < 0.05] = np.nan
    keypoint[40:46, 9] = np.nan
    return video_of(track_of(keypoint), times=times), truth


def test_cleaning_reduces_errors(damaged):
    video, truth = damaged
    result = clean(video, CleaningSettings())
    assert error(result, truth) < 0.3 * error(video, truth)
    gaps = np.isnan(video.tracks[0].keypoint[1:-1, :, 0])
    assert np.isnan(result.tracks[0].keypoint[1:-1, :, 0]).mean() < 0.1 * gaps.mean()


def test_displaced_joints_are_removed(damaged):
    video, truth = damaged
    far = np.linalg.norm(video.tracks[0].keypoint - truth, axis=-1) > 0.4 * HEIGHT
    result = remove_jumps(video, **JUMPS).tracks[0]
    gone = np.isnan(result.keypoint[..., 0])
    assert far.sum() > 20
    assert gone[far].mean() >= 0.98
    good = ~far & ~np.isnan(video.tracks[0].keypoint[..., 0])
    assert gone[good].mean() < 0.005
    assert (result.keypoint_score[gone] == 0).all()


@pytest.mark.parametrize("block", [1, 7, 60])
def test_a_long_track_is_searched_in_blocks_with_the_same_result(damaged, monkeypatch, block):
    video, _ = damaged
    at_once = remove_jumps(video, **JUMPS)
    monkeypatch.setattr(joint_cleaning, "BLOCK", block)
    in_blocks = remove_jumps(video, **JUMPS)
    assert in_blocks.history == at_once.history and at_once.history[-1]["counts"]["joints_leapt"] > 20
    assert in_blocks.tracks[0].keypoint.tobytes() == at_once.tracks[0].keypoint.tobytes()


@pytest.mark.parametrize("seed", [1, 2, 5])
def test_clean_walking_is_not_changed(seed):
    truth, times = walking(seed)
    video = video_of(track_of(truth), times=times)
    assert remove_jumps(video, **JUMPS).history[-1]["counts"] == {"joints_leapt": 0, "joints_stretched": 0}
    assert error(clean(video, CleaningSettings()), truth) < 0.005 * HEIGHT


@pytest.mark.parametrize("rate", [10.0, 15.0, 30.0, 60.0])
@pytest.mark.parametrize("metres_per_second", [3.0, 6.0])
def test_punches_are_not_jumps(rate, metres_per_second):
    video = video_of(track_of(boxer(metres_per_second / 1.7, rate)), rate=rate)
    assert remove_jumps(video, **JUMPS).history[-1]["counts"] == {"joints_leapt": 0, "joints_stretched": 0}


def test_a_rapidly_raised_arm_is_not_a_jump():
    """An arm raised overhead in 1/6 s by a person who stands still otherwise: faster than the speed limit."""
    poses = standing(60, noise=0.004)
    angle = np.clip((np.arange(60) - 30) / 5, 0, 1) * np.pi
    away = np.stack((np.sin(angle), np.cos(angle)), -1) * HEIGHT
    poses[:, 7] = poses[:, 5] + 0.17 * away
    poses[:, 9] = poses[:, 5] + 0.33 * away
    video = video_of(track_of(poses), rate=30.0)
    assert np.linalg.norm(np.diff(poses[:, 9], axis=0), axis=-1).max() * 30.0 > 5 * HEIGHT
    assert remove_jumps(video, **JUMPS).history[-1]["counts"] == {"joints_leapt": 0, "joints_stretched": 0}


def test_smoothing_preserves_the_amplitude_of_a_punch():
    poses = boxer(3 / 1.7, 30.0)
    result = smooth(video_of(track_of(poses), rate=30.0), window_seconds=0.25).tracks[0].keypoint
    reach, kept = np.ptp(poses[:, 9, 0]), np.ptp(result[:, 9, 0])
    assert kept > 0.85 * reach


def test_joints_on_the_wrong_body_are_detected_by_bone_lengths():
    poses = standing(100, noise=0.004)
    poses[40:60, 9] += (1.2 * HEIGHT, 0)
    gone = np.isnan(remove_jumps(video_of(track_of(poses)), **JUMPS).tracks[0].keypoint[..., 0])
    assert gone[40:60, 9].all()
    assert gone.sum() == 20


def test_low_score_joints_become_unseen():
    track = track_of(standing(4))
    track.keypoint_score[2, 5] = 0.1
    result = mask_low_scores(video_of(track), threshold=0.2)
    assert np.isnan(result.tracks[0].keypoint[2, 5]).all()
    assert result.tracks[0].keypoint_score[2, 5] == 0
    assert result.history[-1] == {
        "step": "mask_low_scores",
        "parameters": {"threshold": 0.2},
        "counts": {"joints_masked": 1},
    }


def test_gaps_are_interpolated_over_time_and_marked():
    times = np.array([0.0, 0.1, 0.4, 0.5, 0.6])
    poses = standing(5) + (np.array([0, 10, 40, 50, 60.0]))[:, None, None]
    holed = poses.copy()
    holed[1:3, 9] = np.nan
    result = fill_gaps(video_of(track_of(holed), times=times), max_seconds=0.5)
    np.testing.assert_allclose(result.tracks[0].keypoint, poses, atol=1e-3)
    assert np.argwhere(result.tracks[0].imputed).tolist() == [[1, 9], [2, 9]]
    assert result.tracks[0].keypoint_score[1, 9] == pytest.approx(0.4)
    assert result.history[-1]["counts"] == {"joints_filled": 2}


def test_long_gaps_and_ends_are_not_filled():
    poses = standing(40)
    poses[:2, 3], poses[10:30, 9], poses[-1, 4] = np.nan, np.nan, np.nan
    result = fill_gaps(video_of(track_of(poses)), max_seconds=0.5).tracks[0]
    assert not result.imputed.any()
    np.testing.assert_array_equal(np.isnan(result.keypoint), np.isnan(poses))


def test_smoothing_equals_savitzky_golay_for_even_sampling():
    poses = standing(60, noise=0.02)
    result = smooth(video_of(track_of(poses), rate=30.0), window_seconds=6.5 / 30).tracks[0].keypoint
    wanted = savgol_filter(poses, 7, 2, axis=0)
    np.testing.assert_allclose(result[3:-3], wanted[3:-3], atol=1e-2)


def test_smoothing_preserves_a_parabola_for_uneven_sampling():
    times = np.cumsum(np.random.default_rng(2).uniform(0.02, 0.06, 50))
    poses = standing(50) + (100 * times**2 - 80 * times)[:, None, None]
    result = smooth(video_of(track_of(poses), times=times), window_seconds=0.3).tracks[0].keypoint
    np.testing.assert_allclose(result, poses, atol=1e-2)


def test_smoothing_does_not_cross_gaps():
    poses = standing(41)
    poses[21:] += 100
    poses[20] = np.nan
    result = smooth(video_of(track_of(poses)), window_seconds=0.3).tracks[0].keypoint
    np.testing.assert_allclose(result, poses, atol=1e-2)


def test_a_box_inside_another_of_the_same_person_is_removed():
    pose = standing(1)[0]
    half = pose.copy()
    half[13:] = np.nan
    frame = as_frame(pose, half, scores=(0.9, 0.6))
    kept = remove_duplicates(frame)
    np.testing.assert_array_equal(kept.keypoint, frame.keypoint[:1])
    assert kept.box_score.tolist() == pytest.approx([0.9])


def test_two_people_one_behind_the_other_are_kept():
    front, behind = standing(1)[0], standing(1, x=612, height=0.75 * HEIGHT)[0] - (0, 30)
    frame = as_frame(front, behind, scores=(0.9, 0.6), boxes=[[560, 400, 640, 610], [588, 430, 636, 570]])
    kept = remove_duplicates(frame)
    assert kept.num_persons == 2


def test_one_of_two_equal_detections_is_kept():
    pose = standing(1)[0]
    kept = remove_duplicates(as_frame(pose, pose, scores=(0.7, 0.7)))
    assert kept.num_persons == 1


def test_a_box_with_a_higher_score_inside_a_larger_one_is_kept():
    pose = standing(1)[0]
    frame = as_frame(pose, pose, scores=(0.3, 0.9), boxes=[[400, 300, 900, 700], [550, 400, 650, 600]])
    kept = remove_duplicates(frame)
    assert kept.box_score.max() == pytest.approx(0.9)


def test_short_and_small_tracks_are_removed():
    limits = {"min_seconds": 0.2, "min_frames": 3, "min_area_share": 5000 / (960 * 540)}
    person = track_of(standing(100), name=0)
    short, small = track_of(standing(4), name=1, start=20), track_of(standing(100, height=60), name=2)
    result = drop_tracks(video_of(person, short, small), **limits)
    assert [track.track_id for track in result.tracks] == [0]
    assert result.history[-1]["counts"] == {
        "tracks_empty": 0,
        "tracks_too_short": 1,
        "tracks_too_small": 1,
        "tracks_kept": 1,
    }


def test_limits_never_remove_all_persons_of_a_short_or_distant_video():
    limits = {"min_seconds": 0.2, "min_frames": 3, "min_area_share": 5000 / (960 * 540)}
    assert len(drop_tracks(video_of(track_of(standing(2))), **limits).tracks) == 1
    crowd = [track_of(standing(50, height=60, x=300 + 100 * i), name=i) for i in range(3)]
    assert len(drop_tracks(video_of(*crowd), **limits).tracks) == 3


def test_moving_persons_rank_before_posters_and_passers_by():
    mover = track_of(boxer(1.5, 25.0), name=5)
    poster = track_of(standing(100, x=200, noise=0.004, height=1.3 * HEIGHT), name=1)
    passer = track_of(boxer(1.5, 25.0)[:20], name=2, start=30)
    result = rank_persons(video_of(poster, passer, mover), max_persons=2)
    assert result.tracks[0].track_id == 5
    assert len(result.tracks) == 2
    assert result.history[-1]["counts"] == {"persons_kept": 2, "persons_dropped": 1}


def test_ranking_does_not_depend_on_the_input_order():
    tracks = [track_of(standing(50, x=200 + 100 * i, noise=0.003, seed=i), name=i) for i in range(6)]
    tracks.append(replace(tracks[0], track_id=9))
    wanted = [track.track_id for track in rank_persons(video_of(*tracks), max_persons=None).tracks]
    for turn in range(1, 7):
        turned = video_of(*tracks[turn:], *tracks[:turn])
        assert [track.track_id for track in rank_persons(turned, max_persons=None).tracks] == wanted


def test_cleaning_does_not_modify_its_input_and_records_its_steps(damaged):
    video, _ = damaged
    before = copy.deepcopy(video)
    result = clean(video, CleaningSettings(smooth=True))
    steps = ["mask_low_scores", "remove_jumps", "drop_tracks", "fill_gaps", "smooth", "rank_persons"]
    assert [entry["step"] for entry in result.history] == steps
    assert video.history == []
    for name in ("keypoint", "keypoint_score", "box", "imputed"):
        np.testing.assert_array_equal(getattr(video.tracks[0], name), getattr(before.tracks[0], name))


@pytest.mark.parametrize("count", [1, 2, 3])
def test_cleaning_of_very_short_videos(count):
    result = clean(video_of(track_of(standing(count))), CleaningSettings(smooth=True))
    assert len(result.tracks[0]) == count


def test_cleaning_of_a_video_without_people():
    result = clean(VideoPoses(np.arange(3), np.arange(3) / 25, SIZE, []), CleaningSettings(smooth=True))
    assert result.tracks == []
    assert len(result.history) == 6


@pytest.mark.parametrize(("name", "value"), [("min_seconds", -1), ("max_persons", 0), ("smooth_seconds", 0)])
def test_settings_out_of_range_are_refused_by_name(name, value):
    with pytest.raises(UsageError, match=name):
        CleaningSettings(**{"smooth": True, name: value})
