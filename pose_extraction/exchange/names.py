"""Names of joints in the files of other programs, and conversion between joint layouts by name."""

import re
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from pose_extraction.errors import AnnotationError, UsageError
from pose_extraction.exchange.clips import PoseClip
from pose_extraction.skeleton import COCO17, H36M17, KINECT20, LAYOUTS, NTU25, OPENPOSE25, PENN13

_FEET = ("left_big_toe", "left_small_toe", "left_heel", "right_big_toe", "right_small_toe", "right_heel")
_HALPE26 = (
    *COCO17.joints, "head", "neck", "hip", "left_big_toe", "right_big_toe", "left_small_toe", "right_small_toe",
    "left_heel", "right_heel",
)  # fmt: skip


def _numbered(prefix: str, count: int) -> tuple[str, ...]:
    return tuple(f"{prefix}_{number}" for number in range(count))


# Names of the joints of layouts that occur in files only by their number of joints.
JOINTS: dict[str, tuple[str, ...]] = {
    **{layout.name: layout.joints for layout in LAYOUTS.values()},
    "openpose18": (
        "nose", "neck", "right_shoulder", "right_elbow", "right_wrist", "left_shoulder", "left_elbow", "left_wrist",
        "right_hip", "right_knee", "right_ankle", "left_hip", "left_knee", "left_ankle", "right_eye", "left_eye",
        "right_ear", "left_ear",
    ),
    "halpe26": _HALPE26,
    "halpe136": (*_HALPE26, *_numbered("face", 68), *_numbered("left_hand", 21), *_numbered("right_hand", 21)),
    "mediapipe33": (
        "nose", "left_eye_inner", "left_eye", "left_eye_outer", "right_eye_inner", "right_eye", "right_eye_outer",
        "left_ear", "right_ear", "mouth_left", "mouth_right", "left_shoulder", "right_shoulder", "left_elbow",
        "right_elbow", "left_wrist", "right_wrist", "left_pinky", "right_pinky", "left_index", "right_index",
        "left_thumb", "right_thumb", "left_hip", "right_hip", "left_knee", "right_knee", "left_ankle", "right_ankle",
        "left_heel", "right_heel", "left_foot_index", "right_foot_index",
    ),
    "wholebody133": (
        *COCO17.joints, *_FEET, *_numbered("face", 68), *_numbered("left_hand", 21), *_numbered("right_hand", 21)
    ),
}  # fmt: skip

_BY_COUNT = {
    (17, 2): COCO17.name,
    (17, 3): H36M17.name,
    (25, 2): OPENPOSE25.name,
    (25, 3): NTU25.name,
    (13, 2): PENN13.name,
    (13, 3): PENN13.name,
    (20, 3): KINECT20.name,
    **{(count, dimensions): name for count, name in ((18, "openpose18"), (26, "halpe26"), (33, "mediapipe33"),
       (133, "wholebody133"), (136, "halpe136")) for dimensions in (2, 3)},
}  # fmt: skip

# Names without a side that mean the same.
_CENTRES = {
    "mid_hip": ("hip", "hips", "pelvis", "root", "hip_centre", "hip_center", "spine_base", "midhip"),
    "neck": ("shoulder_centre", "shoulder_center", "mid_shoulder", "thorax"),
    "spine": ("belly", "spine_middle", "spine_mid", "mid_spine", "torso"),
    "head": ("head_top", "top_head", "top_of_head", "vertex"),
}
_SAME = {other: name for name, others in _CENTRES.items() for other in others}
_SIDES = {"l": "left", "left": "left", "r": "right", "right": "right"}
_PAIRED = ("eye", "ear", "shoulder", "elbow", "wrist", "hip", "knee", "ankle", "foot", "hand", "heel")
_WORDS = re.compile(r"[A-Z]+(?=[A-Z][a-z])|[A-Z]?[a-z]+|[A-Z]+|\d+")


def canonical(name: str) -> str:
    """Return a name of a joint in one spelling: "LShoulder", "shoulder-left" and "l_shoulder" are "left_shoulder"."""
    words = [word.lower() for word in _WORDS.findall(name)]
    sides = [word for word in words if word in _SIDES]
    if len(sides) == 1:
        return "_".join([_SIDES[sides[0]], *(word for word in words if word not in _SIDES)])
    if not sides and words and words[0][0] in "lr" and words[0][1:] in _PAIRED:
        return "_".join([_SIDES[words[0][0]], words[0][1:], *words[1:]])
    text = "_".join(words)
    return _SAME.get(text, text)


def joints_by_count(num_joints: int, dimensions: int, place: str) -> tuple[str, ...]:
    """Return the names of the joints in a file that only numbers them.

    Args:
        num_joints: Number of joints.
        dimensions: Coordinates of a joint, 2 or 3.
        place: The file, for the message.

    Raises:
        AnnotationError: No layout has this number of joints.
    """
    name = _BY_COUNT.get((num_joints, dimensions))
    if name is None:
        known = ", ".join(sorted({str(count) for count, _ in _BY_COUNT}, key=int))
        raise AnnotationError(
            f"{place}: has {num_joints} joints without names; known are layouts of {known} joints. Give the layout "
            "with --joints: its name, or the names of the joints separated by commas"
        )
    return JOINTS[name]


def joints_given(word: str) -> tuple[str, ...]:
    """Return the joints of the option `--joints`: the name of a layout, or names separated by commas.

    Raises:
        UsageError: It is neither, or a name occurs twice.
    """
    if word in JOINTS:
        return JOINTS[word]
    names = tuple(part.strip() for part in word.split(","))
    if len(names) < 2 or not all(names):
        raise UsageError(f"--joints {word}: is not a layout; give one of {', '.join(JOINTS)}, or names with commas")
    if len({canonical(name) for name in names}) < len(names):
        raise UsageError(f"--joints {word}: names a joint twice; correct the list")
    return names


def indices_in(joints: Sequence[str], wanted: Sequence[str]) -> list[int]:
    """Return for each wanted joint its place among other joints, by name; -1 if it is not there.

    Args:
        joints: Names of the joints of a file.
        wanted: Names of the joints of the layout to convert to.
    """
    places = {canonical(name): place for place, name in reversed(list(enumerate(joints)))}
    if not any(name.endswith("_ankle") for name in places):
        # Some programs call the ankle of a layout without feet the foot.
        places |= {f"{side}_ankle": places[f"{side}_foot"] for side in _SIDES.values() if f"{side}_foot" in places}
    return [places.get(canonical(name), -1) for name in wanted]


def with_joints(clip: PoseClip, joints: Sequence[str], place: str) -> PoseClip:
    """Convert a clip to other joints by name. Joints that it does not have are unseen; nothing is computed.

    Args:
        clip: The clip.
        joints: Names of the wanted joints.
        place: The file, for the message.

    Raises:
        AnnotationError: The two have no joint in common.
    """
    if tuple(clip.joints) == tuple(joints):
        return clip
    indices = np.array(indices_in(clip.joints, joints))
    missing = indices < 0
    if missing.all():
        raise AnnotationError(
            f"{place}: has none of the joints {', '.join(joints[:3])}, ...: its joints are "
            f"{', '.join(clip.joints[:8])}; give their names in order with --joints"
        )
    keypoint, score = clip.keypoint[:, :, indices], clip.keypoint_score[:, :, indices]
    keypoint[:, :, missing], score[:, :, missing] = np.nan, 0
    imputed = None if clip.imputed is None else clip.imputed[:, :, indices] & ~missing
    return replace(
        clip, joints=tuple(joints), keypoint=keypoint, keypoint_score=score, imputed=imputed, notes=list(clip.notes)
    )


def has_other_joints(clip: PoseClip, joints: Sequence[str]) -> bool:
    """Whether a clip has seen joints that others do not include, by name."""
    others = sorted(set(range(len(clip.joints))) - set(indices_in(clip.joints, joints)))
    return bool(clip.seen[:, :, others].any())
