"""Interactions of two persons: the first acts, the second reacts.

In the pair's world the first stands at negative z and faces positive z, the second faces the first. Every interaction
takes both motions at rest, bodies, styles and time in seconds, and changes the motions in place.
"""

from collections.abc import Callable, Mapping

import numpy as np

from synthetic.rendering.actions import steps
from synthetic.rendering.body import SIDES, Body
from synthetic.rendering.kinematics import Motion, standing
from synthetic.rendering.style import Style, at_rest, blend, pulse_of, ramp, wave_of

Motions = tuple[Motion, Motion]
Bodies = tuple[Body, Body]
Styles = tuple[Style, Style]
Interaction = Callable[[Motions, Bodies, Styles, np.ndarray], None]
# The first faces positive z, the second negative z.
FACING = (1.0, -1.0)
RIGHT = 1


def _stand_apart(motions: Motions, metres: np.ndarray) -> None:
    """Place both persons at a distance in metres (T,)."""
    for motion, facing in zip(motions, FACING, strict=True):
        motion.place[:, 1] = -facing * metres / 2


def _approach(motions: Motions, bodies: Bodies, styles: Styles, time: np.ndarray, far: float, near: float) -> None:
    """Let both walk up to each other in the first part of the clip."""
    arrive = time[0] + (0.25 + 0.5 * styles[0].onset) * (time[-1] - time[0])
    share = ramp(time, time[0] - 0.4, arrive)
    _stand_apart(motions, far + (near - far) * share)
    for motion, body, style in zip(motions, bodies, styles, strict=True):
        walked = (far - near) / 2 * share / body.leg
        stride = 0.22 * (1 - share)
        before = motion.foot.copy()
        steps(motion, walked / 0.7 + style.phase, 1.0)
        motion.foot[..., 2] = before[..., 2] + (motion.foot[..., 2] - before[..., 2]) * stride[:, None]
        motion.foot[..., 1] = before[..., 1] + (motion.foot[..., 1] - before[..., 1]) * (2.5 * stride)[:, None]
        motion.pelvis[:, 1] = 0.975


def _look(motions: Motions) -> None:
    for motion in motions:
        motion.head[:, 2] *= 0.3


def handshake(motions: Motions, bodies: Bodies, styles: Styles, time: np.ndarray) -> None:
    """Both walk up to each other and shake right hands."""
    near = 0.55 * (bodies[0].arm + bodies[1].arm) + 0.25
    _approach(motions, bodies, styles, time, near + 0.9 * styles[0].size, near)
    out = ramp(time, 0.15 * time[-1], 0.4 * time[-1])
    height = 0.58 * (bodies[0].height + bodies[1].height) / 2
    shake = 0.06 * styles[0].size * wave_of(time, 2.2 * styles[0].tempo, styles[0].phase)
    for motion in motions:
        motion.reach[:, RIGHT, 1] = height + shake
        motion.reaching[:, RIGHT] = out
        motion.spine[:, 0] += 0.1 * out
    _look(motions)


def high_five(motions: Motions, bodies: Bodies, styles: Styles, time: np.ndarray) -> None:
    """Both clap their right hands together above the shoulders, once or repeatedly."""
    near = 0.6 * (bodies[0].arm + bodies[1].arm)
    _stand_apart(motions, np.full_like(time, near))
    strike = pulse_of(time, 0.75 * styles[0].tempo, styles[0].phase)
    height = 0.86 * (bodies[0].height + bodies[1].height) / 2
    for motion, facing in zip(motions, FACING, strict=True):
        blend(motion.hand[:, RIGHT], (-0.2, 0.35, 0.25), np.clip(2.2 * strike, 0, 1))
        motion.reach[:, RIGHT] = (0.0, height, -0.03 * facing)
        motion.reaching[:, RIGHT] = np.clip(2.4 * strike - 1.4, 0, 1)
        motion.flare[:, RIGHT] = 0.6
    _look(motions)


def push(motions: Motions, bodies: Bodies, styles: Styles, time: np.ndarray) -> None:
    """The first pushes the second with both hands; the second staggers back."""
    first, second = motions
    near = 0.8 * bodies[0].arm + 0.2
    hit = time[0] + (0.2 + styles[0].onset) * (time[-1] - time[0])
    back = ramp(time, hit, hit + 0.7 / styles[0].tempo)
    _stand_apart(motions, np.full_like(time, near))
    second.place[:, 1] += 0.55 * styles[0].size * back
    give = np.sin(np.pi * back)
    steps(second, 0.9 * (1 - back), 0.16)
    second.foot[..., 2] *= (back > 0)[:, None] * (back < 1)[:, None]
    second.lean[:, 0] -= 0.35 * give
    second.spine[:, 0] += 0.25 * give
    for number, side in enumerate(SIDES):
        blend(second.hand[:, number], (side * 0.45, -0.15, 0.55), give)
    out = np.exp(-(((time - hit - 0.05) / 0.28) ** 2))
    ready = ramp(time, hit - 0.8, hit - 0.35) * (1 - ramp(time, hit + 0.5, hit + 1.1))
    first.lean[:, 0] += 0.28 * out
    first.foot[:, first_foot(styles[0]), 2] += 0.3
    chest = 0.76 * bodies[1].height
    for number, side in enumerate(SIDES):
        blend(first.hand[:, number], (0.0, -0.1, 0.35), ready)
        first.reach[:, number] = (side * 0.13, chest, near / 2 - 0.13)
        first.reaching[:, number] = out


def first_foot(style: Style) -> int:
    """Return the foot that a person puts forward: opposite the acting hand."""
    return 1 - style.lead


def hug(motions: Motions, bodies: Bodies, styles: Styles, time: np.ndarray) -> None:
    """Both walk up to each other and embrace."""
    near = 0.2 + 0.09 * (bodies[0].girth + bodies[1].girth)
    _approach(motions, bodies, styles, time, near + 1.2 * styles[0].size, near)
    around = ramp(time, 0.12 * time[-1], 0.45 * time[-1])
    for motion, other, own, facing in zip(motions, bodies[::-1], bodies, FACING, strict=True):
        motion.spine[:, 0] += 0.16 * around
        motion.head[:, 1] += 0.25 * around
        for number, side in enumerate(SIDES):
            # Right arms over the other's shoulders, left arms below them.
            height = (0.8 if number == RIGHT else 0.68) * min(other.height, 1.1 * own.height)
            across = -0.02 * side * facing
            blend(motion.hand[:, number], (side * 0.4, -0.3, 0.6), np.clip(2 * around, 0, 1))
            motion.reach[:, number] = (across, height, facing * (near / 2 + 0.16))
            motion.reaching[:, number] = np.clip(1.6 * around - 0.6, 0, 1)
            motion.flare[:, number] = 0.7


def hit(motions: Motions, bodies: Bodies, styles: Styles, time: np.ndarray) -> None:
    """The first strikes repeatedly at the second's head; the second recoils."""
    first, second = motions
    near = 0.95 * bodies[0].arm + 0.15
    _stand_apart(motions, np.full_like(time, near))
    lead, hertz = styles[0].lead, 0.6 * styles[0].tempo
    cycle = (hertz * time + styles[0].phase) % 1
    out = np.exp(-(((cycle - 0.5) / 0.09) ** 2))
    recoil = np.exp(-(((cycle - 0.57) / 0.13) ** 2))
    first.spine[:, 2] -= 0.35 * SIDES[lead] * out
    first.lean[:, 0] += 0.15 * out
    first.foot[:, first_foot(styles[0]), 2] += 0.28
    for number, side in enumerate(SIDES):
        blend(first.hand[:, number], (-side * 0.1, -0.1, 0.36), np.ones_like(time))
        blend(second.hand[:, number], (-side * 0.1, -0.05 + 0.2 * recoil.mean(), 0.4), 0.3 + 0.6 * recoil)
    first.reach[:, lead] = (0.0, 0.92 * bodies[1].height, near / 2 - 0.13)
    first.reaching[:, lead] = out
    second.lean[:, 0] -= 0.22 * recoil
    second.head[:, 0] -= 0.35 * recoil
    second.head[:, 2] += 0.5 * SIDES[lead] * recoil
    second.foot[:, 1, 2] -= 0.25
    second.place[:, 1] += 0.08 * recoil


INTERACTIONS: Mapping[str, Interaction] = {
    "handshake": handshake,
    "high_five": high_five,
    "hit": hit,
    "hug": hug,
    "push": push,
}


def interact(interaction: str, bodies: Bodies, styles: Styles, time: np.ndarray) -> Motions:
    """Return the motions of two bodies that perform an interaction, with their midpoint at the world's origin.

    Args:
        interaction: Name in `INTERACTIONS`.
        bodies: Bodies of the acting and of the reacting person.
        styles: Styles of the acting and of the reacting person.
        time: (T,), seconds.
    """
    motions = tuple(at_rest(standing(len(time)), style, time) for style in styles)
    motions[1].heading += np.pi
    INTERACTIONS[interaction]((motions[0], motions[1]), bodies, styles, time)
    return motions[0], motions[1]
