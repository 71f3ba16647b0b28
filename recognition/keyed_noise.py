"""Gumbel noise that depends on keys only, and so not on the batch, the device or the order of calls."""

import torch

# Odd constants of the SplitMix64 generator, as signed 64-bit integers, which torch uses.
_STEP = 0x9E3779B97F4A7C15 - 2**64


_MIX1 = 0xBF58476D1CE4E5B9 - 2**64


_MIX2 = 0x94D049BB133111EB - 2**64


def gumbel_noise(
    clip: torch.Tensor, person: torch.Tensor, num_frames: int, num_joints: int, *, seed: int, epoch: int
) -> torch.Tensor:
    """Return Gumbel noise that depends only on seed, epoch, clip and person (r of eq. 4).

    A counter-based generator: batch composition, process and padding do not change the noise of a clip.

    Args:
        clip: int64 (P,), position of each person's clip in its data set.
        person: int64 (P,), position of the person in its clip.
        num_frames: T.
        num_joints: V.
        seed: Seed of the run.
        epoch: Index of the epoch.

    Returns:
        float64 (P, T, V).
    """
    uniform = _uniform(clip, person, num_frames * num_joints, seed=seed, epoch=epoch)
    return -torch.log(-torch.log(uniform)).view(len(clip), num_frames, num_joints)


def _uniform(clip: torch.Tensor, person: torch.Tensor, count: int, *, seed: int, epoch: int) -> torch.Tensor:
    """Return float64 (P, count) in (0, 1), which depends only on seed, epoch, clip and person."""
    key = _mix(torch.full_like(clip, seed))
    for part in (torch.full_like(clip, epoch), clip, person):
        key = _mix(key ^ (part * _STEP + _STEP))
    bits = _mix(key[:, None] + (torch.arange(count, device=clip.device) + 1) * _STEP)
    # The upper 53 bits, centred in their intervals, so that 0 and 1 never occur.
    return (_shift(bits, 11).double() + 0.5) * 2.0**-53


def _mix(value: torch.Tensor) -> torch.Tensor:
    """Apply the finaliser of SplitMix64: every bit of the result depends on every bit of the value."""
    value = (value ^ _shift(value, 30)) * _MIX1
    value = (value ^ _shift(value, 27)) * _MIX2
    return value ^ _shift(value, 31)


def _shift(value: torch.Tensor, places: int) -> torch.Tensor:
    """Shift to the right with zeros (logical shift); torch's own shift repeats the sign bit."""
    return (value >> places) & ((1 << (64 - places)) - 1)
