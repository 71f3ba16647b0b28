"""Actions over time: sliding windows over the skeletons of a person, merged into segments with one action.

Time is divided into cells, `CELLS` per window, and a window starts at every cell. The probabilities of a cell are the
mean over all windows that cover it. Neighbouring cells with the same predicted class form a segment. Memory does not
grow with the length of the video: a cell is settled as soon as the last window that covers it has been evaluated.
"""

from collections.abc import Hashable, Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np

CELLS = 4
# A window is skipped for a person who is seen in a smaller share of its frames.
LEAST_SEEN = 0.5
# Tolerance for times at the border of a cell, as a share of a cell: times are multiples of the frame duration plus
# rounding errors.
ROUNDING = 1e-6
# Name in place of a class whose probability is below the threshold.
UNKNOWN = "unknown"

Person = TypeVar("Person", bound=Hashable)


@dataclass(frozen=True, slots=True)
class Grid:
    """Windows of a fixed duration, one starting at every cell of a video.

    Args:
        seconds: Duration of a window, above 0.
    """

    seconds: float

    @property
    def step(self) -> float:
        """Duration of a cell in seconds."""
        return self.seconds / CELLS

    def cell_of(self, time: np.ndarray | float) -> np.ndarray:
        """Return the numbers of the cells that contain the times in seconds, int64."""
        return np.floor(np.asarray(time, np.float64) / self.step + ROUNDING).astype(np.int64)

    def start_of(self, cell: int) -> float:
        """Return the time in seconds at which a cell, and the window that starts there, begins."""
        return cell * self.step

    def bounds(self, cell: int) -> tuple[float, float]:
        """Return the interval [start, end) in seconds of the frames in the window that starts at a cell."""
        return (cell - ROUNDING) * self.step, (cell + CELLS - ROUNDING) * self.step

    def rows_of(self, time: np.ndarray, cell: int) -> slice:
        """Return the slice of rising times (T,), in seconds, that lie in the window that starts at a cell."""
        cells = self.cell_of(time)
        return slice(int(np.searchsorted(cells, cell)), int(np.searchsorted(cells, cell + CELLS)))


@dataclass(frozen=True)
class Cell(Generic[Person]):
    """Prediction for one person in one cell.

    Args:
        person: Key of the person.
        cell: Number of the cell.
        probabilities: float64 (K,), mean over the windows that cover the cell.
        start: Time in seconds of the first frame of the cell in which the person was seen.
        end: Time in seconds at which the last such frame ends.
    """

    person: Person
    cell: int
    probabilities: np.ndarray
    start: float
    end: float


@dataclass(frozen=True)
class Segment(Generic[Person]):
    """A period of time in which a person has one predicted class.

    Args:
        person: Key of the person.
        start: Time in seconds of the first frame.
        end: Time in seconds at which the last frame ends.
        number: Class; None if no class is probable enough.
        probabilities: float64 (K,), mean over the segment's cells.
    """

    person: Person
    start: float
    end: float
    number: int | None
    probabilities: np.ndarray


class Timeline(Generic[Person]):
    """Accumulates the predictions of windows, in the order of their starts, and yields cells that are settled."""

    def __init__(self) -> None:
        self._open: dict[tuple[int, Person], tuple[np.ndarray, int, float, float]] = {}

    def add(
        self, person: Person, probabilities: np.ndarray, cells: np.ndarray, start: np.ndarray, end: np.ndarray
    ) -> None:
        """Add the prediction of one window.

        Args:
            person: Key of the person.
            probabilities: (K,) for the window, or (C, K) for each of its cells.
            cells: int64 (C,), cells of the window in which the person was seen.
            start: (C,), time in seconds of the first frame in each cell in which the person was seen.
            end: (C,), time in seconds at which the last such frame ends.
        """
        of_cells = np.broadcast_to(probabilities, (len(cells), probabilities.shape[-1]))
        for cell, first, last, own in zip(cells.tolist(), start.tolist(), end.tolist(), of_cells, strict=True):
            total, count, _, _ = self._open.get((cell, person), (np.zeros(len(own)), 0, first, last))
            self._open[cell, person] = (total + own, count + 1, first, last)

    def settled(self, before: int) -> Iterator[Cell[Person]]:
        """Yield the cells below a number, in order. Call this when no further window covers them."""
        for key in sorted((key for key in self._open if key[0] < before), key=lambda key: key[0]):
            total, count, start, end = self._open.pop(key)
            yield Cell(key[1], key[0], total / count, start, end)


class Joiner(Generic[Person]):
    """Joins neighbouring cells of a person that have the same predicted class.

    Args:
        threshold: Cells whose most probable class is below this probability are unknown, in [0, 1].
    """

    def __init__(self, threshold: float) -> None:
        self._threshold = threshold
        self._open: dict[Person, tuple[int, int | None, float, float, np.ndarray, int]] = {}

    def answer(self, probabilities: np.ndarray) -> int | None:
        """Return the most probable class; None if its probability is below the threshold."""
        best = int(probabilities.argmax())
        return best if probabilities[best] >= self._threshold else None

    def add(self, cell: Cell[Person]) -> Segment[Person] | None:
        """Add a person's next cell; return the segment that it completes, if any."""
        number = self.answer(cell.probabilities)
        before = self._open.get(cell.person)
        if before is not None and before[0] == cell.cell - 1 and before[1] == number:
            _, _, start, _, total, count = before
            self._open[cell.person] = (cell.cell, number, start, cell.end, total + cell.probabilities, count + 1)
            return None
        self._open[cell.person] = (cell.cell, number, cell.start, cell.end, cell.probabilities, 1)
        return None if before is None else self._segment(cell.person, before)

    def ended(self, before: int | None = None) -> Iterator[Segment[Person]]:
        """Yield segments of persons without a cell from `before` - 1 on; with None, all segments that are open."""
        for person in [who for who, held in self._open.items() if before is None or held[0] < before - 1]:
            yield self._segment(person, self._open.pop(person))

    @staticmethod
    def _segment(person: Person, held: tuple[int, int | None, float, float, np.ndarray, int]) -> Segment[Person]:
        _, number, start, end, total, count = held
        return Segment(person, start, end, number, total / count)
