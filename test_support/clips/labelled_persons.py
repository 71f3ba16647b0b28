"""A clip of two people who stand still next to each other."""

from typing import Any

import numpy as np

from pose_extraction.formats.annotations import annotation_from
from pose_extraction.poses import PoseTrack, VideoPoses

FRAMES, RATE = 20, 10.0


def standing_track(track_id: int, left: float, frames: int = FRAMES) -> PoseTrack:
    """Return a person whose joints span `left` to `left` + 40 and 100 to 300 pixels."""
    joints = np.stack([np.linspace(left, left + 40, 17), np.linspace(100, 300, 17)], axis=-1)
    keypoint = np.tile(joints, (frames, 1, 1)).astype(np.float32)
    return PoseTrack(
        track_id,
        0,
        keypoint,
        np.full((frames, 17), 0.9, np.float32),
        np.tile(np.array([left, 100, left + 40, 300], np.float32), (frames, 1)),
        np.ones(frames, np.float32),
        np.zeros((frames, 17), bool),
    )


def standing(*places: tuple[int, float], frames: int = FRAMES) -> VideoPoses:
    """Return a video of people who stand still: track number and left edge in pixels of each."""
    tracks = [standing_track(number, left, frames) for number, left in places]
    return VideoPoses(np.arange(frames), np.arange(frames) / RATE, (480, 640), tracks)


def two_persons(**fields: Any) -> dict[str, Any]:
    """Return the clip `two` of two.mp4, 2 s long, with track 3 at 100 and track 7 at 400 pixels."""
    video = standing((3, 100.0), (7, 400.0))
    return annotation_from(
        video, **{"frame_dir": "two", "estimator": "made", "fps": RATE, "source": "two.mp4", **fields}
    )
