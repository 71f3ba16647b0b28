"""Programs of the legs: they move feet, pelvis and place of a standing person, in place; the right leg leads."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from synthetic.motions.rhythm import Beat
from synthetic.rendering.actions import steps
from synthetic.rendering.body import SIDES, Body
from synthetic.rendering.kinematics import Motion
from synthetic.rendering.style import keys

LEFT, RIGHT = 0, 1


@dataclass(frozen=True)
class Legs:
    """A program of the legs.

    Args:
        move: Function of (motion, beat, body) that changes the motion in place.
        hertz: Usual cycles per second.
        travels: Whether the person goes somewhere; such a movement never happens only once.
        firm: Whether the trunk can move freely above.
    """

    move: Callable[[Motion, Beat, Body], None]
    hertz: float
    travels: bool = False
    firm: bool = False


def _stand(motion: Motion, beat: Beat, body: Body) -> None:
    """Stands."""


def _advance(motion: Motion, beat: Beat, metres: float, *, sideways: bool = False) -> None:
    """Travel this far per turn; the path is centred on the first place."""
    motion.place[:, 0 if sideways else 1] += metres * (beat.turns - 0.5 * (beat.turns[0] + beat.turns[-1]))


def _walk(motion: Motion, beat: Beat, body: Body) -> None:
    stride = 0.36 * beat.size
    steps(motion, beat.turns, stride)
    _advance(motion, beat, 4 * stride * body.leg)
    motion.spine[:, 2] += 0.1 * beat.wave(0.5)
    motion.lean[:, 0] += 0.04


def _walk_back(motion: Motion, beat: Beat, body: Body) -> None:
    stride = 0.24 * beat.size
    steps(motion, -beat.turns, stride)
    _advance(motion, beat, -4 * stride * body.leg)
    motion.lean[:, 0] -= 0.03


def _crouch_walk(motion: Motion, beat: Beat, body: Body) -> None:
    _walk(motion, beat, body)
    motion.pelvis[:, 1] -= 0.2
    motion.lean[:, 0] += 0.35


def _run(motion: Motion, beat: Beat, body: Body) -> None:
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


def _jog(motion: Motion, beat: Beat, body: Body) -> None:
    """Runs on the spot."""
    _march(motion, Beat(beat.turns, 0.75 * beat.size, beat.variant), body)
    hop = 0.05 * beat.pulse(0.25, 2)
    motion.pelvis[:, 1] += hop
    motion.foot[:, :, 1] += 0.6 * hop[:, None]


def _march(motion: Motion, beat: Beat, body: Body) -> None:
    """Raises the knees in turn."""
    for number in (LEFT, RIGHT):
        lift = np.clip(beat.wave(0.5 * number), 0, None)
        motion.foot[:, number, 1] += 0.45 * beat.size * lift
        motion.foot[:, number, 2] += 0.08 * lift
    motion.pelvis[:, 1] -= 0.01


def _heels(motion: Motion, beat: Beat, body: Body) -> None:
    """Brings the heels to the back in turn."""
    for number in (LEFT, RIGHT):
        lift = np.clip(beat.wave(0.5 * number), 0, None)
        motion.foot[:, number, 1] += 0.42 * beat.size * lift
        motion.foot[:, number, 2] -= 0.42 * beat.size * lift


def _hop_of(motion: Motion, height: np.ndarray) -> None:
    """Lift the whole body off the ground by (T,), in leg lengths."""
    motion.pelvis[:, 1] += height
    motion.foot[:, :, 1] += height[:, None]


def _skip(motion: Motion, beat: Beat, body: Body) -> None:
    """Walks with a hop on each step and a high knee."""
    stride = 0.3 * beat.size
    steps(motion, beat.turns, stride)
    for number in (LEFT, RIGHT):
        lift = np.clip(beat.wave(0.5 * number + 0.5), 0, None)
        motion.foot[:, number, 1] += 0.2 * beat.size * lift
    _hop_of(motion, 0.14 * beat.size * beat.bump(0.1, 0.4) + 0.14 * beat.size * beat.bump(0.6, 0.9))
    _advance(motion, beat, 4.6 * stride * body.leg)


def _gallop(motion: Motion, beat: Beat, body: Body) -> None:
    """Leaps forward with the same foot ahead."""
    apart = beat.pulse()
    motion.foot[:, RIGHT, 2] += 0.1 + 0.32 * beat.size * apart
    motion.foot[:, LEFT, 2] -= 0.05 + 0.3 * beat.size * apart
    _hop_of(motion, 0.12 * beat.size * beat.bump(0.5, 1.0))
    motion.pelvis[:, 1] -= 0.07
    _advance(motion, beat, 1.1 * beat.size * body.leg)


def _side_gallop(motion: Motion, beat: Beat, body: Body) -> None:
    """Leaps sideways, feet apart and together, facing ahead."""
    apart = beat.pulse()
    for number, side in enumerate(SIDES):
        motion.foot[:, number, 0] = side * (0.07 + 0.3 * beat.size * apart)
    _hop_of(motion, 0.1 * beat.size * beat.bump(0.5, 1.0))
    motion.pelvis[:, 1] -= 0.05 + 0.05 * apart
    _advance(motion, beat, -1.05 * beat.size * body.leg, sideways=True)


def _side_step(motion: Motion, beat: Beat, body: Body) -> None:
    """Steps to one side, then to the other."""
    sway = beat.wave()
    motion.pelvis[:, 0] -= 0.2 * beat.size * sway
    for number, side in enumerate(SIDES):
        moved = -np.sign(side) * np.clip(-side * sway, 0, None)
        motion.foot[:, number, 0] += -0.34 * beat.size * moved * 1.0
        motion.foot[:, number, 1] += 0.1 * np.abs(np.sin(4 * np.pi * beat.turns)) * (np.clip(-side * sway, 0, None) > 0)
    motion.pelvis[:, 1] -= 0.04


def _jump(motion: Motion, beat: Beat, body: Body) -> None:
    """Crouches, jumps with both feet and lands."""
    flight = 0.3 * beat.size * beat.bump(0.38, 0.78)
    motion.pelvis[:, 1] -= 0.24 * beat.size * (beat.bump(0.05, 0.4) + 0.8 * beat.bump(0.76, 1.0))
    motion.lean[:, 0] += 0.4 * (beat.bump(0.05, 0.4) + 0.7 * beat.bump(0.76, 1.0))
    _hop_of(motion, flight)
    motion.foot[:, :, 1] += 0.3 * flight[:, None]


def _jump_forward(motion: Motion, beat: Beat, body: Body) -> None:
    _jump(motion, beat, body)
    whole = np.floor(beat.turns)
    share = np.clip((beat.share() - 0.36) / 0.44, 0, 1)
    path = whole + share
    motion.place[:, 1] += 1.1 * beat.size * body.leg * (path - 0.5 * (path[0] + path[-1]))
    motion.foot[:, :, 2] += 0.2 * (beat.bump(0.5, 0.9) - beat.bump(0.3, 0.6))[:, None]


def _bob(motion: Motion, beat: Beat, body: Body) -> None:
    """Jumps on the spot without a pause, as over a rope."""
    _hop_of(motion, 0.1 * beat.size * beat.bump(0.2, 0.8))
    motion.pelvis[:, 1] -= 0.05 * beat.bump(0.7, 1.0)


def _hop(motion: Motion, beat: Beat, body: Body) -> None:
    """Hops on the left foot."""
    _hop_of(motion, 0.12 * beat.size * beat.bump(0.3, 0.8))
    motion.foot[:, RIGHT] = (-0.08, 0.4, -0.3)
    motion.foot[:, RIGHT, 1] += 0.08 * beat.bump(0.3, 0.8)
    motion.foot[:, LEFT, 0] *= 0.4
    motion.pelvis[:, 1] -= 0.06 + 0.05 * beat.bump(0.0, 0.3)


def _hop_forward(motion: Motion, beat: Beat, body: Body) -> None:
    _hop(motion, beat, body)
    motion.foot[:, LEFT, 2] += 0.25 * beat.size * beat.wave(0.05)
    _advance(motion, beat, 0.85 * beat.size * body.leg)


def _jack(motion: Motion, beat: Beat, body: Body) -> None:
    """Jumps with the legs apart, and back together."""
    apart = beat.pulse()
    for number, side in enumerate(SIDES):
        motion.foot[:, number, 0] = side * (0.09 + 0.36 * beat.size * apart)
    motion.pelvis[:, 1] -= 0.06 * apart
    _hop_of(motion, 0.1 * beat.size * beat.pulse(0.0, 2))


def _squat(motion: Motion, beat: Beat, body: Body) -> None:
    down = beat.pulse() * min(beat.size, 1.08)
    motion.foot[..., 0] *= 1.4
    motion.pelvis[:, 1] -= 0.48 * down
    motion.pelvis[:, 2] -= 0.2 * down
    motion.lean[:, 0] += 0.55 * down
    motion.head[:, 0] -= 0.35 * down


def _bounce(motion: Motion, beat: Beat, body: Body) -> None:
    motion.pelvis[:, 1] -= 0.05 + 0.12 * beat.size * beat.pulse()


def _lunge(motion: Motion, beat: Beat, body: Body) -> None:
    out = beat.pulse() * min(beat.size, 1.1)
    motion.foot[:, RIGHT, 2] += 0.55 * out
    motion.foot[:, LEFT, 2] -= 0.35 * out
    motion.foot[:, LEFT, 1] += 0.06 * out
    motion.foot[:, RIGHT, 1] += 0.1 * beat.bump(0.05, 0.35) + 0.1 * beat.bump(0.65, 0.95)
    motion.pelvis[:, 1] -= 0.32 * out


def _side_lunge(motion: Motion, beat: Beat, body: Body) -> None:
    out = beat.pulse() * min(beat.size, 1.1)
    motion.foot[:, RIGHT, 0] -= 0.55 * out
    motion.pelvis[:, 0] -= 0.3 * out
    motion.pelvis[:, 1] -= 0.28 * out
    motion.lean[:, 0] += 0.3 * out


def _kick(motion: Motion, beat: Beat, body: Body) -> None:
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


def _kick_side(motion: Motion, beat: Beat, body: Body) -> None:
    out = beat.pulse() * min(beat.size, 1.1)
    motion.foot[:, RIGHT, 0] -= 0.75 * out
    motion.foot[:, RIGHT, 1] += 0.45 * out
    motion.lean[:, 1] -= 0.35 * out
    motion.pelvis[:, 0] += 0.1 * out


def _kick_back(motion: Motion, beat: Beat, body: Body) -> None:
    out = beat.pulse() * min(beat.size, 1.1)
    motion.foot[:, RIGHT, 2] -= 0.75 * out
    motion.foot[:, RIGHT, 1] += 0.38 * out
    motion.lean[:, 0] += 0.4 * out


def _knee_up(motion: Motion, beat: Beat, body: Body) -> None:
    up = beat.pulse() * min(beat.size, 1.1)
    motion.foot[:, RIGHT, 1] += 0.5 * up
    motion.foot[:, RIGHT, 2] += 0.2 * up


def _tap(motion: Motion, beat: Beat, body: Body) -> None:
    motion.foot[:, RIGHT, 2] += 0.38 * beat.size * beat.pulse()
    motion.foot[:, RIGHT, 1] += 0.06 * beat.bump(0.1, 0.4) + 0.06 * beat.bump(0.6, 0.9)


def _stork(motion: Motion, beat: Beat, body: Body) -> None:
    motion.foot[:, RIGHT] = (0.02, 0.45, 0.08)
    motion.foot[:, LEFT, 0] = 0.06
    motion.pelvis[:, 0] += 0.03 + 0.01 * beat.wave()


def _split(motion: Motion, beat: Beat, body: Body) -> None:
    """Stands with one foot far ahead, knee bent."""
    motion.foot[:, RIGHT, 2] += 0.5
    motion.foot[:, LEFT, 2] -= 0.5
    motion.pelvis[:, 1] -= 0.2 + 0.15 * beat.variant
    motion.pelvis[:, 2] += 0.15


def _wide(motion: Motion, beat: Beat, body: Body) -> None:
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


def _sit(motion: Motion, beat: Beat, body: Body) -> None:
    _seat(motion, beat, body, np.ones_like(beat.turns))
    motion.foot[:, :, 2] += 0.15 * (beat.variant - 0.5)


def _sit_and_rise(motion: Motion, beat: Beat, body: Body) -> None:
    share = beat.share()
    _seat(motion, beat, body, _eased(share / 0.3) - _eased((share - 0.65) / 0.3))


def _sit_on_floor(motion: Motion, beat: Beat, body: Body) -> None:
    """Sits on the ground, legs bent or stretched ahead."""
    motion.pelvis[:, 1] = 0.06
    reach = 0.5 if beat.variant < 0.5 else 0.94
    motion.foot[:, :, 2] = reach
    motion.foot[:, :, 1] = 0.0


def _kneel(motion: Motion, beat: Beat, body: Body) -> None:
    motion.pelvis[:, 1] = 0.52
    motion.foot[:, :, 2] = -0.46
    motion.foot[:, :, 1] = 0.01


def _half_kneel(motion: Motion, beat: Beat, body: Body) -> None:
    motion.pelvis[:, 1] = 0.53
    motion.foot[:, LEFT, 2], motion.foot[:, LEFT, 1] = -0.46, 0.02
    motion.foot[:, RIGHT, 2] = 0.44


def _low(motion: Motion, beat: Beat, body: Body) -> None:
    """Stays in a deep squat."""
    motion.foot[..., 0] *= 1.4
    motion.pelvis[:, 1] = 0.42 + 0.1 * beat.variant + 0.02 * beat.wave()
    motion.pelvis[:, 2] -= 0.2
    motion.lean[:, 0] += 0.5


def _turn(motion: Motion, beat: Beat, body: Body) -> None:
    """Turns about with small steps."""
    motion.heading += 2 * np.pi * beat.turns
    feet = Beat(6 * beat.turns, 0.2, beat.variant)
    _march(motion, feet, body)


def _sway(motion: Motion, beat: Beat, body: Body) -> None:
    """Shifts the weight from foot to foot."""
    motion.pelvis[:, 0] += 0.1 * beat.size * beat.wave()
    motion.lean[:, 1] += 0.08 * beat.wave()
    motion.foot[..., 0] *= 1.4


def _skate(motion: Motion, beat: Beat, body: Body) -> None:
    """Leaps from side to side, the free foot behind."""
    sway = beat.wave()
    motion.place[:, 0] += 0.35 * beat.size * body.leg * sway
    for number, side in enumerate(SIDES):
        free = np.clip(-side * sway, 0, None)
        motion.foot[:, number, 2] -= 0.4 * free
        motion.foot[:, number, 1] += 0.15 * free
    motion.pelvis[:, 1] -= 0.14
    motion.lean[:, 0] += 0.35


def _eased(share: np.ndarray) -> np.ndarray:
    inside = np.clip(share, 0, 1)
    return inside * inside * (3 - 2 * inside)


LEGS: Mapping[str, Legs] = {
    "stand": Legs(_stand, 0.3, firm=True),
    "walk": Legs(_walk, 0.85, travels=True),
    "walk_back": Legs(_walk_back, 0.7, travels=True),
    "crouch_walk": Legs(_crouch_walk, 0.7, travels=True),
    "run": Legs(_run, 1.35, travels=True),
    "jog": Legs(_jog, 1.4),
    "march": Legs(_march, 0.8),
    "heels": Legs(_heels, 1.0),
    "skip": Legs(_skip, 0.85, travels=True),
    "gallop": Legs(_gallop, 1.3, travels=True),
    "side_gallop": Legs(_side_gallop, 1.4, travels=True),
    "side_step": Legs(_side_step, 0.6),
    "jump": Legs(_jump, 0.7),
    "jump_forward": Legs(_jump_forward, 0.75, travels=True),
    "bob": Legs(_bob, 1.9),
    "hop": Legs(_hop, 1.6),
    "hop_forward": Legs(_hop_forward, 1.5, travels=True),
    "jack": Legs(_jack, 0.95),
    "squat": Legs(_squat, 0.5),
    "bounce": Legs(_bounce, 1.4, firm=True),
    "lunge": Legs(_lunge, 0.5),
    "side_lunge": Legs(_side_lunge, 0.5),
    "kick": Legs(_kick, 0.65),
    "kick_side": Legs(_kick_side, 0.7),
    "kick_back": Legs(_kick_back, 0.7),
    "knee_up": Legs(_knee_up, 0.8),
    "tap": Legs(_tap, 1.0, firm=True),
    "stork": Legs(_stork, 0.3, firm=True),
    "split": Legs(_split, 0.3, firm=True),
    "wide": Legs(_wide, 0.3, firm=True),
    "sit": Legs(_sit, 0.3, firm=True),
    "sit_and_rise": Legs(_sit_and_rise, 0.3),
    "sit_on_floor": Legs(_sit_on_floor, 0.3),
    "kneel": Legs(_kneel, 0.3, firm=True),
    "half_kneel": Legs(_half_kneel, 0.3, firm=True),
    "low": Legs(_low, 0.3),
    "turn": Legs(_turn, 0.3),
    "sway": Legs(_sway, 0.5, firm=True),
    "skate": Legs(_skate, 0.7),
}
