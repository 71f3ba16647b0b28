"""Programs of the whole body: on the ground, on a bar, upside down, falling.

A program changes a motion at rest in place and returns how the whole body is turned about the pelvis, as angles (T, 3):
forward, to the right, about the vertical axis. Afterwards the lowest point is put on the ground. Hands whose program is
not given are at the sides.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from synthetic.motions.rhythm import Beat
from synthetic.rendering.body import SIDES, Body
from synthetic.rendering.kinematics import Motion

QUARTER = np.pi / 2
Turned = np.ndarray


@dataclass(frozen=True)
class Floor:
    """A program of the whole body.

    Args:
        move: Function of (motion, beat, body) that changes the motion in place and returns angles (T, 3).
        hertz: Usual cycles per second.
        free_arms: Whether the arms may follow a program of `arms`.
        still: Whether the body is held, without a cycle.
    """

    move: Callable[[Motion, Beat, Body], Turned]
    hertz: float
    free_arms: bool = False
    still: bool = False


def _turned(beat: Beat, forward: np.ndarray | float = 0.0, right: np.ndarray | float = 0.0) -> Turned:
    rest = np.zeros_like(beat.turns)
    return np.stack([rest + forward, rest + right, rest], -1)


def _hands(motion: Motion, x: np.ndarray | float, y: np.ndarray | float, z: np.ndarray | float) -> None:
    """Put both hands at a point relative to their shoulders, x outwards."""
    for number, side in enumerate(SIDES):
        motion.hand[:, number, 0] = side * x
        motion.hand[:, number, 1] = y
        motion.hand[:, number, 2] = z


def _lie_back(motion: Motion, beat: Beat, body: Body) -> Turned:
    return _turned(beat, -QUARTER)


def _lie_front(motion: Motion, beat: Beat, body: Body) -> Turned:
    motion.head[:, 0] -= 0.3
    return _turned(beat, QUARTER)


def _lie_side(motion: Motion, beat: Beat, body: Body) -> Turned:
    motion.foot[:, :, 2] += 0.35 * beat.variant
    motion.foot[:, :, 1] += 0.25 * beat.variant
    return _turned(beat, 0.0, QUARTER)


def _knees_bent(motion: Motion) -> None:
    """Soles on the ground in front of the seat of a person on the back."""
    motion.foot[:, :, 1] = 0.42
    motion.foot[:, :, 2] = -0.02


def _lie_bent(motion: Motion, beat: Beat, body: Body) -> Turned:
    _knees_bent(motion)
    return _turned(beat, -QUARTER)


def _push_up(motion: Motion, beat: Beat, body: Body) -> Turned:
    down = beat.pulse() * min(beat.size, 1.1)
    _hands(motion, 0.25 + 0.15 * down, 0.02, 0.93 - 0.55 * down)
    motion.flare[:] = 0.7
    motion.head[:, 0] -= 0.3
    return _turned(beat, QUARTER - 0.4 + 0.24 * down)


def _plank(motion: Motion, beat: Beat, body: Body) -> Turned:
    low = 0.5 if beat.variant < 0.4 else 0.93
    _hands(motion, 0.05, 0.05 + 0.5 * (low < 0.9), low)
    return _turned(beat, QUARTER - (0.42 if low > 0.9 else 0.22) + 0.02 * beat.wave())


def _climb(motion: Motion, beat: Beat, body: Body) -> Turned:
    """Brings the knees to the chest in turn, on the hands."""
    _hands(motion, 0.05, 0.02, 0.93)
    for number in (0, 1):
        knee = np.clip(beat.wave(0.5 * number), 0, None)
        motion.foot[:, number, 1] += 0.5 * knee
        motion.foot[:, number, 2] += 0.15 * knee
    return _turned(beat, QUARTER - 0.42)


def _sit_up(motion: Motion, beat: Beat, body: Body) -> Turned:
    up = beat.pulse() * min(beat.size, 1.1)
    _knees_bent(motion)
    motion.lean[:, 0] += 0.75 * up
    motion.spine[:, 0] += 0.9 * up
    if beat.variant < 0.5:
        _hands(motion, -0.12, 0.4, 0.02)
        motion.flare[:] = 0.9
    else:
        _hands(motion, -0.3, -0.2, 0.32)
    return _turned(beat, -QUARTER)


def _leg_raise(motion: Motion, beat: Beat, body: Body) -> Turned:
    angle = 1.45 * beat.pulse() * min(beat.size, 1.1)
    motion.foot[:, :, 1] = (0.985 - 0.97 * np.cos(angle))[:, None]
    motion.foot[:, :, 2] = (0.97 * np.sin(angle))[:, None]
    return _turned(beat, -QUARTER)


def _bicycle(motion: Motion, beat: Beat, body: Body) -> Turned:
    for number in (0, 1):
        motion.foot[:, number, 1] = 0.42 + 0.28 * beat.size * beat.wave(0.5 * number)
        motion.foot[:, number, 2] = 0.4 + 0.25 * beat.size * beat.wave(0.5 * number + 0.25)
    motion.spine[:, 0] += 0.3
    return _turned(beat, -QUARTER)


def _bridge(motion: Motion, beat: Beat, body: Body) -> Turned:
    up = beat.pulse() * min(beat.size, 1.1)
    _knees_bent(motion)
    motion.foot[:, :, 2] -= 0.3 * up[:, None]
    motion.foot[:, :, 1] -= 0.06 * up[:, None]
    return _turned(beat, -QUARTER - 0.45 * up)


def _crawl(motion: Motion, beat: Beat, body: Body) -> Turned:
    motion.pelvis[:, 1] = 0.52
    motion.lean[:, 0] += 1.45
    motion.head[:, 0] -= 0.6
    for number, side in enumerate(SIDES):
        swing = beat.wave(0.5 * number)
        motion.foot[:, number] = np.stack(
            [0.12 * side + 0 * swing, 0.01 + 0 * swing, -0.46 + 0.14 * beat.size * swing], -1
        )
        motion.hand[:, number] = np.stack(
            [0.03 * side + 0 * swing, -0.22 * beat.size * swing, 0.9 - 0.05 * swing**2], -1
        )
    motion.place[:, 1] += 0.45 * body.leg * (beat.turns - 0.5 * (beat.turns[0] + beat.turns[-1]))
    return _turned(beat)


def _tipping(beat: Beat, seconds: float = 1.0) -> np.ndarray:
    """Return shares (T,) of a fall in the middle of each cycle; the person stays down for the rest of it."""
    return np.clip((beat.share() - 0.05) / (0.4 * seconds), 0, 1) ** 2


def _fall_about(motion: Motion, beat: Beat, direction: float, share: np.ndarray) -> Turned:
    """Tip over by shares (T,) towards a direction in radians: 0 ahead, a quarter turn to the right."""
    ahead, right = np.cos(direction), np.sin(direction)
    give = np.sin(np.pi * share)
    motion.foot[:, :, 1] += 0.18 * give[:, None]
    motion.spine[:, 0] += 0.5 * give * (1.0 if ahead > 0 else 0.4)
    for number, side in enumerate(SIDES):
        flail = np.stack([side * (0.5 + 0.1 * give), -0.2 + 0.4 * give, 0.4 * ahead + 0 * give], -1)
        motion.hand[:, number] += np.sqrt(give)[:, None] * (flail - motion.hand[:, number])
        spread = np.array([side * 0.5, -0.3, 0.15])
        motion.hand[:, number] += (share > 0.95)[:, None] * 0.6 * (spread - motion.hand[:, number])
    return _turned(beat, 1.5 * share * ahead, 1.5 * share * right)


def _fall_ahead(motion: Motion, beat: Beat, body: Body) -> Turned:
    return _fall_about(motion, beat, 0.8 * (beat.variant - 0.5), _tipping(beat))


def _fall_back(motion: Motion, beat: Beat, body: Body) -> Turned:
    return _fall_about(motion, beat, np.pi + 0.8 * (beat.variant - 0.5), _tipping(beat))


def _fall_side(motion: Motion, beat: Beat, body: Body) -> Turned:
    return _fall_about(motion, beat, QUARTER + 0.6 * (beat.variant - 0.5), _tipping(beat))


def _get_up(motion: Motion, beat: Beat, body: Body) -> Turned:
    """Rises from the ground by way of a squat."""
    up = np.clip((beat.share() - 0.1) / 0.6, 0, 1)
    rise = up * up * (3 - 2 * up)
    tucked = np.sin(np.pi * np.clip(up, 0, 1))
    motion.foot[:, :, 1] += 0.45 * tucked[:, None]
    motion.foot[:, :, 2] += 0.2 * tucked[:, None]
    motion.lean[:, 0] += 0.5 * tucked
    motion.spine[:, 0] += 0.5 * tucked
    _hands(motion, 0.25, -0.75 + 0 * tucked, 0.35 * tucked)
    return _turned(beat, (-QUARTER if beat.variant < 0.6 else QUARTER) * (1 - rise))


def _handstand(motion: Motion, beat: Beat, body: Body) -> Turned:
    _hands(motion, 0.08, 0.93, 0.05)
    motion.flare[:] = 0.8
    motion.foot[:, :, 0] *= 1 + 3 * beat.variant
    motion.head[:, 0] -= 0.5
    return _turned(beat, np.pi + 0.06 * beat.wave())


def _cartwheel(motion: Motion, beat: Beat, body: Body) -> Turned:
    for number, side in enumerate(SIDES):
        motion.foot[:, number, 0] = side * 0.5
        motion.foot[:, number, 1] = 0.15
    _hands(motion, 0.35, 0.88, 0.0)
    motion.flare[:] = 0.9
    motion.place[:, 0] -= 2.2 * body.leg * (beat.turns - 0.5 * (beat.turns[0] + beat.turns[-1]))
    return _turned(beat, 0.0, 2 * np.pi * beat.turns)


def _somersault(motion: Motion, beat: Beat, body: Body) -> Turned:
    tucked = beat.pulse()
    motion.foot[:, :, 1] += 0.5 * tucked[:, None]
    motion.foot[:, :, 2] += 0.3 * tucked[:, None]
    motion.spine[:, 0] += 0.9 * tucked
    motion.lean[:, 0] += 0.2 * tucked
    motion.head[:, 0] += 0.4 * tucked
    _hands(motion, 0.1, -0.5 + 0.2 * tucked, 0.5)
    share = beat.share()
    motion.place[:, 1] += 1.2 * body.leg * (np.floor(beat.turns) + share - np.floor(beat.turns).mean() - 0.5)
    return _turned(beat, 2 * np.pi * np.clip((share - 0.15) / 0.7, 0, 1))


def _roll(motion: Motion, beat: Beat, body: Body) -> Turned:
    """Rolls sideways along the ground."""
    _hands(motion, 0.08, 0.9 if beat.variant < 0.5 else -0.9, 0.1)
    motion.place[:, 0] -= 0.9 * body.leg * (beat.turns - 0.5 * (beat.turns[0] + beat.turns[-1]))
    turned = _turned(beat, -QUARTER)
    # About the body's own long axis, before it is laid down.
    motion.heading += 2 * np.pi * beat.turns
    return turned


def _pull_up(motion: Motion, beat: Beat, body: Body) -> Turned:
    up = beat.pulse() * min(beat.size, 1.05)
    _hands(motion, 0.25 + 0.1 * up, 0.93 - 0.68 * up, 0.08 + 0.1 * up)
    motion.flare[:] = 0.8
    lift = 0.6 + up * 0.68 * body.arm / body.leg
    motion.pelvis[:, 1] += lift
    motion.foot[:, :, 1] += (lift + 0.1 * beat.variant)[:, None]
    motion.foot[:, :, 2] -= 0.3 * beat.variant
    return _turned(beat)


def _hang(motion: Motion, beat: Beat, body: Body) -> Turned:
    """Hangs from a bar and swings."""
    _hands(motion, 0.2, 0.94, 0.05)
    motion.pelvis[:, 1] += 0.6
    motion.foot[:, :, 1] += 0.6
    motion.foot[:, :, 2] += 0.35 * beat.size * beat.wave()[:, None]
    motion.pelvis[:, 2] += 0.12 * beat.wave()
    motion.lean[:, 0] -= 0.15 * beat.wave()
    return _turned(beat)


def _clean(motion: Motion, beat: Beat, body: Body) -> Turned:
    """Lifts a weight from the ground to the shoulders and over the head."""
    share = beat.share()
    down = 1 - np.clip((share - 0.05) / 0.25, 0, 1)
    again = np.clip((share - 0.85) / 0.15, 0, 1)
    down = np.maximum(down, again)
    dip = np.exp(-(((share - 0.34) / 0.06) ** 2)) + 0.6 * np.exp(-(((share - 0.58) / 0.05) ** 2))
    motion.pelvis[:, 1] -= 0.42 * down + 0.2 * dip
    motion.pelvis[:, 2] -= 0.2 * down
    motion.lean[:, 0] += 0.8 * down
    motion.foot[..., 0] *= 1.5
    at = np.array([0, 0.22, 0.34, 0.55, 0.66, 0.84, 1.0])
    y = np.interp(share, at, [-0.9, -0.85, 0.05, 0.05, 0.95, 0.95, -0.9])
    z = np.interp(share, at, [0.25, 0.2, 0.3, 0.3, 0.05, 0.05, 0.25])
    _hands(motion, 0.2, y, z)
    motion.flare[:] = 0.5
    return _turned(beat)


def _row_machine(motion: Motion, beat: Beat, body: Body) -> Turned:
    """Rows with a sliding seat."""
    pulled = beat.pulse() * min(beat.size, 1.1)
    motion.pelvis[:, 1] = 0.14
    motion.pelvis[:, 2] = -0.15 - 0.38 * pulled
    motion.foot[:, :, 2] = 0.42
    motion.foot[:, :, 1] = 0.05
    motion.lean[:, 0] += 0.1 - 0.4 * pulled
    motion.spine[:, 0] += 0.6 - 0.5 * pulled
    _hands(motion, -0.1 + 0.1 * pulled, -0.1 - 0.25 * pulled, 0.9 - 0.7 * pulled)
    return _turned(beat)


def _burpee(motion: Motion, beat: Beat, body: Body) -> Turned:
    """From standing down to the hands, legs back, and up again with a jump."""
    share = beat.share()
    at = np.array([0, 0.15, 0.3, 0.55, 0.7, 0.8, 0.9, 1.0])
    down = np.interp(share, at, [0, 1, 0, 0, 1, 0, 0, 0])
    flat = np.interp(share, at, [0, 0.4, 1, 1, 0.4, 0, 0, 0])
    motion.foot[:, :, 1] += 0.55 * down[:, None]
    motion.foot[:, :, 2] += 0.25 * down[:, None]
    motion.lean[:, 0] += 0.6 * down
    ready = np.interp(share, at, [0, 1, 1, 1, 1, 0, 0, 0])
    over = np.interp(share, at, [0, 0, 0, 0, 0, 0, 1, 0])
    for number, side in enumerate(SIDES):
        motion.hand[:, number] += ready[:, None] * (np.array([side * 0.1, 0.05, 0.92]) - motion.hand[:, number])
        motion.hand[:, number] += over[:, None] * (np.array([side * 0.1, 0.92, 0.05]) - motion.hand[:, number])
    return _turned(beat, (QUARTER - 0.42) * flat)


def _cobra(motion: Motion, beat: Beat, body: Body) -> Turned:
    """Raises the chest from the ground."""
    up = beat.pulse() * min(beat.size, 1.1)
    motion.spine[:, 0] -= 0.75 * up
    motion.lean[:, 0] -= 0.25 * up
    motion.head[:, 0] -= 0.3
    _hands(motion, 0.15, -0.2 - 0.15 * up, 0.3 + 0.45 * up)
    return _turned(beat, QUARTER)


def _dog(motion: Motion, beat: Beat, body: Body) -> Turned:
    """Hands and feet on the ground, hips high."""
    motion.lean[:, 0] += 2.1 + 0.05 * beat.wave()
    motion.pelvis[:, 1] = 0.8
    motion.pelvis[:, 2] = 0.0
    motion.foot[:, :, 2] = -0.42
    _hands(motion, 0.1, 0.92, 0.05)
    return _turned(beat)


FLOOR: Mapping[str, Floor] = {
    "lie_back": Floor(_lie_back, 0.3, free_arms=True, still=True),
    "lie_front": Floor(_lie_front, 0.3, still=True),
    "lie_side": Floor(_lie_side, 0.3, still=True),
    "lie_bent": Floor(_lie_bent, 0.3, free_arms=True, still=True),
    "push_up": Floor(_push_up, 0.6),
    "plank": Floor(_plank, 0.3, still=True),
    "climb": Floor(_climb, 1.0),
    "sit_up": Floor(_sit_up, 0.5),
    "leg_raise": Floor(_leg_raise, 0.4, free_arms=True),
    "bicycle": Floor(_bicycle, 0.9),
    "bridge": Floor(_bridge, 0.45),
    "crawl": Floor(_crawl, 0.8),
    "fall_ahead": Floor(_fall_ahead, 0.35),
    "fall_back": Floor(_fall_back, 0.35),
    "fall_side": Floor(_fall_side, 0.35),
    "get_up": Floor(_get_up, 0.35),
    "handstand": Floor(_handstand, 0.3, still=True),
    "cartwheel": Floor(_cartwheel, 0.5),
    "somersault": Floor(_somersault, 0.45),
    "roll": Floor(_roll, 0.45),
    "pull_up": Floor(_pull_up, 0.45),
    "hang": Floor(_hang, 0.5),
    "clean": Floor(_clean, 0.25),
    "row_machine": Floor(_row_machine, 0.5),
    "burpee": Floor(_burpee, 0.3),
    "cobra": Floor(_cobra, 0.4),
    "dog": Floor(_dog, 0.3, still=True),
}
