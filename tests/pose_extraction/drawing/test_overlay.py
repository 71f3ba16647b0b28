"""Overlays: marks on the joints, distinguishable persons, and the frames of the source."""

from pathlib import Path

import numpy as np
import pytest

from pose_extraction.drawing.overlay import write_overlay
from pose_extraction.drawing.persons import draw_poses, line_thickness, track_colour
from pose_extraction.poses import PoseTrack, VideoPoses
from pose_extraction.video.reader import VideoReader
from test_support.videos.made_video import made_box, made_keypoint, write_made_clip

GREY = 128


def drawn(size: tuple[int, int], score: float = 1.0, persons: int = 1, ids: tuple[int, ...] = (0,)) -> np.ndarray:
    keypoint = made_keypoint(0, size, persons)
    image = np.full((*size, 3), GREY, np.uint8)
    scores = np.full((persons, 17), score)
    return draw_poses(image, keypoint, scores, np.array(ids), made_box(0, size, persons))


@pytest.mark.parametrize("size", [(240, 320), (1080, 1920)])
def test_marks_are_on_the_joints_at_any_size(size: tuple[int, int]) -> None:
    image = drawn(size)
    for x, y in np.round(made_keypoint(0, size)[0, 5:]).astype(int):
        assert np.abs(image[y, x].astype(int) - GREY).max() > 60
    # The line thickness scales with the frame.
    share = (image != GREY).any(-1).mean()
    assert 0.01 < share < 0.09
    assert line_thickness((1080, 1920)) >= 3 * line_thickness((240, 320))


def test_the_input_frame_is_not_modified() -> None:
    image = np.full((120, 160, 3), GREY, np.uint8)
    result = draw_poses(image, made_keypoint(0, (120, 160)), np.ones((1, 17)), np.array([3]), made_box(0, (120, 160)))
    assert (image == GREY).all() and (result != GREY).any()


def test_low_scores_fade_and_missing_joints_are_not_drawn() -> None:
    size = (480, 640)
    x, y = np.round(made_keypoint(0, size)[0, 13]).astype(int)
    strength = [np.abs(drawn(size, score)[y, x].astype(int) - GREY).max() for score in (0.0, 0.2, 0.5, 1.0)]
    assert strength[0] == 0
    assert strength[0] < strength[1] < strength[2] < strength[3]
    keypoint = np.full((1, 17, 2), np.nan)
    image = np.full((*size, 3), GREY, np.uint8)
    empty = draw_poses(image, keypoint, np.zeros((1, 17)), np.array([1]), np.full((1, 4), np.nan))
    assert (empty == GREY).all()


def test_imputed_joints_are_rings() -> None:
    size = (480, 640)
    keypoint = np.full((1, 17, 2), np.nan)
    keypoint[0, 13] = (320, 240)
    score, box = np.zeros((1, 17)), np.full((1, 4), [250.0, 150, 400, 300])
    score[0, 13] = 1
    image = np.full((*size, 3), GREY, np.uint8)
    seen = draw_poses(image, keypoint, score, np.array([1]), box)
    filled = draw_poses(image, keypoint, score, np.array([1]), box, imputed=np.ones((1, 17), bool))
    assert (seen[240, 320] != GREY).any()
    assert (filled[240, 320] == GREY).all() and (filled[235:246, 315:326] != GREY).any()


def test_identities_have_constant_and_distinct_colours() -> None:
    colours = np.array([track_colour(track_id) for track_id in range(12)], float)
    distance = np.linalg.norm(colours[:, None] - colours[None], axis=-1)
    assert distance[~np.eye(12, dtype=bool)].min() > 40
    assert min(distance[i, i + 1] for i in range(11)) > 120
    assert track_colour(7) == track_colour(7)


@pytest.mark.parametrize("shift", [-1e7, -500.0, 310.0, 1e7])
def test_persons_partly_or_wholly_outside_the_frame(shift: float) -> None:
    size = (240, 320)
    keypoint = made_keypoint(0, size) + np.float32(shift)
    box = made_box(0, size) + np.float32(shift)
    image = np.full((*size, 3), GREY, np.uint8)
    assert draw_poses(image, keypoint, np.ones((1, 17)), np.array([5]), box).shape == (*size, 3)


def test_a_distant_joint_does_not_affect_the_others() -> None:
    size = (240, 320)
    keypoint = made_keypoint(0, size)
    x, y = np.round(keypoint[0, 13]).astype(int)
    keypoint[0, 9] = 1e12
    image = draw_poses(
        np.full((*size, 3), GREY, np.uint8), keypoint, np.ones((1, 17)), np.array([5]), made_box(0, size)
    )
    assert (image[y, x] != GREY).any()


def made_poses(size: tuple[int, int], frame_index: np.ndarray, fps: float) -> VideoPoses:
    """The synthetic figure, known only in the sampled frames."""
    time = frame_index / fps
    rows = len(time)
    track = PoseTrack(
        track_id=4,
        start=0,
        keypoint=np.concatenate([made_keypoint(float(t), size) for t in time]),
        keypoint_score=np.ones((rows, 17), np.float32),
        box=np.concatenate([made_box(float(t), size) for t in time]),
        box_score=np.ones(rows, np.float32),
        imputed=np.zeros((rows, 17), bool),
    )
    return VideoPoses(frame_index, time, size, [track])


def test_an_overlay_has_all_frames_at_their_original_times(tmp_path: Path) -> None:
    size, times = (240, 320), [0.0, 0.04, 0.08, 0.3, 0.34, 0.5, 0.54, 0.58]
    source = write_made_clip(tmp_path / "source.mp4", size=size, times=times)
    poses = made_poses(size, np.arange(8), 25.0)
    poses.time = np.array(times)
    assert write_overlay(source, poses, tmp_path / "overlay.mp4") == []
    with VideoReader(tmp_path / "overlay.mp4") as reader:
        np.testing.assert_allclose([frame.time for frame in reader], times, atol=1e-3)


def test_an_overlay_of_a_strided_part_includes_frames_between_samples(tmp_path: Path) -> None:
    size = (240, 320)
    source = write_made_clip(tmp_path / "source.mp4", size=size, frames=50)
    poses = made_poses(size, np.arange(10, 31, 5), 25.0)
    write_overlay(source, poses, tmp_path / "overlay.mp4")
    with VideoReader(tmp_path / "overlay.mp4") as reader, VideoReader(source, start=0.4) as plain:
        pairs = list(zip(reader, plain, strict=False))
    # From the first sampled frame, 10, to the last frame before the next sample, 34.
    assert [original.index for _, original in pairs] == list(range(10, 35))
    for frame, original in pairs:
        assert frame.time == pytest.approx(original.time - 0.4, abs=1e-3)
        # The poses of the latest sampled frame, up to encoding errors.
        row = (original.index - 10) // 5
        track = poses.tracks[0]
        rows = (track.keypoint[row], track.keypoint_score[row], np.int64(4), track.box[row])
        expected = draw_poses(original.image, *(np.asarray(values)[None] for values in rows))
        error = np.abs(frame.image.astype(int) - expected).mean()
        assert error < 0.6 * np.abs(frame.image.astype(int) - original.image).mean()
        for other in {0, 1, 2, 3, 4} - {row}:
            rows = (track.keypoint[other], track.keypoint_score[other], np.int64(4), track.box[other])
            wrong = draw_poses(original.image, *(np.asarray(values)[None] for values in rows))
            assert error < np.abs(frame.image.astype(int) - wrong).mean()


def test_a_video_without_persons_is_written_without_poses(tmp_path: Path) -> None:
    source = write_made_clip(tmp_path / "source.mp4", frames=5)
    write_overlay(source, VideoPoses(np.arange(5), np.arange(5) / 25, (240, 320), []), tmp_path / "overlay.mp4")
    with VideoReader(tmp_path / "overlay.mp4") as reader, VideoReader(source) as plain:
        differences = [np.abs(a.image.astype(int) - b.image).mean() for a, b in zip(reader, plain, strict=True)]
    assert len(differences) == 5 and max(differences) < 4
