"""The benchmark of estimators compares persons with labels one to one, and counts who was not found."""

import numpy as np
import pytest

from benchmarks.estimators_on_images import Labelled, compare
from pose_extraction.oks import joint_likeness
from pose_extraction.poses import FramePoses
from test_support.videos.made_video import STANDING

HEIGHT = 100.0


def person(x: float) -> np.ndarray:
    return STANDING * HEIGHT + [x, 80.0]


def labelled(joints: np.ndarray, area: float) -> Labelled:
    box = np.concatenate([np.nanmin(joints, 1), np.nanmax(joints, 1)], 1)
    return Labelled(np.zeros((2, 2, 3), np.uint8), joints, box, np.full(len(joints), area))


def poses(keypoint: np.ndarray) -> FramePoses:
    box = np.concatenate([keypoint.min(1), keypoint.max(1)], 1).reshape(-1, 4)
    count = len(keypoint)
    return FramePoses(0, 0.0, box, np.ones(count), keypoint.astype(np.float32), np.ones((count, 17)))


def test_perfect_poses_in_another_order_score_1_and_a_missed_person_0() -> None:
    truth = np.stack([person(50), person(200), person(350)])
    truth[:, 0] = np.nan
    score = compare([labelled(truth, 4000)], [poses(np.stack([person(200), person(50)]))], 1.0)
    np.testing.assert_allclose(score.oks, [1, 1, 0], atol=1e-6)
    assert score.near.sum() == 32 and len(score.near) == 48


def test_oks_and_pck_equal_plain_arithmetic() -> None:
    truth, moved = person(50)[None], person(50)[None]
    torso = np.linalg.norm(truth[0, 5] - truth[0, 12])
    moved[0, 9] += [0.19 * torso, 0]
    moved[0, 10] += [0, 0.21 * torso]
    score = compare([labelled(truth, 3000)], [poses(moved)], 1.0)
    np.testing.assert_allclose(score.oks[0], joint_likeness(truth[0], moved[0], 3000).mean(), rtol=1e-5)
    assert list(np.flatnonzero(~score.near)) == [10]


@pytest.mark.parametrize("found", [0, 1])
def test_without_an_area_the_person_with_the_largest_overlap_counts(found: int) -> None:
    keypoint = np.stack([person(300), person(52)])[: 2 * found]
    score = compare([labelled(person(50)[None], np.nan)], [poses(keypoint) if found else FramePoses.empty(0, 0.0)], 1.0)
    assert score.near.mean() == found
