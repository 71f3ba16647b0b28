"""Attention-guided probabilistic masking (section 3.2): selection of the joints hidden from the masked pathway."""

from typing import Literal

import torch

from recognition.keyed_noise import _uniform

Scale = Literal["none", "frame_max", "seq_max"]

# Shares of a sequence's most and least attended cells that `masking_contrast` compares.
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
    """Draw K = floor(ratio * valid cells) cells of each sequence without replacement, by Gumbel top-K (eq. 3 and 4).

    Args:
        attention: float (P, T, V), A: attention that each cell receives; zeros for random masking.
        valid: bool (P, T, V), cells that may be masked: all joints of the sequence's own frames.
        ratio: delta, in [0, 1].
        temperature: tau_prop, above 0.
        scale: "none": A as it is; "frame_max" or "seq_max": A divided by its maximum over the frame or sequence.
        noise: float (P, T, V), Gumbel noise r.

    Returns:
        bool (P, T, V), True where the mask token replaces the joint.
    """
    score = attention.to(noise.dtype).masked_fill(~valid, 0)
    if scale != "none":
        largest = score.amax(2, keepdim=True) if scale == "frame_max" else score.amax((1, 2), keepdim=True)
        score = score / largest.clamp_min(torch.finfo(score.dtype).tiny)
    excluded = ~valid.flatten(1)
    logits = (score / temperature).flatten(1).masked_fill(excluded, -torch.inf)
    drawn = logits.log_softmax(1) + noise.flatten(1)
    # Select by rank rather than by threshold, so that ties do not make the mask larger than K.
    order = drawn.argsort(dim=1, descending=True, stable=True)
    # Products that should be integers can end up slightly below, for example 0.29 * 100.
    count = torch.floor(ratio * valid.flatten(1).sum(1).double() + 1e-6)
    first = torch.arange(order.shape[1], device=order.device) < count[:, None]
    return torch.zeros_like(first).scatter(1, order, first).view_as(valid)


def jittered(
    keypoint: torch.Tensor, clip: torch.Tensor, person: torch.Tensor, sigma: float, *, seed: int, epoch: int
) -> torch.Tensor:
    """Add Gaussian noise to joints, which depends only on seed, epoch, clip and person.

    The standard deviation of a clip is drawn from U(0, sigma), so that weak noise is as frequent as strong noise.

    Args:
        keypoint: float (P, T, V, C), persons of a batch. The first two channels are x and y; the third is the score,
            or z in 3D. Only x and y change. Joints that were not seen (zero in all channels) stay unchanged.
        clip: int64 (P,), position of each person's clip in its data set.
        person: int64 (P,), position of the person in its clip.
        sigma: Largest standard deviation, in units of the network's input, which spans [-1, 1].
        seed: Seed of the run.
        epoch: Index of the epoch.

    Returns:
        float (P, T, V, C).
    """
    persons, num_frames, num_joints, _ = keypoint.shape
    cells = num_frames * num_joints
    # Masks use epochs from 0 on, so negative epochs give independent numbers. Box-Muller turns a radius and an angle
    # into both coordinates.
    first, second = -1 - 2 * epoch, -2 - 2 * epoch
    radius = torch.sqrt(-2 * torch.log(_uniform(clip, person, cells, seed=seed, epoch=first)))
    angle = 2 * torch.pi * _uniform(clip, person, cells, seed=seed, epoch=second)
    strength = sigma * _uniform(clip, torch.full_like(person, -1), 1, seed=seed, epoch=first)
    moved = (strength * radius)[..., None] * torch.stack([angle.cos(), angle.sin()], dim=-1)
    seen = (keypoint != 0).any(dim=-1, keepdim=True)
    result = keypoint.clone()
    result[..., :2] += (moved.view(persons, num_frames, num_joints, 2) * seen).to(keypoint.dtype)
    return result


def masking_contrast(
    attention: torch.Tensor, mask: torch.Tensor, valid: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the masked shares of the most and of the least attended cells, averaged over the sequences.

    A sequence without valid cells, whose person is absent from all sampled frames, does not count.

    Args:
        attention: float (P, T, V), attention that each cell receives.
        mask: bool (P, T, V), True for masked cells.
        valid: bool (P, T, V), True for cells that may be masked.

    Returns:
        Scalars: the masked share of the top 5 %, and of the bottom 20 %. They are equal if the mask does not depend on
        attention; both are 0 if no sequence counts.
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
