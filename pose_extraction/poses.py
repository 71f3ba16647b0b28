"""Data types of pose extraction.

The array order is always (M, T, V, C): persons, frames, joints, channels. Coordinates are pixels of the upright source
frame, with the origin at its top left corner and x to the right; sizes are (height, width); times are seconds since the
first frame of the stream. Unseen joints are NaN with score 0; joints created by a cleaning step are marked `imputed`.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from pose_extraction.arrays.mapped import new_array, release, row_blocks
from pose_extraction.skeleton import COCO17


@dataclass(slots=True)
class FramePoses:
    """Raw output of an estimator for one frame, before tracking.

    Args:
        frame_index: Number of the frame in the source, counted from 0.
        time: Seconds since the first frame of the stream.
        box: float32 (M, 4), x1 y1 x2 y2 in pixels.
        box_score: float32 (M,) in [0, 1].
        keypoint: float32 (M, V, 2) in pixels, NaN for unseen joints.
        keypoint_score: float32 (M, V) in [0, 1], 0 for unseen joints.
    """

    frame_index: int
    time: float
    box: np.ndarray
    box_score: np.ndarray
    keypoint: np.ndarray
    keypoint_score: np.ndarray

    @property
    def num_persons(self) -> int:
        """Number M of persons."""
        return len(self.box)

    @classmethod
    def empty(cls, frame_index: int, time: float, num_joints: int = COCO17.num_joints) -> "FramePoses":
        """Create a frame without persons."""
        return cls(
            frame_index,
            time,
            np.zeros((0, 4), np.float32),
            np.zeros(0, np.float32),
            np.zeros((0, num_joints, 2), np.float32),
            np.zeros((0, num_joints), np.float32),
        )


@dataclass(slots=True)
class PoseTrack:
    """One person over a contiguous range of the sampled frames of a video.

    Args:
        track_id: Identity, unique within the video.
        start: Position of the first row among the sampled frames (not the frame number in the source).
        keypoint: float32 (T, V, 2) in pixels, NaN where not seen; (T, V, 3) for imported 3D skeletons.
        keypoint_score: float32 (T, V), 0 where not seen.
        box: float32 (T, 4), x1 y1 x2 y2; NaN in frames in which the person was not detected.
        box_score: float32 (T,), 0 in frames in which the person was not detected.
        imputed: bool (T, V), True for joints that a cleaning step filled in.
    """

    track_id: int
    start: int
    keypoint: np.ndarray
    keypoint_score: np.ndarray
    box: np.ndarray
    box_score: np.ndarray
    imputed: np.ndarray

    def __len__(self) -> int:
        return len(self.keypoint)

    @property
    def stop(self) -> int:
        """Position after the last row."""
        return self.start + len(self)

    @property
    def seen(self) -> np.ndarray:
        """Mask (T,) of the frames in which the person was detected, not only imputed."""
        seen: np.ndarray = ~np.isnan(self.box[:, 0])
        release(self.box)
        return seen

    @property
    def arrays(self) -> tuple[np.ndarray, ...]:
        """The arrays of the track, in the order of its fields."""
        return self.keypoint, self.keypoint_score, self.box, self.box_score, self.imputed

    def part(self, rows: slice) -> "PoseTrack":
        """Return some of the rows, without copying them.

        Args:
            rows: First row and the one after the last.
        """
        return PoseTrack(self.track_id, self.start + rows.start, *(array[rows] for array in self.arrays))

    def row_blocks(self) -> Iterator[slice]:
        """Yield blocks of rows, so that the memory for a long track in a file is small; see `arrays.mapped`."""
        return row_blocks(len(self), *self.arrays)


@dataclass(slots=True)
class VideoPoses:
    """All tracks of a video, with time stamps and processing history.

    Args:
        frame_index: int64 (T,), frame number in the source of each sampled frame.
        time: float64 (T,), seconds since the first frame of the stream.
        size: (height, width) of the upright frame in pixels; (0, 0) for 3D skeletons without images.
        tracks: Persons, sorted by importance after `cleaning.rank_persons`; those of a long video are read from a
            temporary file, at every access.
        history: One entry per step, {"step": name, "parameters": {...}, "counts": {...}}, oldest first.
    """

    frame_index: np.ndarray
    time: np.ndarray
    size: tuple[int, int]
    tracks: Sequence[PoseTrack]
    history: list[dict[str, Any]] = field(default_factory=list)

    @property
    def num_frames(self) -> int:
        """Number T of sampled frames."""
        return len(self.time)

    def dense(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Stack the tracks over all T frames. Large arrays are in temporary files; see `arrays.mapped`.

        Returns:
            keypoint float32 (M, T, V, D), NaN where not seen; keypoint_score float32 (M, T, V); imputed bool (M, T, V).
        """
        num_joints, dimensions = self.tracks[0].keypoint.shape[1:] if self.tracks else (COCO17.num_joints, 2)
        shape = (len(self.tracks), self.num_frames, num_joints)
        keypoint = new_array((*shape, dimensions), np.float32)
        score, imputed = new_array(shape, np.float32), new_array(shape, bool)
        for person, track in enumerate(self.tracks):
            for rows in row_blocks(self.num_frames, keypoint):
                keypoint[person, rows] = np.nan
            for rows in track.row_blocks():
                part = track.part(rows)
                here = slice(part.start, part.stop)
                keypoint[person, here] = part.keypoint
                score[person, here] = part.keypoint_score
                imputed[person, here] = part.imputed
                release(keypoint, score, imputed)
        return keypoint, score, imputed
