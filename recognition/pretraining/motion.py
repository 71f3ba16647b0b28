"""The motion of a sequence: what MAMP predicts, and by which it chooses what to hide (sections 3.3 and 3.4)."""

from typing import Literal

import torch


def motion_of(
    coordinates: torch.Tensor,
    seen: torch.Tensor,
    *,
    stride: int,
    padding: Literal["zeros", "replicate"],
) -> tuple[torch.Tensor, torch.Tensor]:
    """M_t = S_(t + m) - S_t, and which of it is known.

    As in the published code, the difference looks forward, and the last m frames are filled up, where eq. 2 and 3 look
    back and fill the first.

    Args:
        coordinates: float (S, T, V, D).
        seen: bool (S, T, V), joints that were seen.
        stride: m, at least 1.
        padding: The last m frames: zeros, or those before them again.

    Returns:
        float (S, T, V, D), zero where it is not known, and bool (S, T, V): both frames are seen, and in the frames that
        are filled up with zeros, the one.
    """
    stride = min(stride, coordinates.shape[1] - 1)
    if stride == 0:
        return torch.zeros_like(coordinates), seen
    difference = coordinates[:, stride:] - coordinates[:, :-stride]
    known = seen[:, stride:] & seen[:, :-stride]
    difference = difference * known[..., None]
    if padding == "zeros":
        end, end_known = torch.zeros_like(coordinates[:, :stride]), seen[:, -stride:]
    else:
        last = (torch.arange(-stride, 0, device=seen.device)).clamp_min(-difference.shape[1])
        end, end_known = difference[:, last], known[:, last]
    return torch.cat([difference, end], 1), torch.cat([known, end_known], 1)


def as_motion(x: torch.Tensor, seen: torch.Tensor, *, dimensions: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Joints as an encoder of motion sees them (table 7): coordinates to the next frame, zeros in the last one.

    A joint that stands still has zeros, too, so whoever embeds them has to be told which joints count as seen.

    Args:
        x: float (S, T, V, C).
        seen: bool (S, T, V), joints that were seen.
        dimensions: D, how many of the channels are coordinates; the others stay.

    Returns:
        float (S, T, V, C), and bool (S, T, V), of which the motion is known.
    """
    motion, known = motion_of(x[..., :dimensions], seen, stride=1, padding="zeros")
    return torch.cat([motion, x[..., dimensions:]], dim=-1), known


def segments_of(values: torch.Tensor, segment_frames: int) -> torch.Tensor:
    """Each joint's values of a segment side by side, frames first: (S, T, V, D) to (S, T / l, V, l * D)."""
    sequences, frames, joints, dimensions = values.shape
    parts = values.view(sequences, frames // segment_frames, segment_frames, joints, dimensions)
    return parts.transpose(2, 3).flatten(3)


def motion_intensity(coordinates: torch.Tensor, seen: torch.Tensor, segment_frames: int) -> torch.Tensor:
    """I of eq. 4: the sum of absolute motion with stride l over a joint's segment, (S, T / l, V)."""
    motion, _ = motion_of(coordinates, seen, stride=segment_frames, padding="replicate")
    return segments_of(motion.abs(), segment_frames).sum(3)
