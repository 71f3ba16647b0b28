"""Position of a run: the counters that are saved in addition to weights, optimiser and random states."""

from dataclasses import dataclass
from typing import Any


@dataclass
class Position:
    """Numbers of epochs and steps since the start, and running sums of the current epoch."""

    epoch: int = 0
    step_in_epoch: int = 0
    step: int = 0
    # Sums over the current epoch.
    clips: float = 0
    correct: float = 0
    loss: float = 0
    # Measures of the best epoch so far, and of the most recent one.
    best: dict[str, float] | None = None
    held_out: dict[str, float] | None = None
    epochs_without_gain: int = 0
    finished: bool = False

    def add_step(self, *, clips: float, correct: float, loss: float) -> None:
        """Count a completed step.

        Args:
            clips: Number of clips in the step.
            correct: How many of them were classified correctly.
            loss: Mean loss of the clips.
        """
        self.step += 1
        self.step_in_epoch += 1
        self.clips += clips
        self.correct += correct
        self.loss += loss * clips

    def begin_next_epoch(self) -> None:
        """Move to the start of the next epoch."""
        self.epoch, self.step_in_epoch = self.epoch + 1, 0
        self.clips = self.correct = self.loss = 0

    def for_run_file(self) -> dict[str, Any]:
        """Return the fields that every run file contains."""
        return {"epoch": self.epoch, "step": self.step, "held_out": self.held_out}
