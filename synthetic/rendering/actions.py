"""Actions of a single person: each turns a motion at rest into a motion that shows the action.

Every action takes (motion at rest, body, style, time in seconds) and changes the motion in place. `lead` is the side
that acts, `side` the sign of x on that side.
"""

from collections.abc import Callable, Mapping

import numpy as np

from synthetic.rendering.body import SIDES, Body
from synthetic.rendering.kinematics import Motion, standing
from synthetic.rendering.style import Style, at_rest, blend, keys, pulse_of, ramp, wave_of

Action = Callable[[Motion, Body, Style, np.ndarray], None]


def _once(style: Style, time: np.ndarray, seconds: float) -> np.ndarray:
    """Return the progress (T,) in [0, 1] of a movement that happens once and lasts `seconds`."""
    begin = time[0] + style.onset * (time[-1] - time[0])
    return np.clip((time - begin) * style.tempo / seconds, 0, 1)


def stand(motion: Motion, body: Body, style: Style, time: np.ndarray) -> None:
    """Stands idle: arms hanging, crossed, on the hips or in front."""
    share = np.ones_like(time)
    if style.variant < 0.2:
        for number, side in enumerate(SIDES):
            blend(motion.hand[:, number], (side * 0.1, -0.62, 0.1), share)
            motion.flare[:, number] = 0.95
    elif style.variant < 0.35:
        for number, side in enumerate(SIDES):
            blend(motion.hand[:, number], (-side * (body.shoulder / body.arm + 0.12), -0.32, 0.34), share)
    elif style.variant < 0.5:
        for number, side in enumerate(SIDES):
            blend(motion.hand[:, number], (-side * 0.8 * body.shoulder / body.arm, -0.78, 0.3), share)


def wave(motion: Motion, body: Body, style: Style, time: np.ndarray) -> None:
    """Waves a raised hand from side to side."""
    side, hand = SIDES[style.lead], motion.hand[:, style.lead]
    swing = wave_of(time, 1.7 * style.tempo, style.phase)
    height = 0.35 + 0.5 * style.variant
    raised = np.stack(
        [side * (0.32 + 0.24 * style.size * swing), height - 0.06 * swing**2, np.full_like(time, 0.22)], -1
    )
    blend(hand, raised, ramp(time, -0.3, 0.5))
    motion.flare[:, style.lead] = 0.75
    motion.spine[:, 1] -= 0.05 * side


def clap(motion: Motion, body: Body, style: Style, time: np.ndarray) -> None:
    """Claps both hands in front of the chest, or over the head."""
    gap = 0.42 * style.size * pulse_of(time, 2.1 * style.tempo, style.phase)
    height = 0.75 if style.variant < 0.2 else -0.4 + 0.5 * style.variant
    for number, side in enumerate(SIDES):
        x = side * (gap + 0.04 - body.shoulder / body.arm)
        depth = np.full_like(time, 0.15 if height > 0.5 else 0.48)
        blend(motion.hand[:, number], np.stack([x, height - 0.15 * gap, depth], -1), ramp(time, -0.3, 0.3))
        motion.flare[:, number] = 0.6


def squat(motion: Motion, body: Body, style: Style, time: np.ndarray) -> None:
    """Bends the knees until the thighs are level, and rises again."""
    down = pulse_of(time, 0.55 * style.tempo, style.phase) * min(style.size, 1.1)
    motion.foot[..., 0] *= 1.3
    motion.pelvis[:, 1] -= 0.46 * down
    motion.pelvis[:, 2] -= 0.2 * down
    motion.lean[:, 0] += 0.5 * down
    motion.spine[:, 0] += 0.15 * down
    motion.head[:, 0] -= 0.35 * down
    for number, side in enumerate(SIDES):
        if style.variant < 0.55:
            ahead = (-0.05 * side, 0.1, 0.93)
        elif style.variant < 0.8:
            ahead = (-side * body.shoulder / body.arm, -0.1, 0.38)
        else:
            ahead = (side * 0.15, 0.3, -0.02)
        blend(motion.hand[:, number], ahead, 0.15 + 0.85 * down)
        motion.flare[:, number] += 0.3


def jumping_jack(motion: Motion, body: Body, style: Style, time: np.ndarray) -> None:
    """Jumps with legs and arms apart, and back together."""
    hertz = 0.95 * style.tempo
    apart = pulse_of(time, hertz, style.phase)
    hop = 0.12 * style.size * pulse_of(time, 2 * hertz, 2 * style.phase)
    angle = -1.45 + apart * (2.7 * min(style.size, 1.05))
    motion.pelvis[:, 1] += hop - 0.06 * apart
    for number, side in enumerate(SIDES):
        away = np.stack([side * 0.97 * np.cos(angle), 0.97 * np.sin(angle), 0.05 + 0 * time], -1)
        blend(motion.hand[:, number], away, np.ones_like(time))
        motion.flare[:, number] = 0.9
        motion.foot[:, number, 0] = side * (0.09 + 0.36 * style.size * apart)
        motion.foot[:, number, 1] = hop


def kick(motion: Motion, body: Body, style: Style, time: np.ndarray) -> None:
    """Kicks forward with one leg, repeatedly."""
    side, lead = SIDES[style.lead], style.lead
    cycle = (0.62 * style.tempo * time + style.phase) % 1
    away = 0.85 + 0.12 * style.size
    high = 0.35 + 0.55 * style.size * style.variant
    rest = (0.12 * side, 0.0, 0.0)
    path = keys(
        cycle,
        (0, rest),
        (0.25, (0.1 * side, 0.16, -0.4)),
        (0.5, (0.0, high, away)),
        (0.62, (0.0, high, away)),
        (1, rest),
    )
    motion.foot[:, lead] = path
    forward = np.clip(path[:, 2], -0.5, 1)
    motion.lean[:, 0] -= 0.3 * forward
    motion.lean[:, 2] -= 0.35 * side * forward
    motion.pelvis[:, 0] -= 0.06 * side
    for number, own in enumerate(SIDES):
        swing = forward if number != lead else -forward
        guard = np.stack([own * (0.25 + 0 * time), -0.55 + 0.25 * swing, 0.3 + 0.35 * swing], -1)
        blend(motion.hand[:, number], guard, np.full_like(time, 0.8))


def punch(motion: Motion, body: Body, style: Style, time: np.ndarray) -> None:
    """Punches from a guard, with one hand or with alternating hands."""
    hertz = 0.85 * style.tempo
    motion.lean[:, 2] += 0.35 * SIDES[style.lead]
    motion.head[:, 2] -= 0.3 * SIDES[style.lead]
    motion.foot[:, style.lead, 2] -= 0.28
    motion.foot[:, 1 - style.lead, 2] += 0.22
    motion.pelvis[:, 1] -= 0.06
    both = style.variant < 0.5
    for number, side in enumerate(SIDES):
        turn = style.phase + (0.5 if number != style.lead else 0)
        cycle = (hertz * time + turn) % 1
        out = np.exp(-(((cycle - 0.5) / 0.12) ** 2)) if both or number == style.lead else 0 * time
        guard = np.array([-side * 0.1, -0.08, 0.34])
        hit = np.array([-side * 0.35, 0.05 + 0.2 * (style.size - 1), 0.93])
        blend(motion.hand[:, number], guard + out[:, None] * (hit - guard), np.ones_like(time))
        motion.spine[:, 2] -= 0.4 * side * out
        motion.flare[:, number] = 0.15 + 0.5 * out


def walk(motion: Motion, body: Body, style: Style, time: np.ndarray) -> None:
    """Walks straight ahead; the path is centred on the initial position."""
    hertz, stride = 0.85 * style.tempo, 0.36 * style.size
    cycle = hertz * time + style.phase
    speed = 4 * stride * hertz * body.leg
    motion.place[:, 1] += speed * (time - 0.5 * (time[0] + time[-1]))
    steps(motion, cycle, stride)
    for number in (0, 1):
        swing = wave_of(cycle, 1, 0.5 * number)
        motion.hand[:, number, 2] += -0.38 * style.size * swing
        motion.hand[:, number, 1] += 0.08 + 0.05 * swing**2
    motion.spine[:, 2] += 0.1 * wave_of(cycle, 1, 0.5)
    motion.lean[:, 0] += 0.04


def steps(motion: Motion, cycle: np.ndarray, stride: float) -> None:
    """Let the feet step with the pelvis: each is on the ground for half of a cycle, while the body passes over it.

    Args:
        motion: Changed in place.
        cycle: (T,), position in the gait cycle, in turns.
        stride: Stride length, in leg lengths.
    """
    for number in (0, 1):
        part = (cycle + 0.5 * number) % 1
        swinging = np.clip((part - 0.5) / 0.5, 0, 1)
        eased = swinging * swinging * (3 - 2 * swinging)
        motion.foot[:, number, 2] = np.where(part < 0.5, stride * (1 - 4 * part), stride * (2 * eased - 1))
        motion.foot[:, number, 1] += 0.16 * np.sin(np.pi * swinging)
    motion.pelvis[:, 1] -= 0.02 + 0.35 * stride**2 * (1 + wave_of(2 * cycle, 1, 0.25)) / 2


def _sitting(motion: Motion, body: Body, style: Style, seated: np.ndarray) -> None:
    """Lower a person onto a seat behind them, by shares (T,) in [0, 1]."""
    height = (body.shin * 0.98) / body.leg
    passing = np.sin(np.pi * seated)
    motion.pelvis[:, 1] += seated * (height - motion.pelvis[:, 1])
    motion.pelvis[:, 2] -= 0.45 * seated
    motion.lean[:, 0] += 0.55 * passing - 0.08 * seated
    motion.spine[:, 0] += 0.35 * passing
    motion.head[:, 0] -= 0.25 * passing
    for number, side in enumerate(SIDES):
        blend(motion.hand[:, number], (-side * 0.05, -0.62, 0.52), seated)
        blend(motion.hand[:, number], (side * 0.1, -0.4, 0.7), 0.6 * passing)


def sit_down(motion: Motion, body: Body, style: Style, time: np.ndarray) -> None:
    """Sits down on a chair."""
    _sitting(motion, body, style, ramp(_once(style, time, 1.3), 0, 1))


def stand_up(motion: Motion, body: Body, style: Style, time: np.ndarray) -> None:
    """Rises from a chair."""
    _sitting(motion, body, style, 1 - ramp(_once(style, time, 1.2), 0, 1))


def pick_up(motion: Motion, body: Body, style: Style, time: np.ndarray) -> None:
    """Bends down, takes an object from the ground and stands up with it."""
    done = _once(style, time, 2.2)
    down = ramp(done, 0, 0.45) - ramp(done, 0.55, 1)
    knees = 0.15 + 0.3 * style.variant
    motion.pelvis[:, 1] -= knees * down
    motion.pelvis[:, 2] -= (0.12 + 0.1 * style.variant) * down
    motion.lean[:, 0] += (1.25 - 1.4 * knees) * down
    motion.spine[:, 0] += 0.65 * down
    side = SIDES[style.lead]
    target = np.array([0.1 * side, 0.1, 0.42 * body.leg])
    motion.reach[:, style.lead] = target
    motion.reaching[:, style.lead] = down
    blend(motion.hand[:, style.lead], (0.0, -0.5, 0.45), ramp(done, 0.55, 1))
    blend(motion.hand[:, 1 - style.lead], (-0.05 * side, -0.8, 0.35), down)


def fall(motion: Motion, body: Body, style: Style, time: np.ndarray) -> None:
    """Loses balance, falls forward, backward or sideways, and stays down."""
    share = _once(style, time, 1.1) ** 2
    bounce = ramp(_once(style, time, 1.1), 0.97, 1)
    angle = 1.47 * share
    direction = 2 * np.pi * style.variant
    ahead, rightward = np.cos(direction), np.sin(direction)
    give = 0.25 * np.sin(np.pi * share)
    length = motion.pelvis[:, 1] * (1 - give)
    motion.pelvis[:, 1] = length * np.cos(angle) + 0.06 * share
    motion.pelvis[:, 2] += length * np.sin(angle) * ahead
    motion.pelvis[:, 0] -= length * np.sin(angle) * rightward
    motion.lean[:, 0] += angle * ahead
    motion.lean[:, 1] += angle * rightward
    motion.spine[:, 0] += 0.5 * np.sin(np.pi * share) * (1 if ahead > 0 else 0.4)
    for number, side in enumerate(SIDES):
        flail = np.stack([side * (0.55 + 0.2 * np.sin(9 * share)), -0.1 + 0.5 * share, 0.45 * ahead + 0 * time], -1)
        blend(motion.hand[:, number], flail, np.sin(np.pi * np.clip(share, 0, 0.7)))
        blend(motion.hand[:, number], (side * 0.6, -0.25, 0.1), bounce)
        motion.foot[:, number, 1] += 0.03 * share


def drink(motion: Motion, body: Body, style: Style, time: np.ndarray) -> None:
    """Raises a cup to the mouth, and lowers it."""
    side = SIDES[style.lead]
    up = np.clip(1.5 * pulse_of(time, 0.32 * style.tempo, style.phase) - 0.2, 0, 1)
    mouth = (-side * 0.82 * body.shoulder / body.arm, (0.85 * body.neck + 0.1 * body.chest) / body.arm, 0.32)
    hold = np.tile(np.array([-side * 0.05, -0.45, 0.45]), (len(time), 1))
    blend(hold, mouth, up)
    motion.hand[:, style.lead] = hold
    motion.flare[:, style.lead] = 0.2 + 0.5 * up
    motion.head[:, 0] -= 0.3 * np.clip(up - 0.6, 0, 1) / 0.4
    motion.head[:, 2] *= 0.4


def phone(motion: Motion, body: Body, style: Style, time: np.ndarray) -> None:
    """Holds a telephone to the ear while shifting on the spot."""
    side = SIDES[style.lead]
    ear = (-side * (body.shoulder - 1.35 * body.head) / body.arm, (1.05 * body.neck + 0.1 * body.chest) / body.arm, 0.1)
    blend(motion.hand[:, style.lead], ear, ramp(time, -0.8, 0.3 + style.onset))
    motion.flare[:, style.lead] = 0.45
    motion.head[:, 1] += 0.14 * (1 if style.lead else -1)
    motion.heading += 0.35 * wave_of(time, 0.22 * style.tempo, style.phase)
    talk = wave_of(time, 0.8 * style.tempo, style.phase)
    blend(motion.hand[:, 1 - style.lead], np.stack([-side * 0.15 + 0 * time, -0.6 + 0.12 * talk, 0.3 + 0.1 * talk], -1),
           np.full_like(time, float(style.variant > 0.5)))  # fmt: skip


def bow(motion: Motion, body: Body, style: Style, time: np.ndarray) -> None:
    """Bows from the hips, arms at the sides, and rises."""
    down = pulse_of(time, 0.42 * style.tempo, style.phase) * style.size
    motion.lean[:, 0] += 0.75 * down
    motion.spine[:, 0] += 0.4 * down
    motion.pelvis[:, 2] -= 0.14 * down
    for number, side in enumerate(SIDES):
        blend(motion.hand[:, number], (side * 0.08, -0.8, 0.45 * style.variant), down)


def throw(motion: Motion, body: Body, style: Style, time: np.ndarray) -> None:
    """Throws overarm, repeatedly."""
    side = SIDES[style.lead]
    cycle = (0.5 * style.tempo * time + style.phase) % 1
    motion.hand[:, style.lead] = keys(
        cycle,
        (0, (side * 0.1, -0.7, 0.3)),
        (0.35, (side * 0.45, 0.35, -0.4)),
        (0.47, (0.0, 0.55, 0.7)),
        (0.6, (-side * 0.3, -0.3, 0.75)),
        (1, (side * 0.1, -0.7, 0.3)),
    )
    wind = np.exp(-(((cycle - 0.35) / 0.12) ** 2)) - np.exp(-(((cycle - 0.52) / 0.1) ** 2))
    motion.spine[:, 2] += 0.55 * side * -wind * style.size
    motion.lean[:, 0] -= 0.16 * wind
    motion.foot[:, 1 - style.lead, 2] += 0.3
    motion.foot[:, style.lead, 2] -= 0.12
    blend(motion.hand[:, 1 - style.lead], (-side * 0.35, -0.1, 0.55), np.clip(wind, 0, 1))
    motion.flare[:, style.lead] = 0.8


ACTIONS: Mapping[str, Action] = {
    "bow": bow,
    "clap": clap,
    "drink": drink,
    "fall": fall,
    "jumping_jack": jumping_jack,
    "kick": kick,
    "phone": phone,
    "pick_up": pick_up,
    "punch": punch,
    "sit_down": sit_down,
    "squat": squat,
    "stand": stand,
    "stand_up": stand_up,
    "throw": throw,
    "walk": walk,
    "wave": wave,
}
# Actions that need a seat.
NEED_SEAT = ("sit_down", "stand_up")


def act(action: str, body: Body, style: Style, time: np.ndarray) -> Motion:
    """Return the motion of a body that performs an action at the world's origin, facing the camera.

    Args:
        action: Name in `ACTIONS`.
        body: Body of the person.
        style: Style of the movement.
        time: (T,), seconds.
    """
    motion = at_rest(standing(len(time)), style, time)
    ACTIONS[action](motion, body, style, time)
    return motion
