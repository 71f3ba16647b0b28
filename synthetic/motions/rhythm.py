"""The rhythm of a movement: at which point of its cycle it is, and how large it is."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Beat:
    """Progress of a repeated movement over T frames.

    Args:
        turns: (T,), cycles since the first rest; the movement is at rest at integers.
        size: Factor of the range of the movement.
        variant: In [0, 1), chooses a variant of the movement.
    """

    turns: np.ndarray
    size: float
    variant: float

    def share(self, phase: float = 0.0) -> np.ndarray:
        """Return the position (T,) in the cycle, in [0, 1)."""
        return (self.turns + phase) % 1

    def wave(self, phase: float = 0.0, times: float = 1.0) -> np.ndarray:
        """Return a sine (T,) in [-1, 1]; `phase` in turns, `times` in periods per cycle."""
        return np.sin(2 * np.pi * (times * self.turns + phase))

    def pulse(self, phase: float = 0.0, times: float = 1.0) -> np.ndarray:
        """Return a pulse (T,) in [0, 1] from rest to full and back."""
        return 0.5 - 0.5 * np.cos(2 * np.pi * (times * self.turns + phase))

    def bump(self, start: float, stop: float) -> np.ndarray:
        """Return a parabola (T,) that rises from 0 to 1 and back between two shares of the cycle, 0 elsewhere."""
        inside = np.clip((self.share() - start) / (stop - start), 0, 1)
        return 4 * inside * (1 - inside)

    def late(self, phase: float) -> "Beat":
        """Return the same beat, ahead by a phase in turns."""
        return Beat(self.turns + phase, self.size, self.variant)


@dataclass(frozen=True)
class Pace:
    """How a person performs: speed, range and repetition.

    Args:
        tempo: Factor of the usual frequency.
        size: Factor of the range.
        phase: First position in the cycle, in turns.
        once: Whether the movement happens once in a clip instead of all the time.
        onset: For `once`, its start in seconds.
        drift: Relative change of the frequency within a clip, at `slow` hertz.
        slow: Frequency of that change, in hertz.
        variant: In [0, 1), chooses a variant of the movement.
    """

    tempo: float
    size: float
    phase: float
    once: bool
    onset: float
    drift: float
    slow: float
    variant: float

    def beat(self, time: np.ndarray, hertz: float, *, repeats: bool = False) -> Beat:
        """Return the beat of a movement.

        Args:
            time: (T,), seconds from 0.
            hertz: Usual cycles per second.
            repeats: Whether the movement goes on even for a pace that performs it once, such as walking.
        """
        rate = hertz * self.tempo
        if self.once and not repeats:
            turns = np.clip((time - self.onset) * rate, 0, 1)
        else:
            swing = self.drift * np.sin(2 * np.pi * (self.slow * time + self.phase)) / (2 * np.pi * self.slow)
            turns = rate * (time + swing) + self.phase
        return Beat(turns, self.size, self.variant)


def draw_pace(random: np.random.Generator, seconds: float) -> Pace:
    """Draw a pace for a clip of some seconds."""
    return Pace(
        tempo=float(np.exp(random.normal(0, 0.3))),
        size=float(random.uniform(0.7, 1.2)),
        phase=float(random.random()),
        once=bool(random.random() < 0.3),
        onset=float(random.uniform(0, 0.4) * seconds),
        drift=float(random.uniform(0, 0.25)),
        slow=float(random.uniform(0.1, 0.5)),
        variant=float(random.random()),
    )
