"""Tracks from the poses of each frame and their identities."""

from collections.abc import Sequence

import numpy as np

from pose_extraction.errors import UsageError
from pose_extraction.poses import FramePoses, PoseTrack


def build_tracks(frames: Sequence[FramePoses], ids: Sequence[np.ndarray]) -> list[PoseTrack]:
    """Collect the poses of each identity in one track, from the first to the last frame in which it was detected.

    Args:
        frames: T frames in order.
        ids: Identities int (M,) of the poses in each frame, -1 for poses to ignore.

    Returns:
        Tracks sorted by identity. Frames without a detection have NaN and score 0.

    Raises:
        UsageError: An identity occurs twice in a frame, or the numbers of poses and identities differ.
    """
    places: dict[int, list[tuple[int, int]]] = {}
    for position, (frame, names) in enumerate(zip(frames, ids, strict=True)):
        if len(names) != frame.num_persons:
            raise UsageError(f"frame {frame.frame_index} has {frame.num_persons} poses, but {len(names)} identities")
        for person, name in enumerate(names.tolist()):
            if name >= 0:
                places.setdefault(name, []).append((position, person))
    return [_track(frames, name, places[name]) for name in sorted(places)]


def _track(frames: Sequence[FramePoses], name: int, places: list[tuple[int, int]]) -> PoseTrack:
    start, length = places[0][0], places[-1][0] - places[0][0] + 1
    rows = [position - start for position, _ in places]
    if len(set(rows)) < len(rows):
        raise UsageError(f"identity {name} occurs twice in one frame: assign a different identity to each pose")
    num_joints = frames[start].keypoint.shape[1]
    track = PoseTrack(
        name,
        start,
        np.full((length, num_joints, 2), np.nan, np.float32),
        np.zeros((length, num_joints), np.float32),
        np.full((length, 4), np.nan, np.float32),
        np.zeros(length, np.float32),
        np.zeros((length, num_joints), bool),
    )
    for item in ("keypoint", "keypoint_score", "box", "box_score"):
        getattr(track, item)[rows] = [getattr(frames[position], item)[person] for position, person in places]
    return track
