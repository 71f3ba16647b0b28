"""Poses in single images equal those that extraction finds in the frames of a video."""

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from rich.console import Console

from pipeline.extract.networks import identify_networks
from pipeline.extract.settings import ExtractSettings
from pose_extraction.drawing.persons import track_colour
from pose_extraction.errors import UsageError, VideoError
from pose_extraction.extraction import ExtractionSettings, PoseExtractor
from pose_extraction.image_poses import ImagePoseEstimator, ImagePoses
from pose_extraction.networks.estimators import load_detector, load_estimator
from pose_extraction.poses import FramePoses
from pose_extraction.video.decoding import VideoJob
from pose_extraction.video.reader import VideoReader
from synthetic.rendering.clips import Clip, write_clip
from synthetic.rendering.family import TEST
from synthetic.rendering.scene import FrameTruth, Scene
from test_support.clips.drawn_world import needs, same_persons
from test_support.networks.tiny_networks import write_tiny_networks

SHIPPED = ("hrnet-tiny", "rtmdet-nano-rendered")
SIZE, FRAMES = (360, 480), 5


@pytest.fixture(scope="module")
def scene() -> Scene:
    return Scene(TEST, 2**43, size=SIZE, frames=FRAMES, fps=10.0, action="wave", persons=1)


@pytest.fixture(scope="module")
def video(scene: Scene, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("video")
    write_clip(Clip("clip", scene), folder)
    return folder / "clip.mp4"


def extracted(video: Path, estimator: str, detector: str) -> list[FramePoses]:
    """The raw poses of each frame of a video, from the networks that extraction chooses."""
    settings = ExtractSettings(estimator=estimator, detector=detector, backend="onnxruntime")
    first, second = identify_networks(settings, ["cpu"], None, Console(quiet=True))
    boxes = None if second is None else load_detector(second)
    extractor = PoseExtractor(load_estimator(first), boxes, ExtractionSettings(detect_every=1))
    ((_, frames),) = extractor.videos([VideoJob(video)])
    return frames


def images_of(video: Path) -> list[np.ndarray]:
    """The frames of a video in RGB."""
    with VideoReader(video) as reader:
        return [frame.image[..., ::-1] for frame in reader]


@pytest.mark.slow
@pytest.mark.parametrize("networks", [pytest.param(SHIPPED, marks=needs(*SHIPPED)), "onnx"])
def test_poses_equal_those_of_the_frames_of_a_video(networks, video, tmp_path):
    estimator, detector = map(str, write_tiny_networks(tmp_path)) if networks == "onnx" else networks
    find = ImagePoseEstimator(estimator, detector, device="cpu", backend="onnxruntime")
    found = find(iter(images_of(video)))
    assert len(found) == FRAMES
    for poses, frame in zip(found, extracted(video, estimator, detector), strict=True):
        np.testing.assert_array_equal(poses.boxes, frame.box)
        np.testing.assert_array_equal(poses.box_scores, frame.box_score)
        np.testing.assert_array_equal(poses.keypoints, frame.keypoint)
        np.testing.assert_array_equal(poses.scores, frame.keypoint_score)


@pytest.mark.slow
@needs(*SHIPPED)
def test_rendered_people_are_found_where_they_are(scene):
    drawn = [scene.frame(index) for index in range(FRAMES)]
    found = ImagePoseEstimator(*SHIPPED, device="cpu", precision="fp32")([image[..., ::-1] for image, _ in drawn])
    for poses in found:
        assert shapes(poses) == ((len(poses), 4), (len(poses),), (len(poses), 17, 2), (len(poses), 17))
    assert sum(persons_found(poses, truth) for poses, (_, truth) in zip(found, drawn, strict=True)) >= FRAMES - 2


def shapes(poses: ImagePoses) -> tuple[tuple[int, ...], ...]:
    return poses.boxes.shape, poses.box_scores.shape, poses.keypoints.shape, poses.scores.shape


def persons_found(poses: ImagePoses, truth: FrameTruth) -> int:
    return len(same_persons(poses.keypoints, truth)[0])


def test_images_may_differ_in_size_and_contain_nobody(tmp_path):
    find = ImagePoseEstimator(*write_tiny_networks(tmp_path), device="cpu")
    found = find([np.zeros((40, 60, 3), np.uint8), np.zeros((90, 30, 3), np.uint8)])
    assert [shapes(poses) for poses in found] == [((0, 4), (0,), (0, 17, 2), (0, 17))] * 2
    assert find([]) == []


def test_a_custom_detector_is_used(tmp_path):
    class Whole:
        batch_size = 1

        def detect(self, images):
            return [(np.array([[0, 0, *image.shape[1::-1]]], np.float32), np.ones(1, np.float32)) for image in images]

    estimator, _ = write_tiny_networks(tmp_path)
    (poses,) = ImagePoseEstimator(estimator, Whole(), device="cpu")([np.zeros((40, 60, 3), np.uint8)])
    np.testing.assert_array_equal(poses.boxes, [[0, 0, 60, 40]])


@pytest.mark.parametrize(
    ("image", "reason"),
    [
        (np.zeros((4, 4, 3), np.float32), r"image 0 is float32 \(4, 4, 3\)"),
        (np.zeros((4, 4), np.uint8), r"image 0 is uint8 \(4, 4\)"),
        (np.zeros((0, 4, 3), np.uint8), "image 0 is empty"),
        (None, r"image 0 is object \(\)"),
    ],
)
def test_other_arrays_are_refused(image, reason, tmp_path):
    find = ImagePoseEstimator(*write_tiny_networks(tmp_path), device="cpu")
    with pytest.raises(UsageError, match=reason):
        find([image])


def test_paths_and_arrays_give_the_same_poses_which_can_be_drawn(tmp_path, scene):
    image = scene.frame(0)[0][..., ::-1]
    assert cv2.imwrite(str(tmp_path / "a.png"), image[..., ::-1])
    find = ImagePoseEstimator(*write_tiny_networks(tmp_path), device="cpu")
    first, second = find([image, tmp_path / "a.png"])
    np.testing.assert_array_equal(first.keypoints, second.keypoints)
    drawn = replace(first, **one_person()).draw(tmp_path / "a.png")
    assert drawn.shape == image.shape and drawn.dtype == np.uint8 and (drawn != image).any()
    # The colour of the first number in RGB order.
    assert (drawn == np.array(track_colour(0)[::-1])).all(-1).any()


def one_person() -> dict[str, np.ndarray]:
    joints = np.random.default_rng(0).uniform(50, 250, (1, 17, 2)).astype(np.float32)
    box = np.array([[40, 40, 260, 260]], np.float32)
    return {"boxes": box, "box_scores": np.ones(1), "keypoints": joints, "scores": np.ones((1, 17), np.float32)}


def test_a_missing_file_is_reported(tmp_path):
    find = ImagePoseEstimator(*write_tiny_networks(tmp_path), device="cpu")
    with pytest.raises(VideoError, match=r"photo\.jpg: cannot read the image"):
        find(["photo.jpg"])
