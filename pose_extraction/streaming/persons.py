"""Where the persons in the frames of many videos are: detected in key frames, and interpolated between them."""

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from time import perf_counter
from typing import Generic

import numpy as np
from scipy.optimize import linear_sum_assignment

from pose_extraction.networks.detection import Detections, PersonDetector
from pose_extraction.oks import box_iou
from pose_extraction.streaming.key_frames import KeyClock, KeyRule
from pose_extraction.streaming.stage_times import StageTimes, Video
from pose_extraction.video.reader import Frame

# Minimum intersection over union of the boxes of the same person a few frames apart.
SAME_PERSON_IOU = 0.3


@dataclass(eq=False)
class _Waiting:
    """A frame in the pipeline. `box` is None until the frame's persons are detected or interpolated."""

    frame: Frame
    box: np.ndarray | None = None
    score: np.ndarray | None = None


@dataclass(eq=False)
class _OpenVideo:
    """State of a video.

    Args:
        clock: Selects the key frames.
        line: Frames that have not been returned yet, in order.
        since_key: The last key frame, and the frames after it, which wait for the next key frame.
        ended: Whether the last frame has arrived.
    """

    clock: KeyClock
    line: deque[_Waiting] = field(default_factory=deque)
    since_key: list[_Waiting] = field(default_factory=list)
    ended: bool = False


def between(first: Detections, last: Detections, weight: float) -> Detections:
    """Interpolate the boxes of a frame between two key frames.

    Boxes of the same person are interpolated linearly. Boxes without a match are used in the half of the interval that
    is closer to their key frame.

    Args:
        first: Persons in the earlier key frame.
        last: Persons in the later key frame.
        weight: Relative position of the frame between them, in (0, 1).

    Returns:
        Boxes and scores of the frame.
    """
    overlap = box_iou(first[0], last[0])
    rows, columns = linear_sum_assignment(-overlap)
    same = overlap[rows, columns] >= SAME_PERSON_IOU
    rows, columns = rows[same], columns[same]
    box = [first[0][rows] * (1 - weight) + last[0][columns] * weight]
    score = [first[1][rows] * (1 - weight) + last[1][columns] * weight]
    nearer, taken = (first, rows) if weight <= 0.5 else (last, columns)
    alone = np.setdiff1d(np.arange(len(nearer[0])), taken)
    box.append(nearer[0][alone])
    score.append(nearer[1][alone])
    return np.concatenate(box).astype(np.float32), np.concatenate(score).astype(np.float32)


def detect_persons(
    frames: Iterable[tuple[Video, Frame | None]],
    detector: PersonDetector,
    is_key: KeyRule,
    times: StageTimes,
) -> Iterator[tuple[Video, Frame | None, Detections | None]]:
    """Detect persons in the key frames of each video, and interpolate the boxes in the other frames.

    Key frames are the first and last frame of a video, the frames selected by `is_key` and, to bound the memory, each
    frame that follows `MOST_BETWEEN` frames without a key frame.

    Args:
        frames: (video, frame) pairs; the frame None ends the video. Videos may be interleaved.
        detector: Runs on several key frames at once, from one or more videos.
        is_key: See `KeyRule`.
        times: The time spent is added here.

    Yields:
        (video, frame, detections) in order within a video, then (video, None, None).
    """
    waiting: _KeyFrames[Video] = _KeyFrames(detector, is_key, times)
    for video, frame in frames:
        waiting.add(video, frame)
        if waiting.is_full:
            waiting.detect()
        if waiting.is_empty:
            yield from waiting.release()
    waiting.detect()
    yield from waiting.release()


class _KeyFrames(Generic[Video]):
    """Key frames that wait for the detector, and the frames of open videos that wait for their boxes.

    Arguments as `detect_persons`.
    """

    def __init__(self, detector: PersonDetector, is_key: KeyRule, times: StageTimes) -> None:
        self._detector, self._is_key, self._times = detector, is_key, times
        self._videos: dict[Video, _OpenVideo] = {}
        self._keys: list[_Waiting] = []
        # Sequences from key frame to key frame; interpolated when both ends have boxes.
        self._stretches: list[list[_Waiting]] = []

    @property
    def is_full(self) -> bool:
        """Whether the key frames fill a batch of the detector."""
        return len(self._keys) >= self._detector.batch_size

    @property
    def is_empty(self) -> bool:
        return not self._keys

    def add(self, video: Video, frame: Frame | None) -> None:
        """Take the next frame of a video; None ends it."""
        opened = self._videos.setdefault(video, _OpenVideo(KeyClock(self._is_key)))
        if frame is None:
            opened.ended = True
            # With more than one frame waiting, the last one is not a key frame yet.
            if len(opened.since_key) > 1:
                self._make_key(opened)
            return
        entry = _Waiting(frame)
        opened.line.append(entry)
        opened.since_key.append(entry)
        if opened.clock.add(frame.time):
            self._make_key(opened)

    def _make_key(self, opened: _OpenVideo) -> None:
        """Make the last frame a key frame."""
        self._keys.append(opened.since_key[-1])
        self._stretches.append(opened.since_key)
        opened.since_key = opened.since_key[-1:]

    def detect(self) -> None:
        """Run the detector on all waiting key frames, and interpolate the boxes between them."""
        if self.is_empty:
            return
        started = perf_counter()
        found = self._detector.detect([key.frame.image for key in self._keys])
        for entry, (box, score) in zip(self._keys, found, strict=True):
            entry.box, entry.score = box, score
        self._times.detect += perf_counter() - started
        self._keys.clear()
        for stretch in self._stretches:
            _fill(stretch)
        self._stretches.clear()

    def release(self) -> Iterator[tuple[Video, Frame | None, Detections | None]]:
        """Yield the frames that have boxes, up to the first one of their video that has none."""
        # Videos are independent: a slow video must not block the frames of the others, which would fill the memory.
        for video, opened in list(self._videos.items()):
            while opened.line and (entry := opened.line[0]).box is not None and entry.score is not None:
                yield video, entry.frame, (entry.box, entry.score)
                opened.line.popleft()
            if opened.ended and not opened.line:
                del self._videos[video]
                yield video, None, None


def _fill(stretch: list[_Waiting]) -> None:
    """Interpolate the boxes of the frames between the first and the last frame of a sequence, which have boxes."""
    first, last = stretch[0], stretch[-1]
    assert first.box is not None and first.score is not None and last.box is not None and last.score is not None
    span = last.frame.time - first.frame.time or 1.0
    for entry in stretch[1:-1]:
        weight = (entry.frame.time - first.frame.time) / span
        entry.box, entry.score = between((first.box, first.score), (last.box, last.score), weight)
