"""The motion of a sequence, which MAMP predicts and chooses hidden tokens by (sections 3.3 and 3.4)."""

import torch


def motion_of(coordinates: torch.Tensor, seen: torch.Tensor, *, stride: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return M_t = S_(t + m) - S_t and where it is known.

    As in the published code, the target looks forward and has zeros in the last m frames, whereas eq. 2 and 3 look back
    and pad the first ones.

    Args:
        coordinates: float (S, T, V, D).
        seen: bool (S, T, V), True where a joint is seen.
        stride: m, at least 1.

    Returns:
        float (S, T, V, D), zero where unknown, and bool (S, T, V), True where both frames are seen; in the last m
        frames, where that frame is seen.
    """
    stride = min(stride, coordinates.shape[1] - 1)
    if stride == 0:
        return torch.zeros_like(coordinates), seen
    known = seen[:, stride:] & seen[:, :-stride]
    difference = (coordinates[:, stride:] - coordinates[:, :-stride]) * known[..., None]
    motion = torch.cat([difference, torch.zeros_like(coordinates[:, :stride])], 1)
    return motion, torch.cat([known, seen[:, -stride:]], 1)


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
    motion, known = motion_of(x[..., :dimensions], seen, stride=1)
    return torch.cat([motion, x[..., dimensions:]], dim=-1), known


def segments_of(values: torch.Tensor, segment_frames: int) -> torch.Tensor:
    """Concatenate each joint's values of a segment, frames first: (S, T, V, D) to (S, T / l, V, l * D)."""
    sequences, frames, joints, dimensions = values.shape
    parts = values.view(sequences, frames // segment_frames, segment_frames, joints, dimensions)
    return parts.transpose(2, 3).flatten(3)


def motion_intensity(coordinates: torch.Tensor, seen: torch.Tensor, segment_frames: int) -> torch.Tensor:
    """Return I of eq. 4: absolute motion since the segment before, summed over a joint's segment, (S, T / l, V).

    As in eq. 2 and 3 with m = l, and in the published code, it looks back, and the first segment has the values of the
    second. Only the target looks forward, see `motion_of`.

    Args:
        coordinates: float (S, T, V, D), T a multiple of l.
        seen: bool (S, T, V), True where a joint is seen; motion between other frames counts as zero.
        segment_frames: l.
    """
    if coordinates.shape[1] == segment_frames:
        return coordinates.new_zeros(len(coordinates), 1, coordinates.shape[2])
    known = seen[:, segment_frames:] & seen[:, :-segment_frames]
    moved = (coordinates[:, segment_frames:] - coordinates[:, :-segment_frames]).abs() * known[..., None]
    since = segments_of(moved, segment_frames).sum(3)
    return torch.cat([since[:, :1], since], 1)
