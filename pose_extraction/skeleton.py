"""Joint layouts as data.

COCO-17 is what every estimator here writes. A layout is names, bones, left-right pairs, body parts and, where the
field has agreed on them, the per-joint constants of object keypoint similarity (OKS).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np


@dataclass(frozen=True)
class Skeleton:
    """One joint layout.

    Args:
        name: Name of the layout, as settings spell it.
        joints: V joint names, in storage order.
        bones: Pairs of joint indices (parent, child), for drawing and bone lengths.
        flip_pairs: Pairs of joint indices that a mirror image exchanges (left, right).
        parts: Body parts as joint indices; a joint may be in none.
        sigmas: V OKS constants; k_i = 2 * sigma_i of the COCO keypoint evaluation. None where nobody published any.
    """

    name: str
    joints: tuple[str, ...]
    bones: tuple[tuple[int, int], ...]
    flip_pairs: tuple[tuple[int, int], ...]
    parts: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    sigmas: tuple[float, ...] | None = None

    @property
    def num_joints(self) -> int:
        return len(self.joints)

    @property
    def flip_indices(self) -> np.ndarray:
        """Index of the mirrored joint for every joint, int64 (V,)."""
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
