"""Online tracking compared with tracking of the whole video."""

import numpy as np
import pytest

from pose_extraction.extraction import ExtractionSettings, cut, follow
from pose_extraction.following import Follower
from pose_extraction.poses import FramePoses
from test_support.videos.made_video import made_box, made_keypoint

SIZE, FPS = (240, 320), 25.0


def walking(frames: int, missing: range = range(0)) -> list[FramePoses]:
    """Two walking people without estimation errors; the second is missing in some frames."""
    found = []
    for index in range(frames):
        time = index / FPS
        kept = [0] if index in missing else [0, 1]
        found.append(
            FramePoses(
                index,
                time,
                made_box(time, SIZE, 2)[kept],
                np.ones(len(kept), np.float32),
                made_keypoint(time, SIZE, 2)[kept],
                np.ones((len(kept), 17), np.float32),
            )
        )
    return found


def test_a_period_equals_that_of_the_whole_video() -> None:
    frames = walking(150, missing=range(70, 76))
    (whole,) = follow(frames, SIZE, ExtractionSettings())
    follower = Follower(SIZE, ExtractionSettings())
    for number, poses in enumerate(frames):
        follower.add(poses)
        if number == 110:
            stretch = follower.stretch(2.0, 3.2)
    expected = cut(whole.poses, 50, 80)
    assert stretch.frame_index.tolist() == list(range(50, 80)) == expected.frame_index.tolist()
    by_id = {track.track_id: track for track in stretch.tracks}
    assert sorted(by_id) == sorted(track.track_id for track in expected.tracks) == [0, 1]
    for track in expected.tracks:
        own = by_id[track.track_id]
        np.testing.assert_allclose(own.keypoint, track.keypoint, atol=1e-3)
        assert np.array_equal(own.imputed, track.imputed)
    # The gap was filled from both sides, although it ends close to the end of the period.
    assert by_id[1].imputed[20:26].all() and not by_id[0].imputed.any()


def test_forgotten_frames_are_removed_and_identities_persist() -> None:
    follower = Follower(SIZE, ExtractionSettings())
    for poses in walking(200):
        follower.add(poses)
        follower.forget(poses.time - 1.0)
    late = follower.stretch(7.0, 8.0)
    assert late.num_frames == 25 and sorted(track.track_id for track in late.tracks) == [0, 1]
    assert follower.stretch(0.0, 5.0).num_frames == 0


def test_persons_of_the_newest_frame() -> None:
    follower = Follower(SIZE, ExtractionSettings())
    frames = walking(10)
    frames[-1].keypoint_score[1, 4] = 0.05
    for poses in frames:
        follower.add(poses)
    now = follower.now()
    assert now.frame_index.tolist() == [9] and [track.track_id for track in now.tracks] == [0, 1]
    np.testing.assert_array_equal(now.tracks[0].keypoint[0], frames[-1].keypoint[0])
    assert np.isnan(now.tracks[1].keypoint[0, 4]).all()


@pytest.mark.parametrize("frames", [0, 1])
def test_an_empty_period(frames: int) -> None:
    follower = Follower(SIZE, ExtractionSettings())
    for poses in walking(frames):
        follower.add(poses)
    assert follower.stretch(5.0, 6.0).num_frames == 0 and not follower.stretch(5.0, 6.0).tracks
