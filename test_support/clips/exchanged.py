"""Clips for testing the formats of other programs, and their comparison."""

from pathlib import Path
from typing import Any

import numpy as np

from pose_extraction.exchange.clips import PoseClip
from pose_extraction.exchange.names import with_joints
from pose_extraction.exchange.table import (
    DEPTH,
    EMPTY,
    FORMATS,
    IDS,
    IMPUTED,
    JOINTS,
    RATE,
    SCORES,
    SIZE,
    TIMES,
)
from pose_extraction.skeleton import COCO17, H36M17

# A standing person, 1 high.
STANDING = np.array(
    [
        (0.0, -0.42), (0.02, -0.44), (-0.02, -0.44), (0.04, -0.43), (-0.04, -0.43), (0.11, -0.30), (-0.11, -0.30),
        (0.14, -0.15), (-0.14, -0.15), (0.15, 0.0), (-0.15, 0.0), (0.07, 0.0), (-0.07, 0.0), (0.07, 0.24),
        (-0.07, 0.24), (0.07, 0.48), (-0.07, 0.48),
    ]
)  # fmt: skip


def made_clip(
    *, persons: int = 2, frames: int = 12, fps: float = 29.97, seed: int = 0, dimensions: int = 2, missing: float = 0.2
) -> PoseClip:
    """Return persons who stand side by side and sway, with unseen joints, a frame without persons, and uneven times.

    Args:
        persons: Number of persons, with ids that are not their numbers; a single one has the id 0.
        frames: Number of frames, at least 4.
        fps: Frames per second.
        seed: Of the noise.
        dimensions: 2 for pixels in COCO-17, 3 for metres in Human3.6M's joints.
        missing: Share of unseen joints.
    """
    rng = np.random.default_rng(seed)
    layout = COCO17 if dimensions == 2 else H36M17
    height = 200.0 if dimensions == 2 else 1.7
    body = np.zeros((17, dimensions))
    body[:, :2] = STANDING * height
    centre = np.zeros((persons, 1, 1, dimensions))
    centre[..., 0], centre[..., 1] = (np.arange(persons)[:, None, None] + 1) * height * 1.3, height
    sway = rng.normal(0, height / 200, (persons, frames, 17, dimensions)).cumsum(axis=1)
    keypoint = (centre + body + sway).astype(np.float32)
    score = rng.uniform(0.05, 1, (persons, frames, 17)).astype(np.float32)
    unseen = rng.random((persons, frames, 17)) < missing
    # The shoulders and hips are always seen, so that every person is in every frame but one.
    unseen[:, :, [5, 6, 11, 12]] = False
    unseen[:, 2] = True
    imputed = ~unseen & (rng.random(unseen.shape) < 0.1)
    keypoint[unseen], score[unseen] = np.nan, 0
    index = np.arange(frames)
    time = index / fps + rng.uniform(0, 0.2 / fps, frames)
    return PoseClip(
        layout.joints, keypoint, score, index, time, fps, (720, 1280) if dimensions == 2 else None,
        np.array([3, 11, 7, 20, 4][:persons] if persons > 1 else [0]), imputed=imputed,
    )  # fmt: skip


def file_for(name: str, folder: Path) -> Path:
    """Return the path of a clip in a format."""
    suffixes = FORMATS[name].suffixes
    return folder / f"clip{suffixes[0] if suffixes else ''}"


def assert_same(read: PoseClip, clip: PoseClip, lacks: frozenset[str], *, pixels: float = 0.0) -> None:
    """Assert that a clip is what was written, but for what its format lacks.

    Args:
        read: The clip in the file.
        clip: The clip that was written.
        lacks: Parts that may differ.
        pixels: Largest difference of coordinates.
    """
    assert JOINTS not in lacks
    assert read.keypoint.dtype == read.keypoint_score.dtype == np.float32
    read = with_joints(read, clip.joints, "read")
    rows = np.searchsorted(clip.frame_index, read.frame_index)
    assert np.array_equal(clip.frame_index[rows], read.frame_index), "frame numbers"
    others = np.setdiff1d(np.arange(clip.num_frames), rows)
    assert not len(others) or (EMPTY in lacks and not clip.seen[:, others].any()), "frames"
    persons = _persons(read, clip, ordered=IDS not in lacks)
    joints, written = read.keypoint[persons], clip.keypoint[:, rows]
    assert np.array_equal(np.isnan(joints), np.isnan(written)), "unseen joints"
    assert np.nanmax(np.abs(joints - written)) <= pixels, "joints"
    score = clip.seen[:, rows] if SCORES in lacks else clip.keypoint_score[:, rows]
    assert np.array_equal(read.keypoint_score[persons], score.astype(np.float32)), "scores"
    if TIMES not in lacks:
        # Times of frames without persons are interpolated where the format has none.
        known = clip.seen[:, rows].any(axis=(0, 2)) | (EMPTY not in lacks)
        assert np.array_equal(read.time[known], clip.time[rows][known]), "times"
    if RATE not in lacks:
        assert abs(read.fps / clip.fps - 1) < (1e-9 if clip.is_regular else 0.25), "frame rate"
    if SIZE not in lacks:
        assert read.size == clip.size, "frame size"
    if IMPUTED not in lacks:
        assert read.imputed is not None and clip.imputed is not None
        assert np.array_equal(read.imputed[persons], clip.imputed), "imputed"


def _persons(read: PoseClip, clip: PoseClip, *, ordered: bool) -> list[int]:
    """Return for each written person the one that was read: by id, or else by the place."""
    assert read.num_persons == clip.num_persons, "persons"
    if ordered:
        assert sorted(read.track_id) == sorted(clip.track_id), "ids"
        return [read.track_id.tolist().index(number) for number in clip.track_id]
    places = [np.nanmedian(one.keypoint, axis=(1, 2)) for one in (read, clip)]
    return [int(np.argmin(np.linalg.norm(places[0] - place, axis=-1))) for place in places[1]]


def what_can_be_written(name: str) -> list[int]:
    """Return the numbers of coordinates, 2 and 3, that a format can hold."""
    return [2] if DEPTH in FORMATS[name].lacks else [2, 3]


def annotation_with(clip: PoseClip, frame_dir: str, label: str | None, **more: Any) -> dict[str, Any]:
    """Return the annotation that `skelpipe extract` would write for a clip in 2D."""
    return {
        "frame_dir": frame_dir,
        "label": -1,
        "total_frames": clip.num_frames,
        "img_shape": clip.size,
        "original_shape": clip.size,
        "keypoint": np.nan_to_num(clip.keypoint),
        "keypoint_score": clip.keypoint_score,
        "label_name": label,
        "group": None,
        "track_id": clip.track_id,
        "frame_index": clip.frame_index,
        "time": clip.time,
        "fps": clip.fps,
        **more,
    }
