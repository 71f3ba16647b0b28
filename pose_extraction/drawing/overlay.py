"""Write a video with the persons drawn on its frames."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from pose_extraction.drawing.persons import draw_poses
from pose_extraction.poses import VideoPoses
from pose_extraction.video.reader import VideoReader
from pose_extraction.video.writer import VideoWriter


@dataclass(frozen=True)
class Stretch:
    """Poses of consecutive sampled frames of a video, with annotations to draw.

    Args:
        video: The poses.
        captions: Text after the track id above a person's head, by track id.
        heat: float (T, V) over the frames of the video, by track id; 1 for an average joint, NaN for no value.
    """

    video: VideoPoses
    captions: Mapping[int, str] = field(default_factory=dict)
    heat: Mapping[int, np.ndarray] = field(default_factory=dict)


def write_overlay(
    source: Path,
    video: VideoPoses,
    path: Path,
    *,
    fps: float | None = None,
    stream: int | None = None,
    on_frame: Callable[[], None] = lambda: None,
) -> list[str]:
    """Write the frames of a video with the poses drawn on them, at their original times.

    All frames from the first to the last sampled frame are written. Between two sampled frames, the earlier poses are
    drawn. If the video has no sampled frames, all of its frames are written without poses.

    Args:
        source: Video, or folder of images, from which the poses were extracted.
        video: Its poses.
        path: Output file, .mp4.
        fps: Frames per second of a folder of images or a raw stream; see `VideoReader`.
        stream: Number of the video stream; None for the default one.
        on_frame: Called before each frame. An exception from it cancels the output, and no file is left.

    Returns:
        One sentence for each problem with the source.

    Raises:
        VideoError: The source cannot be read, or the output cannot be written.
    """
    start, end = (float(video.time[0]), _end(video.time)) if video.num_frames else (None, None)
    return write_stretches(
        source, [Stretch(video)], path, start=start, end=end, fps=fps, stream=stream, on_frame=on_frame
    )


def write_stretches(
    source: Path,
    stretches: Iterable[Stretch],
    path: Path,
    *,
    start: float | None = None,
    end: float | None = None,
    fps: float | None = None,
    stream: int | None = None,
    on_frame: Callable[[], None] = lambda: None,
) -> list[str]:
    """Write an overlay like `write_overlay`, for poses that become available incrementally, in bounded memory.

    Args:
        source: Video, or folder of images.
        stretches: Poses in temporal order, consumed lazily.
        path: Output file, .mp4.
        start: Start time in seconds; None for the beginning of the source.
        end: End time in seconds, exclusive; None for the end of the source.
        fps: Frames per second of a folder of images or a raw stream; see `VideoReader`.
        stream: Number of the video stream; None for the default one.
        on_frame: Called before each frame. An exception from it cancels the output, and no file is left.

    Returns:
        One sentence for each problem with the source.

    Raises:
        VideoError: The source cannot be read, or the output cannot be written.
    """
    supply = iter(stretches)
    shown: _Shown | None = None
    upcoming = _next_shown(supply)
    with VideoReader(source, start=start, end=end, fps=fps, stream=stream) as reader:
        info = reader.info
        with VideoWriter(path, info.fps, info.size) as writer:
            for frame in reader:
                on_frame()
                if upcoming is None and shown is not None and frame.index > shown.last:
                    upcoming = _next_shown(supply)
                while upcoming is not None and frame.index >= upcoming.first:
                    shown, upcoming = upcoming, None
                    if frame.index > shown.last:
                        upcoming = _next_shown(supply)
                image = frame.image if shown is None else shown.drawn(frame.image, frame.index)
                writer.write(image, frame.time - (start or 0.0))
        return list(reader.problems)


def _next_shown(supply: Iterable[Stretch]) -> "_Shown | None":
    """Return the next stretch that contains frames; None at the end."""
    return next((_Shown(stretch) for stretch in supply if stretch.video.num_frames), None)


class _Shown:
    """A stretch prepared for drawing."""

    def __init__(self, stretch: Stretch) -> None:
        video = stretch.video
        self._frame_index = video.frame_index
        self.first, self.last = int(video.frame_index[0]), int(video.frame_index[-1])
        self._keypoint, self._score, self._imputed = video.dense()
        ids = [track.track_id for track in video.tracks]
        self._track_id = np.array(ids, np.int64)
        self._captions = [stretch.captions.get(name, "") for name in ids]
        self._box = np.full((len(ids), video.num_frames, 4), np.nan, np.float32)
        self._heat: np.ndarray | None = None
        if stretch.heat:
            self._heat = np.full(self._score.shape, np.nan, np.float32)
        for person, track in enumerate(video.tracks):
            self._box[person, track.start : track.stop] = track.box
            if self._heat is not None and track.track_id in stretch.heat:
                self._heat[person] = stretch.heat[track.track_id]

    def drawn(self, image: np.ndarray, frame_index: int) -> np.ndarray:
        """Return the frame with the poses of the latest sampled frame up to it."""
        row = int(np.searchsorted(self._frame_index, frame_index, side="right")) - 1
        if row < 0:
            return image
        shown = np.isfinite(self._keypoint[:, row]).any((1, 2)) | np.isfinite(self._box[:, row]).all(1)
        return draw_poses(
            image,
            self._keypoint[shown, row],
            self._score[shown, row],
            self._track_id[shown],
            self._box[shown, row],
            self._imputed[shown, row],
            captions=[caption for caption, there in zip(self._captions, shown, strict=True) if there],
            heat=None if self._heat is None else self._heat[shown, row],
        )


def draw_row(image: np.ndarray, stretch: Stretch, frame_index: int) -> np.ndarray:
    """Draw the poses and annotations of a stretch on one frame.

    Args:
        image: uint8 (H, W, 3) BGR.
        stretch: Poses and annotations.
        frame_index: Number of the frame in the source; the latest sampled frame up to it is drawn.

    Returns:
        uint8 (H, W, 3) BGR.
    """
    return _Shown(stretch).drawn(image, frame_index)


def _end(time: np.ndarray) -> float:
    """Return the end time of the output in seconds: one sampling interval after the last sampled frame."""
    step = float(np.median(np.diff(time))) if len(time) > 1 else 0.0
    # Slightly less than an interval, to exclude the next frame that would have been sampled; but always include the
    # last sampled frame itself.
    return float(time[-1]) + max(step * 0.99, 1e-3)
