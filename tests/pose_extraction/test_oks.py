import numpy as np
import pytest

from pose_extraction.oks import box_inside, box_iou, median_seen, oks, oks_matrix, pose_bounds
from pose_extraction.skeleton import COCO17


def pose(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).uniform(0, 200, (17, 2))


def test_oks_follows_the_coco_evaluation():
    first = pose(0)
    area = 900.0
    moved = first.copy()
    moved[:, 0] += 2 * np.asarray(COCO17.sigmas) * np.sqrt(area)
    assert oks(first, moved, area) == pytest.approx(np.exp(-0.5))


def test_only_joints_in_both_poses_count():
    first, second = pose(1), pose(1)
    first[3], second[7] = np.nan, np.nan
    second[3] = 1e6
    assert oks(first, second, 400.0) == pytest.approx(1.0)


def test_poses_without_a_common_joint_have_no_similarity():
    first, second = pose(2), pose(2)
    first[:9], second[9:] = np.nan, np.nan
    assert oks(first, second, 400.0) == 0.0


def test_the_matrix_uses_the_areas_of_the_first_poses():
    poses = np.stack([pose(3), pose(3) + 5])
    table = oks_matrix(poses, poses, np.array([100.0, 10000.0]))
    assert table[0, 1] < 0.2 < 0.7 < table[1, 0]
    assert np.diag(table) == pytest.approx(1.0)


def test_overlap_and_containment_of_boxes():
    large, small, apart = [0, 0, 10, 10], [0, 0, 5, 10], [20, 20, 30, 30]
    first, second = np.array([large, small], float), np.array([large, small, apart], float)
    assert box_iou(first, second) == pytest.approx(np.array([[1, 0.5, 0], [0.5, 1, 0]]))
    assert box_inside(first, second) == pytest.approx(np.array([[1, 0.5, 0], [1, 1, 0]]))


def test_boxes_without_area_do_not_overlap():
    flat = np.array([[5.0, 5.0, 5.0, 9.0]])
    assert box_iou(flat, flat).item() == 0.0


def test_pose_bounds_ignore_unseen_joints():
    keypoint = np.full((2, 17, 2), np.nan)
    keypoint[0, 4], keypoint[0, 9] = (3, 8), (7, 1)
    assert pose_bounds(keypoint)[0] == pytest.approx([3, 1, 7, 8])
    assert np.isnan(pose_bounds(keypoint)[1]).all()


def test_median_seen_equals_nanmedian():
    values = np.random.default_rng(4).normal(size=(9, 40))
    values[np.random.default_rng(5).random(values.shape) < 0.4] = np.nan
    values[:, 0] = np.nan
    assert np.isnan(median_seen(values)[0])
    np.testing.assert_allclose(median_seen(values)[1:], np.nanmedian(values[:, 1:], axis=0))
