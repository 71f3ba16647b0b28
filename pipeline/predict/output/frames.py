"""The frames and boxes of the persons in predicted clips, for formats that need them."""

from dataclasses import dataclass, field

import numpy as np

from pipeline.predict.observer import Observer
from pose_extraction.poses import PoseTrack, VideoPoses


@dataclass(slots=True)
class ClipFrames:
    """The sampled frames of a clip.

    Args:
        size: (height, width) of the frame in pixels; (0, 0) in 3D.
        frame_index: Number of each frame in the source.
        time: Seconds of each frame.
        boxes: By track id, x1, y1, x2, y2 by number of the frame.
    """

    size: tuple[int, int]
    frame_index: list[int] = field(default_factory=list)
    time: list[float] = field(default_factory=list)
    boxes: dict[int, dict[int, np.ndarray]] = field(default_factory=dict)

    def rows(self, start: float, end: float) -> slice:
        """Return the rows of the frames from `start` to before `end`, in seconds; at least one."""
        first, last = np.searchsorted(self.time, [start, end], side="left").tolist()
        return slice(min(first, max(len(self.time) - 1, 0)), max(last, first + 1))

    @property
    def rate(self) -> float:
        """Frames per second of the source; 0 for a single frame."""
        if len(self.time) < 2:
            return 0.0
        return float(1 / np.median(np.diff(self.time) / np.maximum(np.diff(self.frame_index), 1)))


class FrameRecord(Observer):
    """Remembers frames and boxes, not joints, of all predicted clips."""

    def __init__(self) -> None:
        self.clips: dict[str, ClipFrames] = {}

    def poses(self, clip: str, video: VideoPoses) -> None:
        known = self.clips.setdefault(clip, ClipFrames(video.size))
        known.frame_index += video.frame_index.tolist()
        known.time += video.time.tolist()
        for track in video.tracks:
            boxes = known.boxes.setdefault(track.track_id, {})
            for number, box in zip(video.frame_index[track.start : track.stop].tolist(), _boxes(track), strict=True):
                if np.isfinite(box).all():
                    boxes[number] = box


def _boxes(track: PoseTrack) -> np.ndarray:
    """Return boxes (T, 4): those of the detector, and around the joints in frames without one."""
    plane = track.keypoint[..., :2]
    low = np.where(np.isnan(plane), np.inf, plane).min(axis=1)
    high = np.where(np.isnan(plane), -np.inf, plane).max(axis=1)
    return np.where(np.isnan(track.box), np.concatenate([low, high], axis=1), track.box)
