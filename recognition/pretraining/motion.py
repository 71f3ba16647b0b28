"""The motion of a sequence, which MAMP predicts and chooses hidden tokens by (sections 3.3 and 3.4)."""

from typing import Literal

import torch


def motion_of(
    coordinates: torch.Tensor,
    seen: torch.Tensor,
    *,
    stride: int,
    padding: Literal["zeros", "replicate"],
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return M_t = S_(t + m) - S_t and where it is known.

    As in the published code, the difference looks forward and the last m frames are padded, whereas eq. 2 and 3 look
    back and pad the first ones.

    Args:
        coordinates: float (S, T, V, D).
        seen: bool (S, T, V), True where a joint is seen.
        stride: m, at least 1.
        padding: Content of the last m frames: zeros, or the frames before them repeated.

    Returns:
        float (S, T, V, D), zero where unknown, and bool (S, T, V), True where both frames are seen; in zero-padded
        frames, where that frame is seen.
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
    """Return the encoder input for the motion stream (table 7): differences to the next frame, zeros in the last one.

    A joint that does not move also has zeros, so the embedding needs the second result to distinguish unseen joints.

    Args:
        x: float (S, T, V, C).
        seen: bool (S, T, V), True where a joint is seen.
        dimensions: D, number of coordinate channels; the other channels are unchanged.

    Returns:
        float (S, T, V, C), and bool (S, T, V), True where the motion is known.
    """
    motion, known = motion_of(x[..., :dimensions], seen, stride=1, padding="zeros")
    return torch.cat([motion, x[..., dimensions:]], dim=-1), known


def segments_of(values: torch.Tensor, segment_frames: int) -> torch.Tensor:
    """Concatenate each joint's values of a segment, frames first: (S, T, V, D) to (S, T / l, V, l * D)."""
    sequences, frames, joints, dimensions = values.shape
    parts = values.view(sequences, frames // segment_frames, segment_frames, joints, dimensions)
    return parts.transpose(2, 3).flatten(3)


def motion_intensity(coordinates: torch.Tensor, seen: torch.Tensor, segment_frames: int) -> torch.Tensor:
    """Return I of eq. 4: absolute motion with stride l summed over a joint's segment, (S, T / l, V)."""
    motion, _ = motion_of(coordinates, seen, stride=segment_frames, padding="replicate")
    return segments_of(motion.abs(), segment_frames).sum(3)
