"""Joint, bone and motion streams of a skeleton; PCM3 trains one encoder for each."""

import numpy as np
import torch

from pose_extraction.errors import UsageError
from pose_extraction.skeleton import NTU25, Skeleton
from recognition.pretraining.settings import Bones, Stream

# Root of the bones in layouts with such a joint; otherwise the first joint.
_ROOTS = ("spine_shoulder", "neck", "belly")
# Parents of thumbs and hand tips in 2s-AGCN's bones, where they differ from the layout's.
_PUBLISHED_HANDS = {
    "left_thumb": "left_hand",
    "left_hand_tip": "left_thumb",
    "right_thumb": "right_hand",
    "right_hand_tip": "right_thumb",
}


def bone_parents(layout: Skeleton, bones: Bones = "published") -> np.ndarray:
    """Return each joint's parent, the other end of its bone towards the root, int64 (V,); the root is its own parent.

    Args:
        layout: Joint layout.
        bones: Hands of NTU25 as in 2s-AGCN, or as in the layout. Other layouts have only their own bones.

    Raises:
        UsageError: The layout has no bones.
    """
    if not layout.bones:
        raise UsageError(f"the bones of {layout.name} are not known; set pcm3.stream to joint or motion")
    neighbours: dict[int, list[int]] = {joint: [] for joint in range(layout.num_joints)}
    for one, other in layout.bones:
        neighbours[one].append(other)
        neighbours[other].append(one)
    root = next((layout.joints.index(name) for name in _ROOTS if name in layout.joints), 0)
    parents = np.arange(layout.num_joints)
    reached, waiting = {root}, [root]
    while waiting:
        joint = waiting.pop(0)
        for other in neighbours[joint]:
            if other not in reached:
                reached.add(other)
                parents[other] = joint
                waiting.append(other)
    if layout.name == NTU25.name and bones == "published":
        for joint_name, parent_name in _PUBLISHED_HANDS.items():
            parents[layout.joints.index(joint_name)] = layout.joints.index(parent_name)
    return parents


def to_stream(keypoint: torch.Tensor, stream: Stream, *, dimensions: int, parents: torch.Tensor) -> torch.Tensor:
    """Convert joints to a stream.

    Args:
        keypoint: float (..., T, V, C), zero in all channels where a joint is unseen.
        stream: "joint", unchanged; "bone", from each joint's parent to it; "motion", to the next frame, zero in the
            last.
        dimensions: D, number of coordinate channels; the others are kept where both positions are seen.
        parents: int64 (V,), see `bone_parents`.

    Returns:
        float (..., T, V, C); all channels are zero where one of the two positions is unseen, as for unseen joints.
    """
    if stream == "joint":
        return keypoint
    place, seen = keypoint[..., :dimensions], (keypoint != 0).any(dim=-1, keepdim=True)
    if stream == "bone":
        other, known = place[..., parents, :], seen & seen[..., parents, :]
    else:
        # The last frame has no successor.
        following = torch.cat([seen[..., 1:, :, :], torch.zeros_like(seen[..., :1, :, :])], dim=-3)
        other, known = place, seen & following
        place = torch.cat([place[..., 1:, :, :], place[..., -1:, :, :]], dim=-3)
    return torch.cat([place - other, keypoint[..., dimensions:]], dim=-1) * known
