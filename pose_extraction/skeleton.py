"""Joint layouts.

All estimators in this project produce COCO-17; the other layouts occur in imported files. A layout consists of joint
names, bones, left-right pairs, body parts and, where published, the per-joint constants of object keypoint similarity
(OKS).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np


@dataclass(frozen=True)
class Skeleton:
    """A joint layout.

    Args:
        name: Name of the layout in settings.
        joints: V joint names, in storage order.
        bones: Pairs of joint indices (parent, child), for drawing and bone lengths.
        flip_pairs: Pairs of joint indices (left, right) that are exchanged in a mirror image.
        parts: Joint indices by body part; a joint may belong to none.
        sigmas: V OKS constants of the COCO keypoint evaluation, with k_i = 2 * sigma_i; None if not published.
    """

    name: str
    joints: tuple[str, ...]
    bones: tuple[tuple[int, int], ...]
    flip_pairs: tuple[tuple[int, int], ...]
    parts: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    sigmas: tuple[float, ...] | None = None

    @property
    def num_joints(self) -> int:
        """Number V of joints."""
        return len(self.joints)

    @property
    def flip_indices(self) -> np.ndarray:
        """Index of the mirrored joint of each joint, int64 (V,)."""
        indices = np.arange(self.num_joints)
        for left, right in self.flip_pairs:
            indices[left], indices[right] = right, left
        return indices


COCO17 = Skeleton(
    name="coco17",
    joints=(
        "nose",
        "left_eye",
        "right_eye",
        "left_ear",
        "right_ear",
        "left_shoulder",
        "right_shoulder",
        "left_elbow",
        "right_elbow",
        "left_wrist",
        "right_wrist",
        "left_hip",
        "right_hip",
        "left_knee",
        "right_knee",
        "left_ankle",
        "right_ankle",
    ),
    bones=(
        (15, 13),
        (13, 11),
        (16, 14),
        (14, 12),
        (11, 12),
        (5, 11),
        (6, 12),
        (5, 6),
        (5, 7),
        (6, 8),
        (7, 9),
        (8, 10),
        (1, 2),
        (0, 1),
        (0, 2),
        (1, 3),
        (2, 4),
        (3, 5),
        (4, 6),
    ),
    flip_pairs=((1, 2), (3, 4), (5, 6), (7, 8), (9, 10), (11, 12), (13, 14), (15, 16)),
    parts={
        "head": (0, 1, 2, 3, 4),
        "left_arm": (5, 7, 9),
        "right_arm": (6, 8, 10),
        "left_leg": (11, 13, 15),
        "right_leg": (12, 14, 16),
    },
    sigmas=(
        0.026,
        0.025,
        0.025,
        0.035,
        0.035,
        0.079,
        0.079,
        0.072,
        0.072,
        0.062,
        0.062,
        0.107,
        0.107,
        0.087,
        0.087,
        0.089,
        0.089,
    ),
)

# Human3.6M's joints in MotionBERT's order, computed from COCO-17 for weights that expect it.
H36M17 = Skeleton(
    name="h36m17",
    joints=(
        "root", "right_hip", "right_knee", "right_ankle", "left_hip", "left_knee", "left_ankle", "belly", "neck",
        "nose", "head", "left_shoulder", "left_elbow", "left_wrist", "right_shoulder", "right_elbow", "right_wrist",
    ),
    bones=(
        (0, 1), (1, 2), (2, 3), (0, 4), (4, 5), (5, 6), (0, 7), (7, 8), (8, 9), (9, 10), (8, 11), (11, 12), (12, 13),
        (8, 14), (14, 15), (15, 16),
    ),
    flip_pairs=((4, 1), (5, 2), (6, 3), (11, 14), (12, 15), (13, 16)),
    parts={
        "head": (9, 10),
        "left_arm": (11, 12, 13),
        "right_arm": (14, 15, 16),
        "left_leg": (4, 5, 6),
        "right_leg": (1, 2, 3),
    },
)  # fmt: skip

# Joints of Penn Action's annotations.
PENN13 = Skeleton(
    name="penn13",
    joints=(
        "head", "left_shoulder", "right_shoulder", "left_elbow", "right_elbow", "left_wrist", "right_wrist",
        "left_hip", "right_hip", "left_knee", "right_knee", "left_ankle", "right_ankle",
    ),
    bones=(
        (0, 1), (0, 2), (1, 2), (1, 3), (3, 5), (2, 4), (4, 6), (1, 7), (2, 8), (7, 8), (7, 9), (9, 11), (8, 10),
        (10, 12),
    ),
    flip_pairs=((1, 2), (3, 4), (5, 6), (7, 8), (9, 10), (11, 12)),
    parts={
        "head": (0,),
        "left_arm": (1, 3, 5),
        "right_arm": (2, 4, 6),
        "left_leg": (7, 9, 11),
        "right_leg": (8, 10, 12),
    },
)  # fmt: skip

# Numbering of the first Kinect's library. Data sets recorded with it may use another order.
KINECT20 = Skeleton(
    name="kinect20",
    joints=(
        "hip_centre", "spine", "shoulder_centre", "head", "left_shoulder", "left_elbow", "left_wrist", "left_hand",
        "right_shoulder", "right_elbow", "right_wrist", "right_hand", "left_hip", "left_knee", "left_ankle",
        "left_foot", "right_hip", "right_knee", "right_ankle", "right_foot",
    ),
    bones=(
        (0, 1), (1, 2), (2, 3), (2, 4), (4, 5), (5, 6), (6, 7), (2, 8), (8, 9), (9, 10), (10, 11), (0, 12), (12, 13),
        (13, 14), (14, 15), (0, 16), (16, 17), (17, 18), (18, 19),
    ),
    flip_pairs=((4, 8), (5, 9), (6, 10), (7, 11), (12, 16), (13, 17), (14, 18), (15, 19)),
    parts={
        "head": (3,),
        "left_arm": (4, 5, 6, 7),
        "right_arm": (8, 9, 10, 11),
        "left_leg": (12, 13, 14, 15),
        "right_leg": (16, 17, 18, 19),
    },
)  # fmt: skip

# OpenPose's BODY_25.
OPENPOSE25 = Skeleton(
    name="openpose25",
    joints=(
        "nose", "neck", "right_shoulder", "right_elbow", "right_wrist", "left_shoulder", "left_elbow", "left_wrist",
        "mid_hip", "right_hip", "right_knee", "right_ankle", "left_hip", "left_knee", "left_ankle", "right_eye",
        "left_eye", "right_ear", "left_ear", "left_big_toe", "left_small_toe", "left_heel", "right_big_toe",
        "right_small_toe", "right_heel",
    ),
    bones=(
        (1, 0), (1, 2), (2, 3), (3, 4), (1, 5), (5, 6), (6, 7), (1, 8), (8, 9), (9, 10), (10, 11), (8, 12), (12, 13),
        (13, 14), (0, 15), (0, 16), (15, 17), (16, 18), (14, 19), (19, 20), (14, 21), (11, 22), (22, 23), (11, 24),
    ),
    flip_pairs=(
        (5, 2), (6, 3), (7, 4), (12, 9), (13, 10), (14, 11), (16, 15), (18, 17), (19, 22), (20, 23), (21, 24),
    ),
    parts={
        "head": (0, 15, 16, 17, 18),
        "left_arm": (5, 6, 7),
        "right_arm": (2, 3, 4),
        "left_leg": (12, 13, 14, 19, 20, 21),
        "right_leg": (9, 10, 11, 22, 23, 24),
    },
)  # fmt: skip

# Joints of the second Kinect, as stored in NTU RGB+D and PKU-MMD.
NTU25 = Skeleton(
    name="ntu25",
    joints=(
        "spine_base", "spine_middle", "neck", "head", "left_shoulder", "left_elbow", "left_wrist", "left_hand",
        "right_shoulder", "right_elbow", "right_wrist", "right_hand", "left_hip", "left_knee", "left_ankle",
        "left_foot", "right_hip", "right_knee", "right_ankle", "right_foot", "spine_shoulder", "left_hand_tip",
        "left_thumb", "right_hand_tip", "right_thumb",
    ),
    bones=(
        (0, 1), (1, 20), (20, 2), (2, 3), (20, 4), (4, 5), (5, 6), (6, 7), (7, 21), (6, 22), (20, 8), (8, 9), (9, 10),
        (10, 11), (11, 23), (10, 24), (0, 12), (12, 13), (13, 14), (14, 15), (0, 16), (16, 17), (17, 18), (18, 19),
    ),
    flip_pairs=(
        (4, 8), (5, 9), (6, 10), (7, 11), (12, 16), (13, 17), (14, 18), (15, 19), (21, 23), (22, 24),
    ),
    parts={
        "head": (2, 3),
        "left_arm": (4, 5, 6, 7, 21, 22),
        "right_arm": (8, 9, 10, 11, 23, 24),
        "left_leg": (12, 13, 14, 15),
        "right_leg": (16, 17, 18, 19),
    },
)  # fmt: skip

LAYOUTS = {layout.name: layout for layout in (COCO17, H36M17, PENN13, KINECT20, OPENPOSE25, NTU25)}

# Default layout by (number of joints, number of coordinates), for files that do not name their layout.
_USUAL = {
    (17, 2): COCO17,
    (17, 3): H36M17,
    (13, 2): PENN13,
    (13, 3): PENN13,
    (20, 2): KINECT20,
    (20, 3): KINECT20,
    (25, 2): OPENPOSE25,
    (25, 3): NTU25,
}


def layout_by_shape(num_joints: int, num_coordinates: int) -> Skeleton:
    """Return the default layout for a shape.

    Args:
        num_joints: Number of joints.
        num_coordinates: 2 or 3.

    Returns:
        The layout; for unknown shapes, a layout without bones, flip pairs and meaningful joint names.
    """
    usual = _USUAL.get((num_joints, num_coordinates))
    if usual is not None:
        return usual
    return Skeleton(
        name=f"joints{num_joints}",
        joints=tuple(f"joint_{number}" for number in range(num_joints)),
        bones=(),
        flip_pairs=(),
    )
