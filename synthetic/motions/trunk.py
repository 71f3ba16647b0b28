"""Programs of trunk and head: they add angles to a motion, in place."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from synthetic.motions.rhythm import Beat
from synthetic.rendering.kinematics import Motion


@dataclass(frozen=True)
class Trunk:
    """A program of the trunk.

    Args:
        move: Function of (motion, beat) that changes the motion in place.
        hertz: Usual cycles per second.
        deep: Whether the trunk comes down so far that the legs have to stay where they are.
    """

    move: Callable[[Motion, Beat], None]
    hertz: float
    deep: bool = False


def _upright(motion: Motion, beat: Beat) -> None:
    """Stays as it is."""


def _forward(motion: Motion, amount: np.ndarray | float) -> None:
    """Lean forward: hips first, then the back; the pelvis moves back to keep the balance."""
    motion.lean[:, 0] += 0.68 * amount
    motion.spine[:, 0] += 0.32 * amount
    motion.head[:, 0] -= 0.2 * amount
    motion.pelvis[:, 2] -= 0.1 * amount


def _bow(motion: Motion, beat: Beat) -> None:
    _forward(motion, 0.9 * beat.size * beat.pulse())


def _bend(motion: Motion, beat: Beat) -> None:
    """Bends down to the feet and rises."""
    down = beat.pulse()
    _forward(motion, 1.95 * min(beat.size, 1.05) * down)
    motion.pelvis[:, 1] -= (0.02 + 0.2 * beat.variant) * down


def _stooped(motion: Motion, beat: Beat) -> None:
    _forward(motion, 0.6 + 0.05 * beat.wave())


def _flat(motion: Motion, beat: Beat) -> None:
    """Keeps the back level."""
    _forward(motion, 1.35 + 0.04 * beat.wave())


def _lean_side(motion: Motion, beat: Beat) -> None:
    amount = 0.5 * beat.size * (beat.wave() if beat.variant < 0.5 else beat.pulse())
    motion.lean[:, 1] += 0.3 * amount
    motion.spine[:, 1] += 0.7 * amount


def _twist(motion: Motion, beat: Beat) -> None:
    amount = 0.75 * beat.size * beat.wave()
    motion.lean[:, 2] += 0.35 * amount
    motion.spine[:, 2] += 0.65 * amount
    motion.head[:, 2] -= 0.3 * amount


def _lean_back(motion: Motion, beat: Beat) -> None:
    amount = 0.45 * beat.size * beat.pulse()
    motion.spine[:, 0] -= amount
    motion.lean[:, 0] -= 0.3 * amount
    motion.pelvis[:, 2] += 0.12 * amount


def _circle(motion: Motion, beat: Beat) -> None:
    """Circles the hips."""
    motion.pelvis[:, 0] += 0.12 * beat.size * beat.wave()
    motion.pelvis[:, 2] += 0.12 * beat.size * beat.wave(0.25)
    motion.spine[:, 1] += 0.2 * beat.size * beat.wave()
    motion.spine[:, 0] += 0.2 * beat.size * beat.wave(0.25)


def _nod(motion: Motion, beat: Beat) -> None:
    motion.head[:, 0] += 0.4 * beat.size * beat.pulse()


def _look_around(motion: Motion, beat: Beat) -> None:
    motion.head[:, 2] += 0.9 * beat.size * beat.wave()
    motion.spine[:, 2] += 0.15 * beat.size * beat.wave()


def _whip(motion: Motion, beat: Beat) -> None:
    """Turns back and then quickly forward, as in a throw or a stroke with the right arm."""
    share = beat.share()
    wind = np.exp(-(((share - 0.33) / 0.13) ** 2)) - np.exp(-(((share - 0.6) / 0.12) ** 2))
    motion.spine[:, 2] -= 0.6 * beat.size * wind
    motion.lean[:, 2] -= 0.25 * beat.size * wind
    motion.lean[:, 0] -= 0.14 * wind


TRUNKS: Mapping[str, Trunk] = {
    "upright": Trunk(_upright, 0.3),
    "bow": Trunk(_bow, 0.45),
    "bend": Trunk(_bend, 0.4, deep=True),
    "stooped": Trunk(_stooped, 0.3),
    "flat": Trunk(_flat, 0.3, deep=True),
    "lean_side": Trunk(_lean_side, 0.45),
    "twist": Trunk(_twist, 0.6),
    "lean_back": Trunk(_lean_back, 0.4),
    "circle": Trunk(_circle, 0.6),
    "nod": Trunk(_nod, 0.9),
    "look_around": Trunk(_look_around, 0.4),
    "whip": Trunk(_whip, 0.5),
}
