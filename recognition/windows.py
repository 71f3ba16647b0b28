"""Actions over time: windows that slide over somebody's skeletons, and the stretches of one action that they make.

Time is parted into cells, `CELLS` of them a window, so that a window begins with every cell. What somebody does in a
cell is the mean of the probabilities of all windows that cover it; neighbouring cells with one answer are a segment.
Nothing here grows with the length of a video: a cell is settled as soon as the last window that covers it is known.
"""

from collections.abc import Hashable, Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np

CELLS = 4
# Somebody who is seen in a smaller share of a window's frames is not asked of in it.
LEAST_SEEN = 0.5
# Share of a cell by which a time may miss its border: it is a multiple of a frame's duration but for rounding.
ROUNDING = 1e-6
# In place of an action that is not likely enough.
UNKNOWN = "unknown"

Person = TypeVar("Person", bound=Hashable)


@dataclass(frozen=True, slots=True)
class Grid:
    """Windows of `seconds`, one for each cell of a video.

    Args:
        seconds: Length of a window, above 0.
    """

    seconds: float

    @property
    def step(self) -> float:
        """Seconds of a cell."""
        return self.seconds / CELLS

    def cell_of(self, time: np.ndarray | float) -> np.ndarray:
        """int64, the cells that times lie in."""
        return np.floor(np.asarray(time, np.float64) / self.step + ROUNDING).astype(np.int64)

    def start_of(self, cell: int) -> float:
        """Seconds at which a cell, and the window that begins with it, starts."""
        return cell * self.step

    def bounds(self, cell: int) -> tuple[float, float]:
        """Seconds from which on, and before which, frames lie in the window that begins with a cell."""
        return (cell - ROUNDING) * self.step, (cell + CELLS - ROUNDING) * self.step

    def rows_of(self, time: np.ndarray, cell: int) -> slice:
        """Which of rising times (T,) lie in the window that begins with a cell."""
        cells = self.cell_of(time)
        return slice(int(np.searchsorted(cells, cell)), int(np.searchsorted(cells, cell + CELLS)))


@dataclass(frozen=True)
class Cell(Generic[Person]):
    """What somebody does in one cell.

    Args:
        person: Who.
        cell: Number of the cell.
        probabilities: float64 (K,), mean over the windows that cover it.
        start: Seconds of the first frame in it in which the person was seen.
        end: Seconds of the end of the last such frame.
    """

    person: Person
    cell: int
    probabilities: np.ndarray
    start: float
    end: float


@dataclass(frozen=True)
class Segment(Generic[Person]):
    """A stretch of time with one answer.

    Args:
        person: Whose.
        start: Seconds of its first frame.
        end: Seconds of the end of its last frame.
        number: Class; None for an action that is not likely enough.
        probabilities: float64 (K,), mean over its cells.
    """

    person: Person
    start: float
    end: float
    number: int | None
    probabilities: np.ndarray


class Timeline(Generic[Person]):
    """Collects the answers of windows, in the order of their starts, and gives back cells that are settled."""

    def __init__(self) -> None:
        self._open: dict[tuple[int, Person], tuple[np.ndarray, int, float, float]] = {}

    def add(
        self, person: Person, probabilities: np.ndarray, cells: np.ndarray, start: np.ndarray, end: np.ndarray
    ) -> None:
        """Counts one window's answer.

        Args:
            person: Who was asked of.
            probabilities: (K,) of the window, or (C, K) of each of its cells.
            cells: int64 (C,), the window's cells in which the person was seen.
            start: (C,) seconds of the first frame of each of them in which the person was seen.
            end: (C,) seconds of the end of the last one.
        """
        of_cells = np.broadcast_to(probabilities, (len(cells), probabilities.shape[-1]))
        for cell, first, last, own in zip(cells.tolist(), start.tolist(), end.tolist(), of_cells, strict=True):
            total, count, _, _ = self._open.get((cell, person), (np.zeros(len(own)), 0, first, last))
            self._open[cell, person] = (total + own, count + 1, first, last)

    def settled(self, before: int) -> Iterator[Cell[Person]]:
        """The cells below a number, in their order; call it when no further window covers them."""
        for key in sorted((key for key in self._open if key[0] < before), key=lambda key: key[0]):
            total, count, start, end = self._open.pop(key)
            yield Cell(key[1], key[0], total / count, start, end)


class Joiner(Generic[Person]):
    """Joins neighbouring cells of one person with one answer.

    Args:
        threshold: Cells whose likeliest action is less probable than this are unknown.
    """

    def __init__(self, threshold: float) -> None:
        self._threshold = threshold
        self._open: dict[Person, tuple[int, int | None, float, float, np.ndarray, int]] = {}

    def answer(self, probabilities: np.ndarray) -> int | None:
        """The likeliest class, or None where it is not likely enough."""
        best = int(probabilities.argmax())
        return best if probabilities[best] >= self._threshold else None

    def add(self, cell: Cell[Person]) -> Segment[Person] | None:
        """Counts a person's next cell; gives the segment that ends with it, if one does."""
        number = self.answer(cell.probabilities)
        before = self._open.get(cell.person)
        if before is not None and before[0] == cell.cell - 1 and before[1] == number:
            _, _, start, _, total, count = before
            self._open[cell.person] = (cell.cell, number, start, cell.end, total + cell.probabilities, count + 1)
            return None
        self._open[cell.person] = (cell.cell, number, cell.start, cell.end, cell.probabilities, 1)
        return None if before is None else self._segment(cell.person, before)

    def ended(self, before: int | None = None) -> Iterator[Segment[Person]]:
        """Segments whose persons have no cell from `before` - 1 on; None: all that are open, as at the end."""
        for person in [who for who, held in self._open.items() if before is None or held[0] < before - 1]:
            yield self._segment(person, self._open.pop(person))

    @staticmethod
    def _segment(person: Person, held: tuple[int, int | None, float, float, np.ndarray, int]) -> Segment[Person]:
        _, number, start, end, total, count = held
        return Segment(person, start, end, number, total / count)
