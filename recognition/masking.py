"""Attention-guided probabilistic masking (section 3.2): what the masked pathway does not see."""

from typing import Literal

import torch

Scale = Literal["none", "frame_max", "seq_max"]

# Odd constants of the SplitMix64 generator, as the signed numbers that torch computes with.
_STEP = 0x9E3779B97F4A7C15 - 2**64
_MIX1 = 0xBF58476D1CE4E5B9 - 2**64
_MIX2 = 0x94D049BB133111EB - 2**64
# Shares of a sequence's most and least attended cells, by which a mask is judged.
TOP, BOTTOM = 0.05, 0.20


def attention_guided_mask(
    attention: torch.Tensor,
    valid: torch.Tensor,
    *,
    ratio: float,
    temperature: float,
    scale: Scale,
    noise: torch.Tensor,
) -> torch.Tensor:
    """Draws K = floor(ratio * valid cells) cells of each sequence, without replacement, by Gumbel top-K (eq. 3 and 4).

    Args:
        attention: float (P, T, V), A: attention that each cell receives; zeros for random masking.
        valid: bool (P, T, V), cells that may be masked: all joints of the sequence's own frames.
        ratio: delta, in [0, 1].
        temperature: tau_prop.
        scale: A as it is, over its maximum within the frame, or over its maximum within the sequence.
        noise: float (P, T, V), Gumbel noise r.

    Returns:
        bool (P, T, V), True where the mask token takes the joint's place.
    """
    score = attention.to(noise.dtype).masked_fill(~valid, 0)
    if scale != "none":
        largest = score.amax(2, keepdim=True) if scale == "frame_max" else score.amax((1, 2), keepdim=True)
        score = score / largest.clamp_min(torch.finfo(score.dtype).tiny)
    excluded = ~valid.flatten(1)
    logits = (score / temperature).flatten(1).masked_fill(excluded, -torch.inf)
    drawn = logits.log_softmax(1) + noise.flatten(1)
    # A place's rank, not a threshold: equal values must not make the mask larger than K.
    order = drawn.argsort(dim=1, descending=True, stable=True)
    # What should be a whole number may come out a rounding error below it, as 0.29 * 100 does.
    count = torch.floor(ratio * valid.flatten(1).sum(1).double() + 1e-6)
    first = torch.arange(order.shape[1], device=order.device) < count[:, None]
    return torch.zeros_like(first).scatter(1, order, first).view_as(valid)


def gumbel_noise(
    clip: torch.Tensor, person: torch.Tensor, num_frames: int, num_joints: int, *, seed: int, epoch: int
) -> torch.Tensor:
    """Gumbel noise that depends on seed, epoch, clip and person alone (r of eq. 4).

    A counter-based generator: neither the batch that a clip is in, nor the process, nor the padding changes its noise.

    Args:
        clip: int64 (P,), place of each person's clip in its data set.
        person: int64 (P,), place of the person in its clip.
        num_frames: T.
        num_joints: V.
        seed: Seed of the run.
        epoch: Number of the epoch.

    Returns:
        float64 (P, T, V).
    """
    uniform = _uniform(clip, person, num_frames * num_joints, seed=seed, epoch=epoch)
    return -torch.log(-torch.log(uniform)).view(len(clip), num_frames, num_joints)


def jittered(
    keypoint: torch.Tensor, clip: torch.Tensor, person: torch.Tensor, sigma: float, *, seed: int, epoch: int
) -> torch.Tensor:
    """Joints moved by Gaussian noise, which depends on seed, epoch, clip and person alone.

    A clip's standard deviation is drawn from U(0, sigma), so that the network meets slight noise as often as strong.

    Args:
        keypoint: float (P, T, V, C), persons of a batch; the first two channels are x and y, the third is the score, or
            z in 3D. Only x and y move. Joints that were not seen, zero in all channels, stay.
        clip: int64 (P,), place of each person's clip in its data set.
        person: int64 (P,), place of the person in its clip.
        sigma: Largest standard deviation, in units of the network's input, whose square is [-1, 1].
        seed: Seed of the run.
        epoch: Number of the epoch.

    Returns:
        float (P, T, V, C).
    """
    persons, num_frames, num_joints, _ = keypoint.shape
    cells = num_frames * num_joints
    # Epochs of masks are counted from 0, so that negative ones draw what masks never do: by Box and Muller, a radius
    # and an angle make both coordinates.
    first, second = -1 - 2 * epoch, -2 - 2 * epoch
    radius = torch.sqrt(-2 * torch.log(_uniform(clip, person, cells, seed=seed, epoch=first)))
    angle = 2 * torch.pi * _uniform(clip, person, cells, seed=seed, epoch=second)
    strength = sigma * _uniform(clip, torch.full_like(person, -1), 1, seed=seed, epoch=first)
    moved = (strength * radius)[..., None] * torch.stack([angle.cos(), angle.sin()], dim=-1)
    seen = (keypoint != 0).any(dim=-1, keepdim=True)
    result = keypoint.clone()
    result[..., :2] += (moved.view(persons, num_frames, num_joints, 2) * seen).to(keypoint.dtype)
    return result


def _uniform(clip: torch.Tensor, person: torch.Tensor, count: int, *, seed: int, epoch: int) -> torch.Tensor:
    """float64 (P, count) in (0, 1), which depend on seed, epoch, clip and person alone."""
    key = _mix(torch.full_like(clip, seed))
    for part in (torch.full_like(clip, epoch), clip, person):
        key = _mix(key ^ (part * _STEP + _STEP))
    bits = _mix(key[:, None] + (torch.arange(count, device=clip.device) + 1) * _STEP)
    # The upper 53 bits, in the middle of their steps, so that neither 0 nor 1 comes up.
    return (_shift(bits, 11).double() + 0.5) * 2.0**-53


def _mix(value: torch.Tensor) -> torch.Tensor:
    """SplitMix64's finaliser: every bit of the result depends on every bit of the value."""
    value = (value ^ _shift(value, 30)) * _MIX1
    value = (value ^ _shift(value, 27)) * _MIX2
    return value ^ _shift(value, 31)


def _shift(value: torch.Tensor, places: int) -> torch.Tensor:
    """Shift to the right that brings in zeros; torch's own repeats the sign."""
    return (value >> places) & ((1 << (64 - places)) - 1)


def masking_contrast(
    attention: torch.Tensor, mask: torch.Tensor, valid: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Shares of masked cells among the most and among the least attended of each sequence, mean over sequences.

    A sequence without valid cells, of somebody seen in none of the frames that were drawn, does not count.

    Args:
        attention: float (P, T, V).
        mask: bool (P, T, V).
        valid: bool (P, T, V).

    Returns:
        Scalars: the share among the top 5 %, and among the bottom 20 %. Equal when attention does not matter; 0 where
        no sequence counts.
    """
    some = valid.flatten(1).any(1)
    if not some.any():
        return attention.new_zeros((), dtype=torch.float64), attention.new_zeros((), dtype=torch.float64)
    attention, mask, valid = attention[some], mask[some], valid[some]
    excluded = ~valid.flatten(1)
    order = attention.double().flatten(1).masked_fill(excluded, -torch.inf).argsort(dim=1, descending=True)
    masked = mask.flatten(1).gather(1, order)
    number = (~excluded).sum(1, keepdim=True)
    rank = torch.arange(masked.shape[1], device=masked.device)
    top = rank < (number * TOP).ceil()
    bottom = (rank >= number - (number * BOTTOM).ceil()) & (rank < number)
    return (
        ((masked & top).sum(1) / top.sum(1)).mean(),
        ((masked & bottom).sum(1) / bottom.sum(1)).mean(),
    )
