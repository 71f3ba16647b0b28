"""Movements of the legs that stay in place: stances, kicks, squats and seats; the right leg leads."""

import numpy as np

from synthetic.motions.gaits import LEFT, RIGHT
from synthetic.motions.rhythm import Beat
from synthetic.rendering.body import SIDES, Body
from synthetic.rendering.kinematics import Motion
from synthetic.rendering.style import keys


def squat(motion: Motion, beat: Beat, body: Body) -> None:
    down = beat.pulse() * min(beat.size, 1.08)
    motion.foot[..., 0] *= 1.4
    motion.pelvis[:, 1] -= 0.48 * down
    motion.pelvis[:, 2] -= 0.2 * down
    motion.lean[:, 0] += 0.55 * down
    motion.head[:, 0] -= 0.35 * down


def bounce(motion: Motion, beat: Beat, body: Body) -> None:
    motion.pelvis[:, 1] -= 0.05 + 0.12 * beat.size * beat.pulse()


def lunge(motion: Motion, beat: Beat, body: Body) -> None:
    out = beat.pulse() * min(beat.size, 1.1)
    motion.foot[:, RIGHT, 2] += 0.55 * out
    motion.foot[:, LEFT, 2] -= 0.35 * out
    motion.foot[:, LEFT, 1] += 0.06 * out
    motion.foot[:, RIGHT, 1] += 0.1 * beat.bump(0.05, 0.35) + 0.1 * beat.bump(0.65, 0.95)
    motion.pelvis[:, 1] -= 0.32 * out


def side_lunge(motion: Motion, beat: Beat, body: Body) -> None:
    out = beat.pulse() * min(beat.size, 1.1)
    motion.foot[:, RIGHT, 0] -= 0.55 * out
    motion.pelvis[:, 0] -= 0.3 * out
    motion.pelvis[:, 1] -= 0.28 * out
    motion.lean[:, 0] += 0.3 * out


def kick(motion: Motion, beat: Beat, body: Body) -> None:
    high = 0.3 + 0.5 * beat.size * beat.variant
    path = keys(
        beat.share(),
        (0, (-0.12, 0.0, 0.0)),
        (0.25, (-0.1, 0.16, -0.4)),
        (0.5, (0.0, high, 0.88)),
        (0.62, (0.0, high, 0.88)),
        (1, (-0.12, 0.0, 0.0)),
    )
    motion.foot[:, RIGHT] = path
    forward = np.clip(path[:, 2], -0.5, 1)
    motion.lean[:, 0] -= 0.3 * forward
    motion.pelvis[:, 0] += 0.06


def kick_side(motion: Motion, beat: Beat, body: Body) -> None:
    out = beat.pulse() * min(beat.size, 1.1)
    motion.foot[:, RIGHT, 0] -= 0.75 * out
    motion.foot[:, RIGHT, 1] += 0.45 * out
    motion.lean[:, 1] -= 0.35 * out
    motion.pelvis[:, 0] += 0.1 * out


def kick_back(motion: Motion, beat: Beat, body: Body) -> None:
    out = beat.pulse() * min(beat.size, 1.1)
    motion.foot[:, RIGHT, 2] -= 0.75 * out
    motion.foot[:, RIGHT, 1] += 0.38 * out
    motion.lean[:, 0] += 0.4 * out


def knee_up(motion: Motion, beat: Beat, body: Body) -> None:
    up = beat.pulse() * min(beat.size, 1.1)
    motion.foot[:, RIGHT, 1] += 0.5 * up
    motion.foot[:, RIGHT, 2] += 0.2 * up


def tap(motion: Motion, beat: Beat, body: Body) -> None:
    motion.foot[:, RIGHT, 2] += 0.38 * beat.size * beat.pulse()
    motion.foot[:, RIGHT, 1] += 0.06 * beat.bump(0.1, 0.4) + 0.06 * beat.bump(0.6, 0.9)


def stork(motion: Motion, beat: Beat, body: Body) -> None:
    motion.foot[:, RIGHT] = (0.02, 0.45, 0.08)
    motion.foot[:, LEFT, 0] = 0.06
    motion.pelvis[:, 0] += 0.03 + 0.01 * beat.wave()


def split(motion: Motion, beat: Beat, body: Body) -> None:
    """Stands with one foot far ahead, knee bent."""
    motion.foot[:, RIGHT, 2] += 0.5
    motion.foot[:, LEFT, 2] -= 0.5
    motion.pelvis[:, 1] -= 0.2 + 0.15 * beat.variant
    motion.pelvis[:, 2] += 0.15


def wide(motion: Motion, beat: Beat, body: Body) -> None:
    for number, side in enumerate(SIDES):
        motion.foot[:, number, 0] = side * (0.35 + 0.1 * beat.variant)
    motion.pelvis[:, 1] -= 0.1 + 0.1 * beat.variant


def _seat(motion: Motion, beat: Beat, body: Body, seated: np.ndarray) -> None:
    """Lower the person onto a seat by shares (T,) in [0, 1]."""
    height = (0.85 + 0.25 * beat.variant) * body.shin / body.leg
    passing = np.sin(np.pi * seated)
    motion.pelvis[:, 1] += seated * (height - motion.pelvis[:, 1])
    motion.pelvis[:, 2] -= 0.45 * seated
    motion.lean[:, 0] += 0.55 * passing - 0.08 * seated
    motion.spine[:, 0] += 0.3 * passing


def sit(motion: Motion, beat: Beat, body: Body) -> None:
    _seat(motion, beat, body, np.ones_like(beat.turns))
    motion.foot[:, :, 2] += 0.15 * (beat.variant - 0.5)


def sit_and_rise(motion: Motion, beat: Beat, body: Body) -> None:
    share = beat.share()
    _seat(motion, beat, body, _eased(share / 0.3) - _eased((share - 0.65) / 0.3))


def sit_on_floor(motion: Motion, beat: Beat, body: Body) -> None:
    """Sits on the ground, legs bent or stretched ahead."""
    motion.pelvis[:, 1] = 0.06
    reach = 0.5 if beat.variant < 0.5 else 0.94
    motion.foot[:, :, 2] = reach
    motion.foot[:, :, 1] = 0.0


def kneel(motion: Motion, beat: Beat, body: Body) -> None:
    motion.pelvis[:, 1] = 0.52
    motion.foot[:, :, 2] = -0.46
    motion.foot[:, :, 1] = 0.01


def half_kneel(motion: Motion, beat: Beat, body: Body) -> None:
    motion.pelvis[:, 1] = 0.53
    motion.foot[:, LEFT, 2], motion.foot[:, LEFT, 1] = -0.46, 0.02
    motion.foot[:, RIGHT, 2] = 0.44


def low(motion: Motion, beat: Beat, body: Body) -> None:
    """Stays in a deep squat."""
    motion.foot[..., 0] *= 1.4
    motion.pelvis[:, 1] = 0.42 + 0.1 * beat.variant + 0.02 * beat.wave()
    motion.pelvis[:, 2] -= 0.2
    motion.lean[:, 0] += 0.5


def _eased(share: np.ndarray) -> np.ndarray:
    inside = np.clip(share, 0, 1)
    return inside * inside * (3 - 2 * inside)
