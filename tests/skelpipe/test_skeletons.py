"""Skeleton files through the public functions."""

import numpy as np
import pytest

import skelpipe


def made(**changes):
    keypoint = np.full((2, 5, 17, 2), 3.0)
    keypoint[1, 2, 4] = np.nan
    return {"frame_dir": "a", "img_shape": (480, 640), "keypoint": keypoint} | changes


def test_missing_entries_get_defaults_and_unseen_joints_become_zero(tmp_path):
    given = made()
    skelpipe.write_skeletons(tmp_path / "new" / "own.pkl", {"annotations": [given]})
    data = skelpipe.read_skeletons(tmp_path / "new" / "own.pkl")
    (clip,) = data["annotations"]
    assert data["split"] == {} and clip["label"] == -1 and clip["total_frames"] == 5
    assert clip["keypoint"].dtype == np.float32 and (clip["keypoint"][1, 2, 4] == 0).all()
    assert clip["keypoint_score"].sum() == 2 * 5 * 17 - 1 and clip["keypoint_score"][1, 2, 4] == 0
    # The caller's arrays stay as they are.
    assert np.isnan(given["keypoint"][1, 2, 4]).all() and set(given) == {"frame_dir", "img_shape", "keypoint"}


def test_what_is_read_can_be_written_again(tmp_path):
    skelpipe.write_skeletons(tmp_path / "a.pkl", {"annotations": [made()], "split": {"train": ["a"]}})
    skelpipe.write_skeletons(tmp_path / "b.pkl", skelpipe.read_skeletons(tmp_path / "a.pkl"))
    assert (tmp_path / "a.pkl").read_bytes() == (tmp_path / "b.pkl").read_bytes()


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        ({"annotations": [made(keypoint=np.zeros((5, 17, 2)))]}, r"'a': keypoint is of shape \(5, 17, 2\)"),
        ({"annotations": [made(keypoint_score=np.zeros((2, 5)))]}, r"'a': keypoint_score has shape \(2, 5\)"),
        ({"annotations": [{"keypoint": np.zeros((1, 5, 17, 2))}]}, 'has no "frame_dir"'),
        ({"annotations": [made()], "split": {"train": ["b"]}}, "split 'train' contains clip 'b'"),
        ({}, "not a skeleton data set"),
    ],
)
def test_invalid_data_is_refused_before_a_file_is_written(data, reason, tmp_path):
    with pytest.raises(skelpipe.SkelpipeError, match=reason):
        skelpipe.write_skeletons(tmp_path / "own.pkl", data)
    assert not (tmp_path / "own.pkl").exists()
