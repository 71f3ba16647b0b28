"""Run the detector and the estimator on the frames of many videos, in batches that can span frames and videos.

The generators take (video, frame) pairs and return (video, poses) pairs, in the same order within each video. They hold
only as many frames as the batches require, and are independent of files.
"""

from collections import deque
from collections.abc import Callable, Generator, Hashable, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from itertools import chain
from time import perf_counter
from typing import Generic, Protocol, TypeVar

import numpy as np
from scipy.optimize import linear_sum_assignment

from pose_extraction.engines.image_batches import Images, joined
from pose_extraction.networks.detection import Detections, PersonDetector
from pose_extraction.networks.topdown import TopdownEstimator
from pose_extraction.oks import box_iou
from pose_extraction.poses import FramePoses
from pose_extraction.queues import prefetch
from pose_extraction.video.reader import Frame

Video = TypeVar("Video", bound=Hashable)
# Returns whether a frame is a key frame; see `is_key` of `detect_persons`.
KeyRule = Callable[[Sequence[float]], bool]

# Minimum intersection over union of the boxes of the same person a few frames apart.
SAME_PERSON_IOU = 0.3

# Maximum number of frames between key frames of a video. They stay in memory: 32 frames of 1080p are 200 MB.
MOST_BETWEEN = 32
# Number of groups of frames that wait between two stages which overlap; a group has one batch of persons, or few more.
AHEAD = 2


class BottomUpEstimator(Protocol):
    """Estimates the persons in whole frames, without a detector."""

    batch_size: int

    def estimate(self, images: list[np.ndarray]) -> list[tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]]:
        """Estimate the persons in frames.

        Args:
            images: uint8 (H, W, 3) BGR frames.

        Returns:
            Box, box score, keypoint and keypoint score of the persons in each frame, shaped as in `FramePoses`.
        """
        ...


@dataclass
class StageTimes:
    """Seconds spent in each stage, for benchmarks and `--verbose`; stages can overlap."""

    detect: float = 0.0
    crop: float = 0.0
    network: float = 0.0
    decode: float = 0.0


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
        line: Frames that have not been returned yet, in order.
        since_key: The last key frame, and the frames after it, which wait for the next key frame.
        ended: Whether the last frame has arrived.
    """

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
        is_key: Called with the times in seconds of the last key frame of the video, the frames since then, and the
            current frame (at least two times); returns whether the current frame is a key frame.
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
        opened = self._videos.setdefault(video, _OpenVideo())
        if frame is None:
            opened.ended = True
            # With more than one frame waiting, the last one is not a key frame yet.
            if len(opened.since_key) > 1:
                self._make_key(opened)
            return
        entry = _Waiting(frame)
        opened.line.append(entry)
        opened.since_key.append(entry)
        if _is_key_frame([one.frame.time for one in opened.since_key], self._is_key):
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


def _is_key_frame(times: Sequence[float], is_key: KeyRule) -> bool:
    """Return whether the last of the frames since the last key frame is one; see `detect_persons`."""
    between_keys = len(times) - 2
    return between_keys < 0 or between_keys >= MOST_BETWEEN or is_key(times)


def key_frames(times: Sequence[float], is_key: KeyRule) -> list[int]:
    """Return which frames of a video are key frames, apart from the last one; see `detect_persons`.

    Args:
        times: Times in seconds of the frames of a video.
        is_key: See `detect_persons`.
    """
    found: list[int] = []
    for index in range(len(times)):
        if _is_key_frame(times[found[-1] if found else 0 : index + 1], is_key):
            found.append(index)
    return found


def _fill(stretch: list[_Waiting]) -> None:
    """Interpolate the boxes of the frames between the first and the last frame of a sequence, which have boxes."""
    first, last = stretch[0], stretch[-1]
    assert first.box is not None and first.score is not None and last.box is not None and last.score is not None
    span = last.frame.time - first.frame.time or 1.0
    for entry in stretch[1:-1]:
        weight = (entry.frame.time - first.frame.time) / span
        entry.box, entry.score = between((first.box, first.score), (last.box, last.score), weight)


# Number of the frame and its time; None at the end of a video.
_Clock = tuple[int, float] | None


@dataclass(slots=True)
class _Batch:
    """Persons that pass the network together.

    Args:
        images: Their crops; see `Crops`.
        center: See `Crops`.
        scale: See `Crops`.
        outputs: Output of the network; empty before that.
    """

    images: Images
    center: np.ndarray
    scale: np.ndarray
    outputs: list[np.ndarray] = field(default_factory=list)


@dataclass(slots=True)
class _Step(Generic[Video]):
    """A frame or the end of a video, and the batches that it has filled.

    Args:
        line: Frames and ends of videos that wait for their persons: at most one, none at the end of the last video.
        batches: The batches.
    """

    line: list[tuple[Video, _Clock, Detections]]
    batches: list[_Batch]


def estimate_topdown(
    frames: Iterable[tuple[Video, Frame | None, Detections | None]],
    estimator: TopdownEstimator,
    times: StageTimes,
    *,
    overlap: bool = False,
) -> Generator[tuple[Video, FramePoses | None], None, None]:
    """Estimate the poses of all persons, in batches of persons that can span frames and videos.

    Args:
        frames: Output of `detect_persons`.
        estimator: Top-down estimator.
        times: The time spent is added here.
        overlap: Whether detection and cropping of the next batches, the network, and the decoding of its output run in
            three threads at the same time. Batches and results are the same; frames come up to `AHEAD` batches later.

    Yields:
        (video, poses of the next frame), and (video, None) at the end of a video.
    """
    steps = _cut(frames, estimator, times)
    if overlap:
        crops = prefetch(_grouped(steps), AHEAD, name="crops")
        outputs = prefetch(_computed(crops, estimator, times), AHEAD, name="network")
    else:
        outputs = _computed(([step] for step in steps), estimator, times)
    yield from _decoded(outputs, estimator, times)


def _cut(
    frames: Iterable[tuple[Video, Frame | None, Detections | None]], estimator: TopdownEstimator, times: StageTimes
) -> Generator[_Step[Video], None, None]:
    """Cut the persons out of frames, whose pixels are not needed after that."""
    cut: deque[tuple[Images, np.ndarray, np.ndarray]] = deque()

    def batch() -> _Batch:
        persons = [cut.popleft() for _ in range(min(len(cut), estimator.persons_per_batch))]
        images, center, scale = zip(*persons, strict=True)
        return _Batch(joined([image[None] for image in images]), np.stack(center), np.stack(scale))

    no_persons = (np.zeros((0, 4), np.float32), np.zeros(0, np.float32))
    for video, frame, detections in frames:
        step: _Step[Video] = _Step([(video, None, no_persons)], [])
        if frame is not None and detections is not None:
            started = perf_counter()
            crops = estimator.crop(frame.image, detections[0])
            times.crop += perf_counter() - started
            cut.extend(zip(crops.images, crops.center, crops.scale, strict=True))
            step.line = [(video, (frame.index, frame.time), detections)]
        while len(cut) >= estimator.persons_per_batch:
            step.batches.append(batch())
        yield step
    while cut:
        yield _Step([], [batch()])


def _grouped(steps: Iterable[_Step[Video]]) -> Generator[list[_Step[Video]], None, None]:
    """Group steps so that a queue of a few groups holds a few batches, however many frames fill one of them."""
    group: list[_Step[Video]] = []
    for step in steps:
        group.append(step)
        # Frames without persons must not wait for a batch: they are progress.
        if step.batches or len(group) == MOST_BETWEEN:
            yield group
            group = []
    if group:
        yield group


def _computed(
    groups: Generator[list[_Step[Video]], None, None], estimator: TopdownEstimator, times: StageTimes
) -> Generator[list[_Step[Video]], None, None]:
    """Run the network on the batches of each group."""
    with closing(groups):
        for group in groups:
            for step in group:
                for batch in step.batches:
                    started = perf_counter()
                    batch.outputs = estimator.heatmaps(batch.images)
                    times.network += perf_counter() - started
            yield group


def _decoded(
    groups: Generator[list[_Step[Video]], None, None], estimator: TopdownEstimator, times: StageTimes
) -> Generator[tuple[Video, FramePoses | None], None, None]:
    """Decode the output of the network, and give the persons back to their frames."""
    done: deque[tuple[np.ndarray, np.ndarray]] = deque()
    # Frames and ends of videos that wait for their persons, or for earlier frames.
    line: deque[tuple[Video, _Clock, Detections]] = deque()
    with closing(groups):
        for step in chain.from_iterable(groups):
            line.extend(step.line)
            for batch in step.batches:
                started = perf_counter()
                done.extend(zip(*estimator.decode(batch.outputs, batch.center, batch.scale), strict=True))
                times.decode += perf_counter() - started
            while line and len(done) >= len(line[0][2][0]):
                video, clock, (box, box_score) = line.popleft()
                if clock is None:
                    yield video, None
                elif len(box):
                    keypoint, score = (np.stack(part) for part in zip(*(done.popleft() for _ in box), strict=True))
                    yield video, FramePoses(*clock, box, box_score, keypoint, score)
                else:
                    yield video, FramePoses.empty(*clock)


def estimate_bottomup(
    frames: Iterable[tuple[Video, Frame | None]], estimator: BottomUpEstimator, times: StageTimes
) -> Iterator[tuple[Video, FramePoses | None]]:
    """Estimate the poses of whole frames, in batches that can span videos. Arguments as `estimate_topdown`."""
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
        # Collect two batches, so that decoding of the first runs in parallel with the network on the second.
        if waiting >= 2 * estimator.batch_size:
            yield from run()
            waiting = 0
    if line:
        yield from run()
