"""The poses of the persons in the frames of many videos, in batches of persons."""

from collections import deque
from collections.abc import Generator, Iterable
from contextlib import closing
from dataclasses import dataclass, field
from itertools import chain
from time import perf_counter
from typing import Generic

import numpy as np

from pose_extraction.engines.image_batches import Images, joined
from pose_extraction.networks.detection import Detections
from pose_extraction.networks.topdown import TopdownEstimator
from pose_extraction.poses import FramePoses
from pose_extraction.queues import prefetch
from pose_extraction.streaming.key_frames import MOST_BETWEEN
from pose_extraction.streaming.stage_times import StageTimes, Video
from pose_extraction.video.reader import Frame

# Number of groups of frames that wait between two stages which overlap; a group has one batch of persons, or few more.
AHEAD = 2

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
