"""Names of joints, and conversion of layouts by name."""

import numpy as np
import pytest

from pose_extraction.errors import AnnotationError, UsageError
from pose_extraction.exchange.names import JOINTS, canonical, indices_in, joints_by_count, joints_given, with_joints
from pose_extraction.skeleton import COCO17
from test_support.clips.exchanged import made_clip

LIMBS = ("shoulder", "elbow", "wrist", "hip", "knee", "ankle")
ARMS_AND_LEGS = {f"{side}_{part}" for side in ("left", "right") for part in LIMBS}


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("LShoulder", "left_shoulder"),
        ("shoulder_left", "left_shoulder"),
        ("RIGHT_EYE_INNER", "right_eye_inner"),
        ("r-knee", "right_knee"),
        ("lknee", "left_knee"),
        ("Rknee", "right_knee"),
        ("Left Ankle", "left_ankle"),
        ("MidHip", "mid_hip"),
        ("pelvis", "mid_hip"),
        ("LBigToe", "left_big_toe"),
        ("mouth_left", "left_mouth"),
        ("lip", "lip"),
        ("neck", "neck"),
    ],
)
def test_spellings(written: str, meant: str) -> None:
    assert canonical(written) == meant


@pytest.mark.parametrize(
    ("layout", "missing"),
    [
        ("coco17", set()),
        ("halpe26", set()),
        ("halpe136", set()),
        ("openpose25", set()),
        ("openpose18", set()),
        ("mediapipe33", set()),
        ("wholebody133", set()),
        ("h36m17", {"left_eye", "right_eye", "left_ear", "right_ear"}),
        ("ntu25", set(COCO17.joints) - ARMS_AND_LEGS),
        ("penn13", set(COCO17.joints) - ARMS_AND_LEGS),
    ],
)
def test_joints_of_other_layouts_in_coco17(layout: str, missing: set[str]) -> None:
    """Each joint comes from the one of the same name; those that the layout lacks are unseen, not computed."""
    joints = JOINTS[layout]
    clip = made_clip(persons=1, frames=4)
    clip.joints = joints
    # A joint's x is its number, which shows where it came from.
    clip.keypoint = np.tile(np.arange(len(joints), dtype=np.float32)[:, None], (1, 4, 1, 2))
    clip.keypoint_score = np.ones((1, 4, len(joints)), np.float32)
    clip.imputed = np.ones((1, 4, len(joints)), bool)
    found = with_joints(clip, COCO17.joints, "made")
    assert found.keypoint.shape == (1, 4, 17, 2)
    for place, name in enumerate(COCO17.joints):
        if name in missing:
            assert np.isnan(found.keypoint[:, :, place]).all(), name
            assert not found.keypoint_score[:, :, place].any() and not found.imputed[:, :, place].any(), name
        else:
            assert joints[int(found.keypoint[0, 0, place, 0])] == name
            assert (found.keypoint_score[:, :, place] == 1).all()


def test_the_ankle_is_a_foot_only_in_layouts_without_ankles() -> None:
    assert indices_in(["left_foot", "right_foot"], ["left_ankle", "right_ankle"]) == [0, 1]
    assert indices_in(["left_foot", "left_ankle"], ["left_ankle", "right_ankle"]) == [1, -1]


def test_layouts_without_names_are_known_by_their_number_of_joints() -> None:
    assert joints_by_count(25, 2, "file")[8] == "mid_hip"
    assert joints_by_count(25, 3, "file")[0] == "spine_base"
    assert joints_by_count(17, 3, "file")[0] == "root"
    assert len(JOINTS["wholebody133"]) == 133 and len(JOINTS["halpe136"]) == 136
    with pytest.raises(AnnotationError, match=r"made.json: has 19 joints without names.*--joints"):
        joints_by_count(19, 2, "made.json")


def test_joints_that_the_user_names() -> None:
    assert joints_given("halpe26") == JOINTS["halpe26"]
    assert joints_given("nose, left_eye") == ("nose", "left_eye")
    for wrong in ("coco", "nose,", "nose,Nose"):
        with pytest.raises(UsageError, match="--joints"):
            joints_given(wrong)


def test_layouts_without_a_common_joint_are_refused() -> None:
    clip = made_clip()
    clip.joints = tuple(f"joint_{number}" for number in range(17))
    with pytest.raises(AnnotationError, match=r"a.json: has none of the joints nose.*--joints"):
        with_joints(clip, COCO17.joints, "a.json")
