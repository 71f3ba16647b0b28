"""Streaming of many videos: order, key frames, interpolated boxes, memory."""

import itertools
import threading
from collections import Counter
from collections.abc import Iterator, Sequence

import numpy as np
import pytest

from pose_extraction.errors import BackendError
from pose_extraction.networks.detection import Detections
from pose_extraction.networks.topdown import Crops, TopdownEstimator, TopdownSpec
from pose_extraction.poses import FramePoses
from pose_extraction.streaming.bottomup import estimate_bottomup
from pose_extraction.streaming.key_frames import MOST_BETWEEN, KeyRule
from pose_extraction.streaming.persons import between, detect_persons
from pose_extraction.streaming.stage_times import StageTimes
from pose_extraction.streaming.topdown import estimate_topdown
from pose_extraction.video.reader import Frame

FPS = 10.0


def frame(number: int, value: int = 0) -> Frame:
    """A black frame whose first pixel encodes its number and its video."""
    image = np.zeros((64, 64, 3), np.uint8)
    image[0, 0, :2] = number, value
    return Frame(number, number / FPS, image)


def nth(every: int) -> KeyRule:
    """Every N-th frame is a key frame."""
    return lambda times: len(times) > every


class NumberDetector:
    """Detects a person at x = 10 * frame number, and nobody in video 9; records its input."""

    def __init__(self, batch_size: int) -> None:
        self.batch_size = batch_size
        self.seen: list[tuple[int, int]] = []

    def detect(self, images: Sequence[np.ndarray]) -> list[Detections]:
        assert len(images) <= self.batch_size + 1
        found = []
        for image in images:
            number, video = int(image[0, 0, 0]), int(image[0, 0, 1])
            self.seen.append((video, number))
            people = 0 if video == 9 else 1
            box = np.array([[10 * number, 0, 10 * number + 40, 60]], np.float32)[:people]
            found.append((box, np.full(people, 0.9, np.float32)))
        return found


def source(*lengths: int, chunk: int = 3) -> Iterator[tuple[int, Frame | None]]:
    """Videos 0, 1, ... of the given lengths, interleaved a few frames at a time."""
    position = [0] * len(lengths)
    ended: set[int] = set()
    while len(ended) < len(lengths):
        for video, length in enumerate(lengths):
            if video in ended:
                continue
            for _ in range(chunk):
                if position[video] == length:
                    ended.add(video)
                    yield video, None
                    break
                yield video, frame(position[video], video)
                position[video] += 1


def collect(stream) -> dict[int, list]:
    """Collect the output by video, and check that each video ends once, after its last frame."""
    got: dict[int, list] = {}
    ended = set()
    for video, *rest in stream:
        assert video not in ended
        if rest[0] is None:
            ended.add(video)
            got.setdefault(video, [])
        else:
            got.setdefault(video, []).append(rest if len(rest) > 1 else rest[0])
    assert ended == set(got)
    return got


@pytest.mark.parametrize("batch_size", [1, 2, 5])
@pytest.mark.parametrize("every", [1, 3, 4])
def test_key_frames_are_detected_and_all_frames_are_returned_in_order(batch_size, every):
    lengths = (10, 1, 0, 7, 13)
    detector = NumberDetector(batch_size)
    got = collect(detect_persons(source(*lengths), detector, nth(every), StageTimes()))
    assert {video: [item[0].index for item in items] for video, items in got.items()} == {
        video: list(range(length)) for video, length in enumerate(lengths)
    }
    keys = {
        (video, number)
        for video, length in enumerate(lengths)
        for number in range(length)
        if number % every == 0 or number == length - 1
    }
    assert sorted(detector.seen) == sorted(keys)


def test_boxes_are_interpolated_linearly():
    got = collect(detect_persons(source(9), NumberDetector(2), nth(2), StageTimes()))
    for item, (box, score) in got[0]:
        np.testing.assert_allclose(box, [[10 * item.index, 0, 10 * item.index + 40, 60]], atol=1e-4)
        np.testing.assert_allclose(score, [0.9])


def test_interpolation_uses_time_and_not_frame_numbers():
    frames = [frame(0), frame(1), frame(2)]
    frames[1].time = 0.15
    frames[2].time = 0.2
    stream = [(0, item) for item in frames] + [(0, None)]
    got = collect(detect_persons(iter(stream), NumberDetector(1), nth(2), StageTimes()))
    np.testing.assert_allclose(got[0][1][1][0][0, 0], 15, atol=1e-4)


def test_unmatched_persons_are_used_near_their_key_frame():
    left = np.array([[0, 0, 10, 20], [100, 0, 110, 20]], np.float32)
    right = np.array([[2, 0, 12, 20]], np.float32)
    first, last = (left, np.array([0.8, 0.6], np.float32)), (right, np.array([0.4], np.float32))
    box, score = between(first, last, 0.25)
    np.testing.assert_allclose(box, [[0.5, 0, 10.5, 20], [100, 0, 110, 20]])
    np.testing.assert_allclose(score, [0.7, 0.6])
    box, _ = between(first, last, 0.75)
    np.testing.assert_allclose(box, [[1.5, 0, 11.5, 20]])


def test_slow_videos_do_not_block_others():
    def slow_first() -> Iterator[tuple[int, Frame | None]]:
        yield 0, frame(0, 0)
        yield 0, frame(1, 0)
        for number in range(40):
            yield 1, frame(number, 1)
            consumed.append(number)
        yield 1, None
        yield 0, None

    consumed: list[int] = []
    for video, item, _ in detect_persons(slow_first(), NumberDetector(2), nth(4), StageTimes()):
        if video == 1 and item is not None:
            # At most two key frames and the frames between them are held.
            assert len(consumed) - item.index <= 9


@pytest.mark.parametrize("batch_size", [1, 2])
def test_memory_does_not_depend_on_the_distance_of_key_frames(batch_size):
    came: list[int] = []

    def long() -> Iterator[tuple[int, Frame | None]]:
        for number in range(200):
            came.append(number)
            yield 0, frame(number)
        yield 0, None

    detector = NumberDetector(batch_size)
    for _, item, _ in detect_persons(long(), detector, nth(1000), StageTimes()):
        if item is not None:
            assert len(came) - item.index <= batch_size * (MOST_BETWEEN + 1) + 1
    assert [number for _, number in detector.seen] == [*range(0, 200, MOST_BETWEEN + 1), 199]


class PositionNetwork:
    """Returns heat maps with their peak at the brightest pixel of the crop, and records the batch sizes."""

    def __init__(self, batch_size: int) -> None:
        self.batch_size = batch_size
        self.batches: list[int] = []

    def __call__(self, images: np.ndarray) -> list[np.ndarray]:
        assert len(images) <= self.batch_size
        self.batches.append(len(images))
        maps = images[:, ::4, ::4, 2].astype(np.float32) / 255
        return [np.repeat(maps[:, None], 17, 1)]


def topdown(batch_size: int) -> TopdownEstimator:
    return TopdownEstimator(PositionNetwork(batch_size), TopdownSpec((64, 48)))


def lit(number: int) -> Frame:
    """A frame with a bright square at x = 20 + 2 * number."""
    image = np.zeros((120, 160, 3), np.uint8)
    image[50:60, 15 + 2 * number : 25 + 2 * number] = 255
    return Frame(number, number / FPS, image)


def boxes(number: int, people: int) -> Detections:
    box = np.tile(np.array([[2 * number, 20, 2 * number + 40, 90]], np.float32), (people, 1))
    return box, np.full(people, 0.5, np.float32)


@pytest.mark.parametrize("overlap", [False, True])
@pytest.mark.parametrize("batch_size", [1, 4, 7])
def test_poses_are_assigned_to_their_frames_for_any_batch_size(batch_size, overlap):
    estimator = topdown(batch_size)
    people = {0: [1, 0, 3, 2, 0], 1: [0, 0], 2: [5, 1, 1]}
    stream = [
        (video, lit(number), boxes(number, count))
        for video, counts in people.items()
        for number, count in enumerate(counts)
    ]
    # The videos are interleaved, and end after their last frames.
    stream.sort(key=lambda entry: (entry[1].index, entry[0]))
    ends = [(video, None, None) for video in people]
    got = collect(estimate_topdown(iter(stream + ends), estimator, StageTimes(), overlap=overlap))
    assert {video: [poses.num_persons for poses in items] for video, items in got.items()} == people
    for items in got.values():
        for number, poses in enumerate(items):
            assert (poses.frame_index, poses.time) == (number, number / FPS)
            np.testing.assert_array_equal(poses.box, boxes(number, poses.num_persons)[0])
            if poses.num_persons:
                assert np.abs(poses.keypoint[..., 0] - (20 + 2 * number)).max() < 8
    # All batches except for the last one are full.
    assert set(estimator.network.batches[:-1]) <= {batch_size}  # type: ignore[attr-defined]
    assert sum(estimator.network.batches) == 13  # type: ignore[attr-defined]


def test_frames_without_detections_have_no_poses():
    estimator = topdown(4)
    stream = ((9, item) if item is None else (9, frame(item.index, 9)) for _, item in source(6))
    found = detect_persons(stream, NumberDetector(2), nth(2), StageTimes())
    (items,) = collect(estimate_topdown(found, estimator, StageTimes())).values()
    assert [poses.num_persons for poses in items] == [0] * 6
    assert all(poses.keypoint.shape == (0, 17, 2) for poses in items)
    assert estimator.network.batches == []  # type: ignore[attr-defined]


class Meeting(TopdownEstimator):
    """An estimator whose steps wait for each other: each ends only when the others work on the neighbouring batches."""

    def __init__(self) -> None:
        super().__init__(PositionNetwork(1), TopdownSpec((64, 48)))
        self.began = {step: [threading.Event() for _ in range(10)] for step in ("crop", "network")}
        self.met: list[bool] = []
        self._counts = Counter[str]()

    def _enter(self, step: str) -> int:
        number = self._counts[step]
        self._counts[step] += 1
        if step in self.began:
            self.began[step][number].set()
        return number

    def _meet(self, step: str, number: int) -> None:
        # There are four frames with a person.
        if number < 4:
            self.met.append(self.began[step][number].wait(10))

    def crop(self, image: np.ndarray, box: np.ndarray) -> Crops:
        self._enter("crop")
        return super().crop(image, box)

    def heatmaps(self, images: np.ndarray) -> list[np.ndarray]:
        self._meet("crop", self._enter("network") + 1)
        return super().heatmaps(images)

    def decode(self, outputs: list[np.ndarray], center: np.ndarray, scale: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        self._meet("network", self._enter("decode") + 1)
        return super().decode(outputs, center, scale)


def test_crops_and_heat_maps_are_computed_next_to_the_network():
    estimator = Meeting()
    frames = [(0, lit(number), boxes(number, 1)) for number in range(4)]
    got = collect(estimate_topdown(iter([*frames, (0, None, None)]), estimator, StageTimes(), overlap=True))
    assert [poses.num_persons for poses in got[0]] == [1] * 4
    assert estimator.met == [True] * 6


def poses_of(batch_size: int, *, overlap: bool) -> list[tuple[int, FramePoses | None]]:
    found = detect_persons(source(40, 3, 0, 75), NumberDetector(3), nth(4), StageTimes())
    return list(estimate_topdown(found, topdown(batch_size), StageTimes(), overlap=overlap))


@pytest.mark.parametrize("batch_size", [1, 3, 64])
def test_overlapping_stages_give_the_same_poses_in_the_same_order(batch_size):
    serial, overlapping = poses_of(batch_size, overlap=False), poses_of(batch_size, overlap=True)
    assert [video for video, _ in serial] == [video for video, _ in overlapping]
    for (_, one), (_, other) in zip(serial, overlapping, strict=True):
        assert (one is None) == (other is None)
        if one is not None and other is not None:
            assert (one.frame_index, one.time) == (other.frame_index, other.time)
            for name in ("box", "box_score", "keypoint", "keypoint_score"):
                assert getattr(one, name).tobytes() == getattr(other, name).tobytes()


@pytest.mark.parametrize("overlap", [False, True])
@pytest.mark.parametrize("step", ["crop", "heatmaps", "decode"])
def test_an_error_of_any_stage_comes_after_the_frames_before_it(step, overlap, monkeypatch):
    estimator = topdown(1)
    works, calls = getattr(estimator, step), itertools.count()

    def breaks(*arguments):
        if next(calls) == 2:
            raise BackendError(f"no {step}")
        return works(*arguments)

    monkeypatch.setattr(estimator, step, breaks)
    frames = [(0, lit(number), boxes(number, 1)) for number in range(5)]
    stream = estimate_topdown(iter(frames), estimator, StageTimes(), overlap=overlap)
    assert [next(stream)[1].frame_index for _ in range(2)] == [0, 1]
    with pytest.raises(BackendError, match=f"no {step}"):
        next(stream)


def test_frames_without_persons_are_released_before_a_batch_is_full():
    released = threading.Event()

    def frames() -> Iterator[tuple[int, Frame, Detections]]:
        for number in range(MOST_BETWEEN + 1):
            yield 0, frame(number), boxes(number, 0)
        assert released.wait(10)

    stream = estimate_topdown(frames(), topdown(64), StageTimes(), overlap=True)
    assert next(stream)[1].frame_index == 0
    released.set()
    assert len(list(stream)) == MOST_BETWEEN


def test_leaving_ends_all_stages():
    ended = threading.Event()

    def endless() -> Iterator[tuple[int, Frame, Detections]]:
        try:
            for number in itertools.count():
                yield 0, lit(number % 50), boxes(number % 50, 1)
        finally:
            ended.set()

    before = threading.active_count()
    stream = estimate_topdown(endless(), topdown(2), StageTimes(), overlap=True)
    next(stream)
    stream.close()
    assert threading.active_count() == before and ended.wait(1)


class FrameEstimator:
    """Finds the number of persons given by the first pixel."""

    batch_size = 2

    def estimate(self, images: list[np.ndarray]) -> list[tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]]:
        assert len(images) <= 2 * self.batch_size
        counts = [int(image[0, 0, 0]) for image in images]
        return [
            (np.zeros((n, 4), np.float32), np.zeros(n, np.float32), np.zeros((n, 17, 2)), np.zeros((n, 17)))
            for n in counts
        ]


def test_bottom_up_poses_are_assigned_to_their_frames():
    lengths = (7, 0, 4)
    got = collect(estimate_bottomup(source(*lengths), FrameEstimator(), StageTimes()))
    assert {video: [poses.num_persons for poses in items] for video, items in got.items()} == {
        video: list(range(length)) for video, length in enumerate(lengths)
    }
