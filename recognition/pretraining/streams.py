"""Joints, bones and motion: three views of one skeleton, of which PCM3 trains an encoder each."""

import numpy as np
import torch

from pose_extraction.errors import UsageError
from pose_extraction.skeleton import Skeleton
from recognition.pretraining.settings import Stream

# Where bones begin, in layouts that have such a joint; else at the first joint.
_ROOTS = ("spine_shoulder", "neck", "belly")


def bone_parents(layout: Skeleton) -> np.ndarray:
    """The joint at the other end of each joint's bone, nearer to the body's middle, int64 (V,); its own for the root.

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
    return parents


def to_stream(keypoint: torch.Tensor, stream: Stream, *, dimensions: int, parents: torch.Tensor) -> torch.Tensor:
    """Joints as a stream has them.

    Args:
        keypoint: float (..., T, V, C), zero in all channels where a joint was not seen.
        stream: joint, as they are; bone, from each joint's parent to it; motion, to the next frame, zero in the last.
        dimensions: D, how many of the channels are coordinates; the others stay where both places were seen.
        parents: int64 (V,), of `bone_parents`.

    Returns:
        float (..., T, V, C); all channels are zero where one of the two places was not seen, as for a joint.
    """
    if stream == "joint":
        return keypoint
    place, seen = keypoint[..., :dimensions], (keypoint != 0).any(dim=-1, keepdim=True)
    if stream == "bone":
        other, known = place[..., parents, :], seen & seen[..., parents, :]
    else:
        # Nothing comes after the last frame.
        following = torch.cat([seen[..., 1:, :, :], torch.zeros_like(seen[..., :1, :, :])], dim=-3)
        other, known = place, seen & following
        place = torch.cat([place[..., 1:, :, :], place[..., -1:, :, :]], dim=-3)
    return torch.cat([place - other, keypoint[..., dimensions:]], dim=-1) * known
