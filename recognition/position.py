"""Where a run is: all that the loop remembers beside weights, optimiser and random states."""

from dataclasses import dataclass
from typing import Any


@dataclass
class Position:
    """Counts of epochs and steps from the beginning, and sums of the epoch so far."""

    epoch: int = 0
    step_in_epoch: int = 0
    step: int = 0
    # Of the epoch so far.
    clips: float = 0
    correct: float = 0
    loss: float = 0
    # Of the best epoch so far, and of the last one.
    best: dict[str, float] | None = None
    held_out: dict[str, float] | None = None
    epochs_without_gain: int = 0
    finished: bool = False

    def told(self) -> dict[str, Any]:
        """What every run file says of it."""
        return {"epoch": self.epoch, "step": self.step, "held_out": self.held_out}
