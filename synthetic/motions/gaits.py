"""Movements of the legs that step, jump or travel; the right leg leads. All functions change the motion in place."""

import numpy as np

from synthetic.motions.rhythm import Beat
from synthetic.rendering.actions import steps
from synthetic.rendering.body import SIDES, Body
from synthetic.rendering.kinematics import Motion

LEFT, RIGHT = 0, 1


def stand(motion: Motion, beat: Beat, body: Body) -> None:
    """Stands."""


def _advance(motion: Motion, beat: Beat, metres: float, *, sideways: bool = False) -> None:
    """Travel this far per turn; the path is centred on the first place."""
    motion.place[:, 0 if sideways else 1] += metres * (beat.turns - 0.5 * (beat.turns[0] + beat.turns[-1]))


def walk(motion: Motion, beat: Beat, body: Body) -> None:
    stride = 0.36 * beat.size
    steps(motion, beat.turns, stride)
    _advance(motion, beat, 4 * stride * body.leg)
    motion.spine[:, 2] += 0.1 * beat.wave(0.5)
    motion.lean[:, 0] += 0.04


def walk_back(motion: Motion, beat: Beat, body: Body) -> None:
    stride = 0.24 * beat.size
    steps(motion, -beat.turns, stride)
    _advance(motion, beat, -4 * stride * body.leg)
    motion.lean[:, 0] -= 0.03


def crouch_walk(motion: Motion, beat: Beat, body: Body) -> None:
    walk(motion, beat, body)
    motion.pelvis[:, 1] -= 0.2
    motion.lean[:, 0] += 0.35


def run(motion: Motion, beat: Beat, body: Body) -> None:
    """Each foot is on the ground for a third of a cycle and comes forward under the body, heel up."""
    stride, stance = 0.42 * beat.size, 0.36
    for number in (LEFT, RIGHT):
        part = beat.share(0.5 * number)
        swing = np.clip((part - stance) / (1 - stance), 0, 1)
        eased = swing * swing * (3 - 2 * swing)
        motion.foot[:, number, 2] = np.where(part < stance, stride * (1 - 2 * part / stance), stride * (2 * eased - 1))
        lifted = np.sin(np.pi * swing) * (1 - 0.45 * swing)
        motion.foot[:, number, 1] += 0.55 * beat.size * lifted
        motion.foot[:, number, 0] *= 0.6
    motion.pelvis[:, 1] += 0.03 * beat.wave(0.1, 2) - 0.05
    motion.lean[:, 0] += 0.16
    motion.spine[:, 2] += 0.16 * beat.wave(0.5)
    _advance(motion, beat, 2 * stride / stance * body.leg)


def jog(motion: Motion, beat: Beat, body: Body) -> None:
    """Runs on the spot."""
    march(motion, Beat(beat.turns, 0.75 * beat.size, beat.variant), body)
    hop = 0.05 * beat.pulse(0.25, 2)
    motion.pelvis[:, 1] += hop
    motion.foot[:, :, 1] += 0.6 * hop[:, None]


def march(motion: Motion, beat: Beat, body: Body) -> None:
    """Raises the knees in turn."""
    for number in (LEFT, RIGHT):
        lift = np.clip(beat.wave(0.5 * number), 0, None)
        motion.foot[:, number, 1] += 0.45 * beat.size * lift
        motion.foot[:, number, 2] += 0.08 * lift
    motion.pelvis[:, 1] -= 0.01


def heels(motion: Motion, beat: Beat, body: Body) -> None:
    """Brings the heels to the back in turn."""
    for number in (LEFT, RIGHT):
        lift = np.clip(beat.wave(0.5 * number), 0, None)
        motion.foot[:, number, 1] += 0.42 * beat.size * lift
        motion.foot[:, number, 2] -= 0.42 * beat.size * lift


def _hop_of(motion: Motion, height: np.ndarray) -> None:
    """Lift the whole body off the ground by (T,), in leg lengths."""
    motion.pelvis[:, 1] += height
    motion.foot[:, :, 1] += height[:, None]


def skip(motion: Motion, beat: Beat, body: Body) -> None:
    """Walks with a hop on each step and a high knee."""
    stride = 0.3 * beat.size
    steps(motion, beat.turns, stride)
    for number in (LEFT, RIGHT):
        lift = np.clip(beat.wave(0.5 * number + 0.5), 0, None)
        motion.foot[:, number, 1] += 0.2 * beat.size * lift
    _hop_of(motion, 0.14 * beat.size * beat.bump(0.1, 0.4) + 0.14 * beat.size * beat.bump(0.6, 0.9))
    _advance(motion, beat, 4.6 * stride * body.leg)


def gallop(motion: Motion, beat: Beat, body: Body) -> None:
    """Leaps forward with the same foot ahead."""
    apart = beat.pulse()
    motion.foot[:, RIGHT, 2] += 0.1 + 0.32 * beat.size * apart
    motion.foot[:, LEFT, 2] -= 0.05 + 0.3 * beat.size * apart
    _hop_of(motion, 0.12 * beat.size * beat.bump(0.5, 1.0))
    motion.pelvis[:, 1] -= 0.07
    _advance(motion, beat, 1.1 * beat.size * body.leg)


def side_gallop(motion: Motion, beat: Beat, body: Body) -> None:
    """Leaps sideways, feet apart and together, facing ahead."""
    apart = beat.pulse()
    for number, side in enumerate(SIDES):
        motion.foot[:, number, 0] = side * (0.07 + 0.3 * beat.size * apart)
    _hop_of(motion, 0.1 * beat.size * beat.bump(0.5, 1.0))
    motion.pelvis[:, 1] -= 0.05 + 0.05 * apart
    _advance(motion, beat, -1.05 * beat.size * body.leg, sideways=True)


def side_step(motion: Motion, beat: Beat, body: Body) -> None:
    """Steps to one side, then to the other."""
    sway = beat.wave()
    motion.pelvis[:, 0] -= 0.2 * beat.size * sway
    for number, side in enumerate(SIDES):
        moved = -np.sign(side) * np.clip(-side * sway, 0, None)
        motion.foot[:, number, 0] += -0.34 * beat.size * moved * 1.0
        motion.foot[:, number, 1] += 0.1 * np.abs(np.sin(4 * np.pi * beat.turns)) * (np.clip(-side * sway, 0, None) > 0)
    motion.pelvis[:, 1] -= 0.04


def jump(motion: Motion, beat: Beat, body: Body) -> None:
    """Crouches, jumps with both feet and lands."""
    flight = 0.3 * beat.size * beat.bump(0.38, 0.78)
    motion.pelvis[:, 1] -= 0.24 * beat.size * (beat.bump(0.05, 0.4) + 0.8 * beat.bump(0.76, 1.0))
    motion.lean[:, 0] += 0.4 * (beat.bump(0.05, 0.4) + 0.7 * beat.bump(0.76, 1.0))
    _hop_of(motion, flight)
    motion.foot[:, :, 1] += 0.3 * flight[:, None]


def jump_forward(motion: Motion, beat: Beat, body: Body) -> None:
    jump(motion, beat, body)
    whole = np.floor(beat.turns)
    share = np.clip((beat.share() - 0.36) / 0.44, 0, 1)
    path = whole + share
    motion.place[:, 1] += 1.1 * beat.size * body.leg * (path - 0.5 * (path[0] + path[-1]))
    motion.foot[:, :, 2] += 0.2 * (beat.bump(0.5, 0.9) - beat.bump(0.3, 0.6))[:, None]


def bob(motion: Motion, beat: Beat, body: Body) -> None:
    """Jumps on the spot without a pause, as over a rope."""
    _hop_of(motion, 0.1 * beat.size * beat.bump(0.2, 0.8))
    motion.pelvis[:, 1] -= 0.05 * beat.bump(0.7, 1.0)


def hop(motion: Motion, beat: Beat, body: Body) -> None:
    """Hops on the left foot."""
    _hop_of(motion, 0.12 * beat.size * beat.bump(0.3, 0.8))
    motion.foot[:, RIGHT] = (-0.08, 0.4, -0.3)
    motion.foot[:, RIGHT, 1] += 0.08 * beat.bump(0.3, 0.8)
    motion.foot[:, LEFT, 0] *= 0.4
    motion.pelvis[:, 1] -= 0.06 + 0.05 * beat.bump(0.0, 0.3)


def hop_forward(motion: Motion, beat: Beat, body: Body) -> None:
    hop(motion, beat, body)
    motion.foot[:, LEFT, 2] += 0.25 * beat.size * beat.wave(0.05)
    _advance(motion, beat, 0.85 * beat.size * body.leg)


def jack(motion: Motion, beat: Beat, body: Body) -> None:
    """Jumps with the legs apart, and back together."""
    apart = beat.pulse()
    for number, side in enumerate(SIDES):
        motion.foot[:, number, 0] = side * (0.09 + 0.36 * beat.size * apart)
    motion.pelvis[:, 1] -= 0.06 * apart
    _hop_of(motion, 0.1 * beat.size * beat.pulse(0.0, 2))


def turn(motion: Motion, beat: Beat, body: Body) -> None:
    """Turns about with small steps."""
    motion.heading += 2 * np.pi * beat.turns
    feet = Beat(6 * beat.turns, 0.2, beat.variant)
    march(motion, feet, body)


def sway(motion: Motion, beat: Beat, body: Body) -> None:
    """Shifts the weight from foot to foot."""
    motion.pelvis[:, 0] += 0.1 * beat.size * beat.wave()
    motion.lean[:, 1] += 0.08 * beat.wave()
    motion.foot[..., 0] *= 1.4


def skate(motion: Motion, beat: Beat, body: Body) -> None:
    """Leaps from side to side, the free foot behind."""
    sway = beat.wave()
    motion.place[:, 0] += 0.35 * beat.size * body.leg * sway
    for number, side in enumerate(SIDES):
        free = np.clip(-side * sway, 0, None)
        motion.foot[:, number, 2] -= 0.4 * free
        motion.foot[:, number, 1] += 0.15 * free
    motion.pelvis[:, 1] -= 0.14
    motion.lean[:, 0] += 0.35
