"""People are found in key frames, followed between them, and other videos in the batch change nothing."""

from collections.abc import Iterator

import numpy as np
import pytest

from pose_extraction.extraction import ExtractionSettings
from pose_extraction.networks.blazepose.estimator import BlazePoseDetector, BlazePoseEstimator
from pose_extraction.networks.blazepose.landmarks import COCO
from pose_extraction.poses import FramePoses
from pose_extraction.streaming import regions
from pose_extraction.streaming.key_frames import KeyRule
from pose_extraction.streaming.regions import SEARCH_PAUSE, estimate_followed, restarts
from pose_extraction.streaming.stage_times import StageTimes
from pose_extraction.video.reader import Frame
from test_support.clips.marked_persons import Person, draw, estimator, finder_of, landmarks_of, looker_of

SIZE, FPS = (240, 320), 25.0
Scene = list[list[Person]]


def walking(frames: int, *, x: float = 60.0, turn: float = 0.0, reach: float = 50.0) -> Scene:
    """A person who walks to the right, 3 pixels a frame, and turns by this many degrees a frame."""
    scene = []
    for number in range(frames):
        hips = (x + 3 * number, 130.0)
        angle = np.deg2rad(turn * number)
        scene.append([(hips, (hips[0] + reach * np.sin(angle), hips[1] - reach * np.cos(angle)))])
    return scene


def nth(every: int) -> KeyRule:
    return lambda times: len(times) > every


def frames_of(scene: Scene, video: int = 0, size: tuple[int, int] = SIZE) -> Iterator[tuple[int, Frame | None]]:
    for number, persons in enumerate(scene):
        yield video, Frame(number, number / FPS, draw(size, persons))
    yield video, None


def followed(stream, network: BlazePoseEstimator, every: int, detector=None) -> dict[int, list[FramePoses]]:
    """Poses by video; each ends once, after its last frame."""
    got: dict[int, list[FramePoses]] = {}
    ended = set()
    for video, poses in estimate_followed(stream, network, detector, nth(every), StageTimes()):
        assert video not in ended
        got.setdefault(video, [])
        if poses is None:
            ended.add(video)
        else:
            got[video].append(poses)
    assert ended == set(got)
    return got


def assert_equal_truth(poses: list[FramePoses], scene: Scene, atol: float = 1.0) -> None:
    for one, persons in zip(poses, scene, strict=True):
        assert one.num_persons == len(persons)
        order = np.argsort(one.keypoint[:, 11, 0])
        for row, (hips, reach) in zip(order, sorted(persons), strict=True):
            truth = landmarks_of(np.array(hips), np.array(reach))[list(COCO)]
            np.testing.assert_allclose(one.keypoint[row], truth, atol=atol)


@pytest.mark.parametrize("turn", [0.0, 7.0, -12.0])
def test_a_person_is_followed_without_detection_upright_or_turning(turn: float) -> None:
    scene, network = walking(40, turn=turn), estimator()
    (poses,) = followed(frames_of(scene), network, 1000).values()
    assert [one.frame_index for one in poses] == list(range(len(scene)))
    assert_equal_truth(poses, scene)
    assert finder_of(network).images == 1
    # One look a frame, and a second one where the person is new.
    assert sum(looker_of(network).calls) == len(scene) + 1


@pytest.mark.parametrize("every", [1, 4])
def test_people_who_enter_are_found_at_the_next_key_frame_and_those_who_leave_are_dropped(every: int) -> None:
    first, second = walking(30), walking(30, x=200.0)
    scene = [
        one + (two if 6 <= number < 20 else []) for number, (one, two) in enumerate(zip(first, second, strict=True))
    ]
    (poses,) = followed(frames_of(scene), estimator(), every).values()
    known = -(-6 // every) * every
    assert [one.num_persons for one in poses] == [2 if known <= number < 20 else 1 for number in range(30)]
    assert_equal_truth(poses[known:20], scene[known:20])


def test_two_people_who_stand_close_stay_two() -> None:
    scene = [[((100.0, 130.0), (100.0, 80.0)), ((135.0, 132.0), (137.0, 83.0))]] * 10
    (poses,) = followed(frames_of(scene), estimator(), 2).values()
    assert_equal_truth(poses, scene)


@pytest.mark.slow
@pytest.mark.parametrize(("batch", "frame_batch"), [(1, 1), (3, 1), (2, 4), (8, 8)])
def test_the_videos_beside_a_video_do_not_change_its_poses(batch: int, frame_batch: int) -> None:
    scenes = [walking(11), walking(7, x=120.0, turn=9.0), [], [[]] * 5, walking(1), [*walking(3), [], [], *walking(4)]]
    alone = [followed(frames_of(scene, 0), estimator(), 3)[0] for scene in scenes]
    streams = [frames_of(scene, video) for video, scene in enumerate(scenes)]
    network = estimator(batch, frame_batch)
    together = followed(interleaved(streams), network, 3)
    assert set(together) == set(range(len(scenes)))
    for video, poses in enumerate(alone):
        assert len(together[video]) == len(scenes[video])
        for one, other in zip(poses, together[video], strict=True):
            np.testing.assert_array_equal(one.keypoint, other.keypoint)
            np.testing.assert_array_equal(one.box, other.box)
    if batch > 1 and frame_batch > 1:
        assert max(looker_of(network).calls) > 1


def interleaved(streams: list[Iterator]) -> Iterator:
    while streams:
        for stream in list(streams):
            item = next(stream, None)
            if item is None:
                streams.remove(stream)
            else:
                yield item


@pytest.mark.parametrize(("batch", "frame_batch", "every", "most"), [(1, 1, 3, 1), (1, 2, 3, 7), (4, 4, 1000, 34)])
def test_frames_do_not_pile_up(batch: int, frame_batch: int, every: int, most: int) -> None:
    """With batches of one, as for a camera, the poses of a frame arrive before the next frame is taken."""
    taken = 0

    def counted() -> Iterator[tuple[int, Frame | None]]:
        nonlocal taken
        for item in frames_of(walking(60)):
            taken += 1
            yield item

    stream = estimate_followed(counted(), estimator(batch, frame_batch), None, nth(every), StageTimes())
    assert max(taken - number for number, _ in enumerate(stream)) <= most


def small(number: int) -> Person:
    return (700.0 + number, 300.0), (700.0 + number, 282.0)


def test_small_people_are_found_in_tiles_where_the_whole_frame_shows_nobody() -> None:
    size = (600, 1200)
    scene: Scene = [[small(number)] for number in range(8)]
    with_tiles, without = estimator(tiles="auto"), estimator(tiles="never")
    (poses,) = followed(frames_of(scene, size=size), with_tiles, 2).values()
    assert_equal_truth(poses, scene, atol=1.5)
    assert [one.num_persons for one in followed(frames_of(scene, size=size), without, 2)[0]] == [0] * 8


def test_tiles_are_always_searched_on_request() -> None:
    size = (600, 1200)
    large: Person = ((200.0, 300.0), (200.0, 180.0))
    scene: Scene = [[large, small(number)] for number in range(4)]

    def drawn() -> Iterator[tuple[int, Frame | None]]:
        for number, (one, other) in enumerate(scene):
            image = draw(size, [one], radius=16)
            patch = draw(size, [other])
            image[:, 600:] = patch[:, 600:]
            yield 0, Frame(number, number / FPS, image)
        yield 0, None

    assert [one.num_persons for one in followed(drawn(), estimator(tiles="auto"), 1)[0]] == [1] * 4
    (poses,) = followed(drawn(), estimator(tiles="always"), 1).values()
    assert_equal_truth(poses, scene, atol=1.5)


def test_an_empty_video_is_searched_in_tiles_once_a_second() -> None:
    network = estimator()
    seconds = 3
    frames = int(seconds * FPS)
    followed(frames_of([[]] * frames), network, 1)
    whole, extra = frames, finder_of(network).images - frames
    assert whole <= finder_of(network).images
    once = estimator()
    followed(frames_of([[]]), once, 1)
    assert extra == (finder_of(once).images - 1) * seconds / SEARCH_PAUSE


def drawn_with(scene: Scene, radius: list[int], begin: int = 0) -> Iterator[tuple[int, Frame | None]]:
    """A scene from a frame on, with the radius of the discs in each frame; the detector does not see 2 pixels."""
    for number in range(begin, len(scene)):
        yield 0, Frame(number, number / FPS, draw(SIZE, scene[number], radius=radius[number]))
    yield 0, None


def restarting(monkeypatch: pytest.MonkeyPatch, every: float, settling: float) -> None:
    monkeypatch.setattr(regions, "RESTART_SECONDS", every)
    monkeypatch.setattr(regions, "SETTLING_SECONDS", settling)


@pytest.mark.parametrize("settling", [0.0, 0.3, 0.9])
def test_poses_after_a_restart_do_not_depend_on_the_frames_before_it(monkeypatch, settling: float) -> None:
    scene = [[((90.0 + number, 130.0), (90.3 + number, 80.2))] for number in range(110)]
    radius = [2 if 25 <= number < 75 else 5 for number in range(110)]

    def poses_from(begin: int) -> list[FramePoses]:
        return followed(drawn_with(scene, radius, begin), estimator(2, tiles="never"), 3)[0]

    restarting(monkeypatch, 1.0, settling)
    whole = poses_from(0)
    places = list(restarts([number / FPS for number in range(110)], nth(3)))
    assert [begin for begin, _ in places] == [27, 51, 75, 102][: len(places)] and len(places) >= 3
    for begin, first in places:
        assert first - begin == np.ceil(settling * FPS)
        for one, other in zip(whole[first:], poses_from(begin)[first - begin :], strict=True):
            np.testing.assert_array_equal(one.keypoint, other.keypoint)
            np.testing.assert_array_equal(one.keypoint_score, other.keypoint_score)
    assert [one.num_persons for one in whole] == [not places[0][1] <= number < 75 for number in range(110)]
    # Otherwise they do: who has been followed from the beginning is not lost.
    restarting(monkeypatch, 1e9, settling)
    assert [one.num_persons for one in poses_from(0)] == [1] * 110


def test_a_person_found_while_a_restart_settles_is_not_lost(monkeypatch) -> None:
    """The detector misses the person in the frame of the restart, and sees the person a little later."""
    scene = walking(50)
    radius = [2 if 20 <= number < 30 else 5 for number in range(50)]

    def seen() -> list[int]:
        poses = followed(drawn_with(scene, radius), estimator(tiles="never"), 1)[0]
        return [one.num_persons for one in poses]

    restarting(monkeypatch, 1.0, 0.5)
    assert seen() == [1] * 50
    restarting(monkeypatch, 1.0, 0.0)
    assert seen() == [not 25 <= number < 30 for number in range(50)]


def test_restarts_cost_looks_only_while_they_settle(monkeypatch) -> None:
    restarting(monkeypatch, 1.0, 0.39)
    network = estimator()
    followed(frames_of(walking(75)), network, 1)
    # Two restarts: ten frames each in which the person is looked at twice, and a second look at a new person.
    assert sum(looker_of(network).calls) == 75 + 1 + 2 * (10 + 1)


def test_a_video_that_starts_late_restarts_at_the_same_times() -> None:
    times = [number / 30 for number in range(3000)]
    for part in (times, times[400:]):
        begins = [part[begin] for begin, _ in restarts(part, ExtractionSettings().is_key)]
        assert begins[-3:] == pytest.approx([40, 60, 80], abs=0.1)


class Boxes:
    """A detector with the box of the person in each frame of a scene."""

    batch_size = 2

    def __init__(self, scene: Scene) -> None:
        self._boxes = {draw(SIZE, persons).tobytes(): persons for persons in scene}

    def detect(self, images):
        found = []
        for image in images:
            body = [landmarks_of(np.array(hips), np.array(reach)) for hips, reach in self._boxes[image.tobytes()]]
            box = [[*marks.min(0), *marks.max(0)] for marks in body]
            found.append((np.array(box, np.float32).reshape(-1, 4), np.ones(len(box), np.float32)))
        return found


@pytest.mark.parametrize("turn", [0.0, 10.0])
def test_boxes_of_another_detector_are_enough_and_new_persons_are_looked_at_twice(turn: float) -> None:
    scene, network = walking(9, turn=turn), estimator()
    (poses,) = followed(frames_of(scene), network, 3, Boxes(scene)).values()
    assert_equal_truth(poses, scene)
    # In the first frame: upright, as the detector suggests, and again.
    assert sum(looker_of(network).calls) == len(scene) + 2
    assert finder_of(network).images == 1


def test_as_a_detector_it_returns_boxes_around_the_persons() -> None:
    scene = [walking(1)[0], [], walking(1)[0] + walking(1, x=200.0)[0]]
    found = BlazePoseDetector(estimator(frame_batch=2)).detect([draw(SIZE, persons) for persons in scene])
    assert [len(box) for box, _ in found] == [1, 0, 2]
    marks = landmarks_of(np.array(scene[0][0][0]), np.array(scene[0][0][1]))
    box, score = found[0]
    assert (box[0, :2] <= marks[:33].min(0) + 1).all() and (box[0, 2:] >= marks[:33].max(0) - 1).all()
    assert (np.abs(box[0, :2] - marks[:33].min(0)) < 20).all()
    np.testing.assert_allclose(score, [0.95])
