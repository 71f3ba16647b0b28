"""Programs of one arm: where the wrist is over time, relative to the shoulder, in arm lengths, in the chest's frame.

The frame has x to the left, y up, z forward; `side` is +1 for the left arm and -1 for the right one, so that
`side * x` points outwards. Every program is at rest, or in its usual place, at whole turns of its beat.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from synthetic.motions.rhythm import Beat
from synthetic.rendering.style import keys

# Distance from the middle of the chest to a shoulder, in arm lengths, of an average body.
SHOULDER = 0.34
Point = tuple[float, float, float]
Path = Callable[[Beat, float], np.ndarray]


@dataclass(frozen=True)
class Arm:
    """A program of one arm.

    Args:
        path: Function of (beat, side) that returns the wrist (T, 3).
        hertz: Usual cycles per second.
        flare: Direction of the elbow: 0 back and down, 1 sideways.
        still: Whether the arm is held, without a cycle.
    """

    path: Path
    hertz: float
    flare: float = 0.3
    still: bool = False


def _joined(x: np.ndarray | float, y: np.ndarray | float, z: np.ndarray | float, beat: Beat) -> np.ndarray:
    rest = np.zeros_like(beat.turns)
    return np.stack([rest + x, rest + y, rest + z], -1)


def _held(point: Point) -> Path:
    """Hold the hand at a point; x outwards. The variant moves the point a little."""

    def path(beat: Beat, side: float) -> np.ndarray:
        x, y, z = point
        return _joined(side * (x + 0.1 * (beat.variant - 0.5)), y + 0.02 * beat.wave(), z, beat)

    return path


def _along(*points: tuple[float, Point]) -> Path:
    """Move through (share of the cycle, point); x outwards. The size scales the distance from the first point."""

    def path(beat: Beat, side: float) -> np.ndarray:
        first = np.array(points[0][1])
        reached = first + (keys(beat.share(), *points) - first) * beat.size
        return reached * (side, 1, 1)

    return path


def _together(*points: tuple[float, Point]) -> Path:
    """Move both hands to one point that travels through (share, point), relative to the middle of the chest.

    x is to the left, so that both hands follow the same path.
    """

    def path(beat: Beat, side: float) -> np.ndarray:
        return keys(beat.share(), *points) - (side * (SHOULDER - 0.04), 0, 0)

    return path


def _lifted(highest: float, outwards: float) -> Path:
    """Lift the stretched arm from the thigh.

    Args:
        highest: Angle at the top, radians: pi / 2 is level.
        outwards: 0: to the front; 1: to the side.
    """

    def path(beat: Beat, side: float) -> np.ndarray:
        angle = 0.12 + beat.pulse() * min(highest * beat.size, 2.95)
        away = 0.95 * np.sin(angle)
        x = side * (0.1 + (0.85 * outwards) * away)
        return _joined(x, -0.93 * np.cos(angle), (1 - outwards) * away + 0.06, beat)

    return path


def _circle(centre: Point, radius: Point, phase: Point) -> Path:
    """Circle about a point; x outwards.

    Args:
        centre: The point.
        radius: Radius along each axis.
        phase: Phase along each axis, in turns.
    """

    def path(beat: Beat, side: float) -> np.ndarray:
        waves = np.stack([beat.wave(turns) for turns in phase], -1)
        return (centre + np.array(radius) * beat.size * waves) * (side, 1, 1)

    return path


def _pendulum(back: float, front: float) -> Path:
    """Swing the stretched arm between two angles, radians from the thigh, forward positive."""

    def path(beat: Beat, side: float) -> np.ndarray:
        angle = (0.5 * (back + front)) + 0.5 * (front - back) * beat.size * beat.wave()
        return _joined(side * 0.12, -0.93 * np.cos(angle), 0.93 * np.sin(angle), beat)

    return path


def _swing(beat: Beat, side: float) -> np.ndarray:
    """Swing with the gait, against the leg of the same side."""
    swing = beat.wave(0.0 if side > 0 else 0.5)
    return _joined(side * 0.15, -0.92 + 0.05 * swing**2, 0.06 - 0.38 * beat.size * swing, beat)


def _pump(beat: Beat, side: float) -> np.ndarray:
    """Swing with a bent elbow, as when running."""
    swing = beat.wave(0.0 if side > 0 else 0.5) * beat.size
    return _joined(side * (0.08 + 0.05 * swing), -0.45 - 0.18 * swing, 0.22 - 0.32 * swing, beat)


def _wave(beat: Beat, side: float) -> np.ndarray:
    """Wave a raised hand from side to side."""
    swing = beat.wave()
    return _joined(
        side * (0.32 + 0.24 * beat.size * swing), 0.35 + 0.5 * beat.variant - 0.06 * swing**2, 0.2, beat
    )  # fmt: skip


def _wave_wide(beat: Beat, side: float) -> np.ndarray:
    """Wave the stretched arm over the head."""
    angle = 0.35 + 0.5 * beat.size * beat.wave()
    return _joined(side * 0.93 * np.sin(angle), 0.93 * np.cos(angle), 0.08, beat)


def _clap(beat: Beat, side: float) -> np.ndarray:
    gap = 0.42 * beat.size * beat.pulse()
    return _joined(side * (gap + 0.04 - SHOULDER), -0.3 + 0.4 * beat.variant - 0.12 * gap, 0.48, beat)


def _clap_over(beat: Beat, side: float) -> np.ndarray:
    gap = 0.5 * beat.size * beat.pulse()
    return _joined(side * (gap + 0.04 - SHOULDER), 0.85 - 0.3 * gap, 0.1, beat)


def _fly(beat: Beat, side: float) -> np.ndarray:
    """Move stretched arms from the sides to the front, and back."""
    angle = 0.1 + 1.35 * beat.pulse() * min(beat.size, 1.1)
    return _joined(side * (0.9 * np.cos(angle) - SHOULDER * np.sin(angle)), -0.05, 0.88 * np.sin(angle), beat)


ARMS: Mapping[str, Arm] = {
    "swing": Arm(_swing, 0.85),
    "pump": Arm(_pump, 1.35),
    "wave": Arm(_wave, 1.7, 0.75),
    "wave_wide": Arm(_wave_wide, 1.0, 0.8),
    "raise_front": Arm(_lifted(1.6, 0.0), 0.5),
    "raise_over": Arm(_lifted(2.9, 0.0), 0.45, 0.6),
    "raise_side": Arm(_lifted(1.6, 1.0), 0.5, 0.7),
    "raise_wide": Arm(_lifted(2.8, 1.0), 0.7, 0.9),
    "hold_up": Arm(_held((0.06, 0.93, 0.08)), 0.2, 0.8, still=True),
    "hold_side": Arm(_held((0.93, 0.0, 0.05)), 0.2, 0.7, still=True),
    "hold_front": Arm(_held((-0.1, 0.02, 0.9)), 0.2, 0.4, still=True),
    "on_hip": Arm(_held((0.1, -0.62, 0.1)), 0.2, 0.95, still=True),
    "at_head": Arm(_held((-0.08, 0.4, 0.0)), 0.2, 0.95, still=True),
    "at_chest": Arm(_held((-0.22, -0.2, 0.34)), 0.2, 0.4, still=True),
    "crossed": Arm(_held((-0.46, -0.3, 0.34)), 0.2, 0.4, still=True),
    "behind": Arm(_held((-0.1, -0.75, -0.2)), 0.2, 0.7, still=True),
    "phone": Arm(_held((-0.12, 0.38, 0.12)), 0.3, 0.5, still=True),
    "on_lap": Arm(_held((-0.05, -0.62, 0.5)), 0.2, 0.3, still=True),
    "reading": Arm(_held((-0.25, -0.3, 0.5)), 0.2, 0.3, still=True),
    "violin": Arm(_held((0.1, 0.05, 0.55)), 0.4, 0.5, still=True),
    "neck_of_guitar": Arm(_held((0.42, -0.3, 0.45)), 0.4, 0.5, still=True),
    "clap": Arm(_clap, 2.0, 0.6),
    "clap_over": Arm(_clap_over, 1.2, 0.8),
    "fly": Arm(_fly, 0.6, 0.7),
    "punch": Arm(
        _along((0, (-0.1, -0.1, 0.32)), (0.5, (-0.32, 0.05, 0.93)), (1, (-0.1, -0.1, 0.32))), 1.0, 0.4
    ),
    "uppercut": Arm(
        _along((0, (-0.1, -0.3, 0.3)), (0.5, (-0.25, 0.35, 0.5)), (1, (-0.1, -0.3, 0.3))), 0.9, 0.2
    ),
    "hook": Arm(
        _along((0, (0.05, -0.1, 0.35)), (0.25, (0.5, 0.0, 0.3)), (0.6, (-0.45, 0.05, 0.6)), (1, (0.05, -0.1, 0.35))),
        0.8,
        0.8,
    ),
    "throw": Arm(
        _along(
            (0, (0.1, -0.7, 0.3)),
            (0.35, (0.45, 0.35, -0.4)),
            (0.47, (0.0, 0.55, 0.7)),
            (0.6, (-0.3, -0.3, 0.75)),
            (1, (0.1, -0.7, 0.3)),
        ),
        0.55,
        0.8,
    ),
    "bowl": Arm(
        _along((0, (0.1, -0.6, 0.5)), (0.4, (0.15, -0.6, -0.7)), (0.65, (0.05, 0.1, 0.92)), (1, (0.1, -0.6, 0.5))), 0.5
    ),
    "serve": Arm(
        _along(
            (0, (0.1, -0.7, 0.5)),
            (0.35, (0.4, 0.3, -0.3)),
            (0.55, (0.05, 0.95, 0.15)),
            (0.7, (-0.35, -0.5, 0.6)),
            (1, (0.1, -0.7, 0.5)),
        ),
        0.45,
        0.8,
    ),
    "forehand": Arm(
        _along(
            (0, (0.4, -0.4, 0.4)),
            (0.35, (0.75, -0.25, -0.45)),
            (0.55, (0.15, -0.1, 0.88)),
            (0.7, (-0.55, 0.25, 0.45)),
            (1, (0.4, -0.4, 0.4)),
        ),
        0.5,
        0.5,
    ),
    "backhand": Arm(
        _along((0, (0.1, -0.4, 0.5)), (0.35, (-0.6, -0.3, 0.3)), (0.6, (0.75, 0.1, 0.5)), (1, (0.1, -0.4, 0.5))),
        0.5,
        0.5,
    ),
    "circle_front": Arm(_circle((0.15, 0.0, 0.0), (0.0, 0.88, 0.88), (0, 0.25, 0)), 0.7, 0.5),
    "circle_side": Arm(_circle((0.12, 0.05, 0.25), (0.75, 0.78, 0.0), (0, 0.25, 0)), 0.6, 0.7),
    "wipe": Arm(_circle((0.0, 0.15, 0.65), (0.32, 0.3, 0.0), (0, 0.25, 0)), 0.9, 0.5),
    "stir": Arm(_circle((-0.15, -0.45, 0.5), (0.14, 0.0, 0.14), (0, 0, 0.25)), 1.2),
    "rope": Arm(_circle((0.42, -0.55, 0.2), (0.06, 0.1, 0.1), (0, 0.25, 0)), 2.0, 0.3),
    "drum": Arm(_circle((-0.05, -0.42, 0.5), (0.0, 0.22, 0.05), (0, 0, 0)), 2.5, 0.4),
    "strum": Arm(_circle((-0.3, -0.55, 0.3), (0.1, 0.16, 0.0), (0, 0, 0)), 2.0, 0.6),
    "bow_string": Arm(_circle((-0.1, -0.12, 0.4), (0.34, 0.14, 0.1), (0, 0.5, 0)), 1.0, 0.6),
    "knock": Arm(_circle((-0.1, 0.15, 0.58), (0.0, 0.04, 0.14), (0, 0, 0)), 2.4, 0.3),
    "scratch": Arm(_circle((-0.15, 0.42, 0.05), (0.05, 0.05, 0.0), (0, 0.25, 0)), 2.2, 0.8),
    "beckon": Arm(_along((0, (0.0, -0.05, 0.75)), (0.5, (-0.05, 0.25, 0.35)), (1, (0.0, -0.05, 0.75))), 1.3),
    "drink": Arm(
        _along(
            (0, (-0.05, -0.45, 0.45)), (0.3, (-0.28, 0.31, 0.32)), (0.7, (-0.28, 0.33, 0.3)), (1, (-0.05, -0.45, 0.45))
        ),
        0.35,
        0.5,
    ),
    "push": Arm(_along((0, (-0.05, -0.15, 0.3)), (0.5, (-0.12, 0.0, 0.93)), (1, (-0.05, -0.15, 0.3))), 0.7, 0.7),
    "row": Arm(_along((0, (-0.2, -0.15, 0.88)), (0.5, (0.1, -0.4, 0.1)), (1, (-0.2, -0.15, 0.88))), 0.55, 0.3),
    "press": Arm(_along((0, (0.12, 0.12, 0.25)), (0.5, (0.06, 0.95, 0.05)), (1, (0.12, 0.12, 0.25))), 0.5, 0.7),
    "curl": Arm(
        _along((0, (0.1, -0.93, 0.12)), (0.25, (0.08, -0.6, 0.6)), (0.5, (0.05, -0.15, 0.36)),
               (0.75, (0.08, -0.6, 0.6)), (1, (0.1, -0.93, 0.12))), 0.5, 0.1,
    ),
    "pull_down": Arm(_along((0, (0.25, 0.92, 0.1)), (0.5, (0.3, 0.1, 0.1)), (1, (0.25, 0.92, 0.1))), 0.5, 0.8),
    "breast_stroke": Arm(
        _along((0, (-0.25, 0.05, 0.9)), (0.35, (0.75, 0.0, 0.45)), (0.65, (-0.1, -0.2, 0.32)),
               (1, (-0.25, 0.05, 0.9))), 0.6, 0.6,
    ),
    "dribble": Arm(_along((0, (0.05, -0.5, 0.55)), (0.5, (0.05, -0.75, 0.5)), (1, (0.05, -0.5, 0.55))), 1.6, 0.3),
    "shoot": Arm(
        _along((0, (-0.2, -0.35, 0.4)), (0.4, (-0.15, 0.35, 0.3)), (0.6, (-0.1, 0.85, 0.45)),
               (1, (-0.2, -0.35, 0.4))), 0.5, 0.4,
    ),
    "bat": Arm(
        _together((0, (-0.5, 0.1, 0.15)), (0.45, (0.0, -0.25, 0.85)), (0.65, (0.6, 0.15, 0.35)),
                  (1, (-0.5, 0.1, 0.15))), 0.5, 0.5,
    ),
    "golf": Arm(
        _together((0, (0.0, -0.85, 0.4)), (0.35, (-0.6, 0.4, 0.2)), (0.5, (0.0, -0.85, 0.45)),
                  (0.7, (0.6, 0.4, 0.2)), (1, (0.0, -0.85, 0.4))), 0.4, 0.4,
    ),
    "axe": Arm(
        _together((0, (0.0, -0.6, 0.6)), (0.4, (0.0, 0.8, 0.1)), (0.6, (0.0, -0.6, 0.65)), (1, (0.0, -0.6, 0.6))),
        0.6, 0.5,
    ),
    "dig": Arm(
        _together((0, (-0.2, -0.5, 0.5)), (0.4, (0.0, -0.8, 0.6)), (0.7, (0.5, -0.1, 0.4)), (1, (-0.2, -0.5, 0.5))),
        0.45,
    ),
    "paddle": Arm(
        _together((0, (0.0, -0.2, 0.55)), (0.25, (0.5, -0.45, 0.4)), (0.5, (0.0, -0.2, 0.55)),
                  (0.75, (-0.5, -0.45, 0.4)), (1, (0.0, -0.2, 0.55))), 0.6,
    ),
    "pendulum": Arm(_pendulum(-0.7, 1.7), 0.6),
}  # fmt: skip
