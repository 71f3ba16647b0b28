"""Further input channels of a joint: relative to the hips, to its parent, and to its own previous position."""

import torch

from pose_extraction.skeleton import COCO17

# C of the result, and the channels of the input.
CHANNELS, JOINT_CHANNELS = 9, 3
# Factors that bring each kind to about the range of positions, of which a person fills a range of one.
OF_HIPS, OF_PARENT, OF_MOTION = 2.0, 3.0, 8.0
_HIPS = slice(COCO17.joints.index("left_hip"), COCO17.joints.index("right_hip") + 1)


# Parent of each joint, the one before it on the way from the nose; the nose is its own.
PARENTS = [0, 0, 0, 1, 2, 0, 0, 5, 6, 7, 8, 5, 6, 11, 12, 13, 14]


def relative_inputs(x: torch.Tensor, known: torch.Tensor) -> torch.Tensor:
    """Return x, y and score, and x and y relative to the hips, to the parent joint and to the previous frame.

    Without hips, the middle of the known joints takes their place. What depends on a joint that is not known is zero,
    so that a masked joint cannot be read off its neighbours.

    Args:
        x: float (S, T, 17, 3), the network's input.
        known: bool (S, T, 17), False where a joint is unseen or masked.

    Returns:
        float (S, T, 17, 9), zero in all channels where a joint is not known.
    """
    place, weight = x[..., :2], known[..., None].to(x.dtype)
    hips, all_joints = weight[:, :, _HIPS], weight.sum(dim=2, keepdim=True)
    hip_count = hips.sum(dim=2, keepdim=True)
    middle = (place * weight).sum(dim=2, keepdim=True) / all_joints.clamp_min(1)
    hip = (place[:, :, _HIPS] * hips).sum(dim=2, keepdim=True) / hip_count.clamp_min(1)
    of_hips = (place - torch.where(hip_count > 0, hip, middle)) * OF_HIPS
    of_parent = (place - place[:, :, PARENTS]) * weight[:, :, PARENTS] * OF_PARENT
    moved = (place[:, 1:] - place[:, :-1]) * weight[:, :-1] * OF_MOTION
    motion = torch.cat([torch.zeros_like(place[:, :1]), moved], dim=1)
    return torch.cat([x, of_hips, of_parent, motion], dim=-1) * weight
