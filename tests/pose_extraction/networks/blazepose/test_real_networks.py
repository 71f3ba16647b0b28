"""BlazePose's own networks on a photograph: upright, turned, in batches, and with boxes of another detector."""

import importlib.util
import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from pose_extraction.engines.engine import Engine
from pose_extraction.image_poses import ImagePoseEstimator
from pose_extraction.networks.estimators import load_detector, load_estimator
from pose_extraction.networks.identity import NetworkOptions, identify
from pose_extraction.networks.model_zoo import lookup
from pose_extraction.networks.weights import is_here
from pose_extraction.oks import joint_likeness

pytestmark = [
    pytest.mark.processor,
    pytest.mark.skipif(importlib.util.find_spec("openvino") is None, reason="openvino is not installed"),
    pytest.mark.skipif(
        not is_here(lookup("blazepose")),
        reason="BlazePose's networks are not on this machine; run `skelpipe models --download blazepose`",
    ),
]
PHOTOGRAPH = 785


@pytest.fixture(scope="module")
def estimator() -> ImagePoseEstimator:
    return ImagePoseEstimator("blazepose")


@pytest.fixture(scope="module")
def photograph(shared_data: Path) -> tuple[np.ndarray, np.ndarray, float, np.ndarray]:
    """RGB image of one person; joints (17, 2) with NaN where not labelled, area and box."""
    folder = shared_data / "real" / "coco_val2017"
    table = json.loads((folder / "person_keypoints.json").read_text(encoding="utf-8"))
    (person,) = (one for one in table["annotations"] if one["image_id"] == PHOTOGRAPH)
    points = np.array(person["keypoints"], float).reshape(17, 3)
    joints = np.where(points[:, 2:] > 0, points[:, :2], np.nan)
    left, top, width, height = person["bbox"]
    image = cv2.imread(str(folder / "images" / f"{PHOTOGRAPH:012d}.jpg"))[..., ::-1]
    return image, joints, person["area"], np.array([[left, top, left + width, top + height]], np.float32)


def similarity(keypoint: np.ndarray, joints: np.ndarray, area: float) -> float:
    return float(joint_likeness(keypoint, joints, area).sum() / (~np.isnan(joints[:, 0])).sum())


def test_a_person_is_found_however_the_photograph_is_turned(estimator, photograph) -> None:
    image, joints, area, _ = photograph
    height, width = image.shape[:2]
    turned = [np.rot90(image, turns).copy() for turns in range(4)]
    for turns, poses in enumerate(estimator(turned)):
        assert len(poses) == 1
        x, y = joints.T
        # A quarter of a turn takes (x, y) to (y, width - 1 - x).
        places = [(x, y), (y, width - 1 - x), (width - 1 - x, height - 1 - y), (height - 1 - y, x)]
        assert similarity(poses.keypoints[0], np.stack(places[turns], -1), area) > 0.7
        assert poses.scores.min() >= 0 and poses.scores.max() <= 1


def test_the_batch_does_not_change_the_poses(photograph) -> None:
    image = np.ascontiguousarray(photograph[0][..., ::-1])
    results = []
    for batch in (1, 3):
        options = NetworkOptions(Engine(batch_size=batch), frame_batch=batch)
        network = load_estimator(identify("estimator", "blazepose", options=options), options)
        results.append(network.look([image] * 2, [found.regions for found in network.find([image] * 2)]))
    for one, other in zip(*results, strict=True):
        np.testing.assert_allclose(one.place, other.place, atol=0.05)
        np.testing.assert_allclose(one.score, other.score, atol=1e-3)


def test_boxes_of_another_detector_give_the_same_person(photograph) -> None:
    image, joints, area, box = photograph

    class Known:
        batch_size = 1

        def detect(self, images):
            return [(box, np.ones(1, np.float32)) for _ in images]

    (poses,) = ImagePoseEstimator("blazepose", Known())([image])
    assert len(poses) == 1 and similarity(poses.keypoints[0], joints, area) > 0.7


def test_as_a_detector_it_finds_the_box(photograph) -> None:
    image, _, _, box = photograph
    ((found, score),) = load_detector(identify("detector", "blazepose")).detect(
        [np.ascontiguousarray(image[..., ::-1])]
    )
    assert len(found) == 1 and score[0] > 0.5
    assert np.abs(found - box).max() < 0.12 * (box[0, 3] - box[0, 1])
