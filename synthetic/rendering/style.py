"""Styles of movement: pace, range, side and habits, and the curves that movements are composed of."""

from dataclasses import dataclass

import numpy as np

from synthetic.rendering.family import Family
from synthetic.rendering.kinematics import Motion


@dataclass(frozen=True)
class Style:
    """A person's style of movement.

    Args:
        tempo: Factor of all speeds.
        size: Factor of the range of movements.
        phase: Initial position in the cycle of a repeated movement, in turns.
        onset: Start of a movement that happens once, as a share of the clip.
        lead: Acting hand and foot: 0 left, 1 right.
        variant: In [0, 1), chooses a variant of the action.
        stance: Factor of the distance between the feet.
        stoop: Lean of the back at rest, radians.
        spread: Distance of the hanging arms from the trunk, in arm lengths.
        gaze: Direction of the head at rest: left and down, radians.
        wobble: (11, 3), amplitudes, rates in hertz and phases in turns of small involuntary movements.
    """

    tempo: float
    size: float
    phase: float
    onset: float
    lead: int
    variant: float
    stance: float
    stoop: float
    spread: float
    gaze: tuple[float, float]
    wobble: np.ndarray


def draw_style(family: Family, random: np.random.Generator) -> Style:
    """Draw a style of a family."""
    sizes = random.uniform(0.2, 1.0, 11) * family.uniform(random, 0.3, 1.3)
    return Style(
        tempo=family.uniform(random, 0.7, 1.4),
        size=family.uniform(random, 0.78, 1.18),
        phase=float(random.random()),
        onset=family.uniform(random, 0.05, 0.3),
        lead=int(random.random() < 0.7),
        variant=float(random.random()),
        stance=family.uniform(random, 0.7, 1.7),
        stoop=family.uniform(random, -0.03, 0.16),
        spread=family.uniform(random, 0.08, 0.3),
        gaze=(family.uniform(random, -0.4, 0.4), family.uniform(random, -0.1, 0.2)),
        wobble=np.stack([sizes, random.uniform(0.15, 0.9, 11), random.random(11)], -1),
    )


def at_rest(motion: Motion, style: Style, time: np.ndarray) -> Motion:
    """Apply the habits of a style to a standing person, in place.

    Args:
        motion: Result of `kinematics.standing`.
        style: The style.
        time: (T,), seconds.
    """
    wobble = style.wobble[:, 0] * np.sin(2 * np.pi * (time[:, None] * style.wobble[:, 1] + style.wobble[:, 2]))
    motion.foot[..., 0] *= style.stance
    motion.foot[:, 0, 2] += 0.1 * (style.variant - 0.5)
    motion.pelvis[:, 0] += 0.02 * wobble[:, 0]
    motion.lean[:, 1] += 0.02 * wobble[:, 1]
    motion.spine[:, 0] += style.stoop + 0.03 * wobble[:, 2]
    motion.spine[:, 2] += 0.05 * wobble[:, 3]
    motion.head[:, 0] += style.gaze[1] + 0.06 * wobble[:, 4]
    motion.head[:, 1] += 0.04 * wobble[:, 5]
    motion.head[:, 2] += style.gaze[0] + 0.12 * wobble[:, 6]
    motion.hand[:, 0, 0], motion.hand[:, 1, 0] = style.spread, -style.spread
    motion.hand[:, 0] += 0.03 * wobble[:, 7:8] * (1, 0.1, 1)
    motion.hand[:, 1] += 0.03 * wobble[:, 8:9] * (-1, 0.1, 1)
    motion.flare += 0.15 * wobble[:, 9:11]
    return motion


def wave_of(time: np.ndarray, hertz: float, phase: float) -> np.ndarray:
    """Return a sine (T,) in [-1, 1]; `phase` in turns."""
    return np.sin(2 * np.pi * (hertz * time + phase))


def pulse_of(time: np.ndarray, hertz: float, phase: float) -> np.ndarray:
    """Return a pulse (T,) in [0, 1], from rest to full and back in each cycle."""
    return 0.5 - 0.5 * np.cos(2 * np.pi * (hertz * time + phase))


def ramp(time: np.ndarray, start: float, stop: float) -> np.ndarray:
    """Return a smooth ramp (T,) from 0 before `start` to 1 after `stop`, in seconds."""
    share = np.clip((time - start) / max(stop - start, 1e-6), 0, 1)
    return share * share * (3 - 2 * share)


def keys(share: np.ndarray, *points: tuple[float, tuple[float, float, float]]) -> np.ndarray:
    """Return a path (T, 3) through key points, with smooth transitions.

    Args:
        share: (T,), position on the path, in [0, 1].
        points: (share, (x, y, z)), in increasing order.
    """
    at = np.array([point[0] for point in points])
    value = np.array([point[1] for point in points])
    index = np.clip(np.searchsorted(at, share, side="right") - 1, 0, len(at) - 2)
    part = np.clip((share - at[index]) / (at[index + 1] - at[index]), 0, 1)
    eased = (part * part * (3 - 2 * part))[:, None]
    return (1 - eased) * value[index] + eased * value[index + 1]


def blend(target: np.ndarray, value: np.ndarray | tuple[float, ...], share: np.ndarray) -> None:
    """Move rows (T, n) towards others by shares (T,), in place."""
    target += share[:, None] * (np.asarray(value) - target)
