"""Frames of many videos through detector and estimator, in batches that may span frames and videos.

A generator hands on (video, frame) pairs, one after another; this module gives back (video, poses) pairs, in the same
order within each video, and holds no more frames than the batches need. Nothing here knows of files.
"""

from collections import deque
from collections.abc import Callable, Hashable, Iterable, Iterator
from dataclasses import dataclass, field
from time import perf_counter
from typing import Generic, Protocol, TypeVar

import numpy as np
from scipy.optimize import linear_sum_assignment

from pose_extraction.detection import Detections, Detector
from pose_extraction.oks import box_iou
from pose_extraction.poses import FramePoses
from pose_extraction.topdown import TopdownEstimator
from pose_extraction.video import Frame

Video = TypeVar("Video", bound=Hashable)

# Boxes of the same person a few frames apart; below, they are held apart rather than glued together.
SAME_PERSON_IOU = 0.3


class BottomUpEstimator(Protocol):
    """Finds the persons of whole frames by itself."""

    batch_size: int

    def estimate(self, images: list[np.ndarray]) -> list[tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]]:
        """Box, box score, keypoint and keypoint score of each frame's persons, shaped as in `FramePoses`."""
        ...


@dataclass
class StageTimes:
    """Seconds spent in each stage of this thread, for benchmarks and `--verbose`."""

    detect: float = 0.0
    crop: float = 0.0
    network: float = 0.0
    decode: float = 0.0


@dataclass
class _Pending(Generic[Video]):
    """A frame on its way; `box` is None until a detector, or its neighbours, said where the persons are."""

    video: Video
    frame: Frame
    is_key: bool
    box: np.ndarray | None = None
    score: np.ndarray | None = None


def between(first: Detections, last: Detections, weight: float) -> Detections:
    """Boxes of a frame between two frames in which the detector ran.

    Boxes of one person are joined by a straight line; a box without a partner is kept on the side of its own frame.

    Args:
        first: Persons of the earlier frame.
        last: Persons of the later frame.
        weight: Place of the frame between them, in (0, 1).
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


@dataclass
class _Segment(Generic[Video]):
    """The frames of one video since, and with, its last key frame that has its boxes."""

    frames: list[_Pending[Video]] = field(default_factory=list)
    position: int = 0


def detect_persons(
    frames: Iterable[tuple[Video, Frame | None]],
    detector: Detector,
    detect_every: Callable[[Video], int],
    times: StageTimes,
) -> Iterator[tuple[Video, Frame | None, Detections | None]]:
    """Finds persons in every N-th frame of each video and in its last one, and fills in the frames between.

    Args:
        frames: (video, frame) pairs; a frame of None ends the video. Videos may be interleaved.
        detector: Sees several key frames at once, of one video or many.
        detect_every: N of a video.
        times: Where the time spent is added.

    Yields:
        (video, frame, detections) in order within a video, then (video, None, None).
    """
    open_videos: dict[Video, _Segment[Video]] = {}
    waiting: list[_Pending[Video]] = []
    # What is handed on, in order: an entry stands there until it has its boxes.
    line: deque[_Pending[Video] | Video] = deque()

    def run_detector() -> None:
        started = perf_counter()
        for entry, (box, score) in zip(waiting, detector.detect([e.frame.image for e in waiting]), strict=True):
            entry.box, entry.score = box, score
        times.detect += perf_counter() - started
        waiting.clear()

    def fill(segment: _Segment[Video]) -> None:
        """Gives boxes to the frames between the first and the last of a segment, which both have theirs."""
        first, last = segment.frames[0], segment.frames[-1]
        assert first.box is not None and first.score is not None and last.box is not None and last.score is not None
        span = last.frame.time - first.frame.time or 1.0
        for entry in segment.frames[1:-1]:
            weight = (entry.frame.time - first.frame.time) / span
            entry.box, entry.score = between((first.box, first.score), (last.box, last.score), weight)

    complete: list[_Segment[Video]] = []

    def release() -> Iterator[tuple[Video, Frame | None, Detections | None]]:
        for segment in complete:
            fill(segment)
        complete.clear()
        while line:
            entry = line[0]
            if not isinstance(entry, _Pending):
                yield entry, None, None
            elif entry.box is not None and entry.score is not None:
                yield entry.video, entry.frame, (entry.box, entry.score)
            else:
                break
            line.popleft()

    def close_segment(segment: _Segment[Video]) -> _Segment[Video]:
        """Makes the last frame of a segment a key frame; the next segment begins with it."""
        last = segment.frames[-1]
        if not last.is_key:
            last.is_key = True
            waiting.append(last)
        complete.append(_Segment(segment.frames))
        return _Segment([last], segment.position)

    for video, frame in frames:
        if frame is None:
            ended = open_videos.pop(video, None)
            if ended is not None:
                close_segment(ended)
            line.append(video)
        else:
            segment = open_videos.setdefault(video, _Segment())
            entry = _Pending(video, frame, is_key=False)
            line.append(entry)
            segment.frames.append(entry)
            if segment.position % detect_every(video) == 0:
                open_videos[video] = close_segment(segment)
            open_videos[video].position += 1
        if len(waiting) >= detector.batch_size:
            run_detector()
            yield from release()
        elif not waiting:
            yield from release()
    for segment in open_videos.values():
        close_segment(segment)
    if waiting:
        run_detector()
    yield from release()


def estimate_topdown(
    frames: Iterable[tuple[Video, Frame | None, Detections | None]], estimator: TopdownEstimator, times: StageTimes
) -> Iterator[tuple[Video, FramePoses | None]]:
    """Estimates the poses of all persons, in batches of persons that may span frames and videos.

    Args:
        frames: As `detect_persons` yields them.
        estimator: The network.
        times: Where the time spent is added.

    Yields:
        (video, poses of the next frame), and (video, None) at the end of a video.
    """
    cut: deque[tuple[np.ndarray, np.ndarray, np.ndarray]] = deque()
    done: deque[tuple[np.ndarray, np.ndarray]] = deque()
    # Frames, and ends of videos (frame None), whose persons are in `cut` and `done`, or wait behind such frames.
    line: deque[tuple[Video, tuple[int, float] | None, Detections]] = deque()

    def run_batch() -> None:
        batch = [cut.popleft() for _ in range(min(len(cut), estimator.persons_per_batch))]
        images, center, scale = (np.stack(parts) for parts in zip(*batch, strict=True))
        started = perf_counter()
        outputs = estimator.heatmaps(images)
        ran = perf_counter()
        done.extend(zip(*estimator.decode(outputs, center, scale), strict=True))
        times.network += ran - started
        times.decode += perf_counter() - ran

    def release() -> Iterator[tuple[Video, FramePoses | None]]:
        while line and len(done) >= len(line[0][2][0]):
            video, clock, (box, box_score) = line.popleft()
            if clock is None:
                yield video, None
            elif len(box):
                keypoint, score = (np.stack(part) for part in zip(*(done.popleft() for _ in box), strict=True))
                yield video, FramePoses(*clock, box, box_score, keypoint, score)
            else:
                yield video, FramePoses.empty(*clock)

    nobody = (np.zeros((0, 4), np.float32), np.zeros(0, np.float32))
    for video, frame, detections in frames:
        if frame is None or detections is None:
            line.append((video, None, nobody))
        else:
            started = perf_counter()
            crops = estimator.crop(frame.image, detections[0])
            times.crop += perf_counter() - started
            # From here on the frame's pixels are needed no more.
            cut.extend(zip(crops.images, crops.center, crops.scale, strict=True))
            line.append((video, (frame.index, frame.time), detections))
        while len(cut) >= estimator.persons_per_batch:
            run_batch()
        yield from release()
    while cut:
        run_batch()
    yield from release()


def estimate_bottomup(
    frames: Iterable[tuple[Video, Frame | None]], estimator: BottomUpEstimator, times: StageTimes
) -> Iterator[tuple[Video, FramePoses | None]]:
    """Estimates the poses of whole frames, in batches that may span videos; arguments as for `estimate_topdown`."""
    line: list[tuple[Video, Frame | None]] = []
    waiting = 0

    def run() -> Iterator[tuple[Video, FramePoses | None]]:
        started = perf_counter()
        found = iter(estimator.estimate([frame.image for _, frame in line if frame is not None]))
        times.network += perf_counter() - started
        for video, frame in line:
            yield video, FramePoses(frame.index, frame.time, *next(found)) if frame is not None else None
        line.clear()

    for video, frame in frames:
        line.append((video, frame))
        waiting += frame is not None
        # Twice the batch, so that decoding of one batch can run beside the network's work on the next.
        if waiting >= 2 * estimator.batch_size:
            yield from run()
            waiting = 0
    if line:
        yield from run()
