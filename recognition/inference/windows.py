"""Actions over time: sliding windows over the skeletons of a person, merged into segments with one action.

Time is divided into cells, `CELLS` per window, and a window starts at every cell. The probabilities of a cell are the
mean over all windows that cover it. Neighbouring cells with the same predicted class form a segment. Memory does not
grow with the length of the video: a cell is settled as soon as the last window that covers it has been evaluated.
"""

from collections.abc import Hashable, Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np

from recognition.confidence.confidence import Rejection

CELLS = 4
# A window is skipped for a person who is seen in a smaller share of its frames.
LEAST_SEEN = 0.5
# Tolerance for times at the border of a cell, as a share of a cell: times are multiples of the frame duration plus
# rounding errors.
ROUNDING = 1e-6
# Name in place of a class if the action is unknown.
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
        unknown: Mean of their unknown scores.
        start: Time in seconds of the first frame of the cell in which the person was seen.
        end: Time in seconds at which the last such frame ends.
    """

    person: Person
    cell: int
    probabilities: np.ndarray
    unknown: float
    start: float
    end: float


@dataclass(frozen=True)
class Segment(Generic[Person]):
    """A period of time in which a person has one predicted class.

    Args:
        person: Key of the person.
        start: Time in seconds of the first frame.
        end: Time in seconds at which the last frame ends.
        number: Class; None if the action is unknown.
        probabilities: float64 (K,), mean over the segment's cells.
        unknown: Mean of their unknown scores.
    """

    person: Person
    start: float
    end: float
    number: int | None
    probabilities: np.ndarray
    unknown: float


@dataclass(frozen=True)
class _Sum:
    """Sum over several predictions of one person, the number of predictions, and the time that they cover."""

    probabilities: np.ndarray
    unknown: float
    count: int
    start: float
    end: float

    def plus(self, probabilities: np.ndarray, unknown: float, start: float, end: float) -> "_Sum":
        return _Sum(self.probabilities + probabilities, self.unknown + unknown, self.count + 1, start, end)


class Timeline(Generic[Person]):
    """Accumulates the predictions of windows, in the order of their starts, and yields cells that are settled."""

    def __init__(self) -> None:
        self._open: dict[tuple[int, Person], _Sum] = {}

    def add(
        self,
        person: Person,
        probabilities: np.ndarray,
        unknown: np.ndarray,
        *,
        cells: np.ndarray,
        start: np.ndarray,
        end: np.ndarray,
    ) -> None:
        """Add the prediction of one window.

        Args:
            person: Key of the person.
            probabilities: (C, K), for each cell of the window in which the person was seen.
            unknown: (C,), unknown scores.
            cells: int64 (C,), numbers of these cells.
            start: (C,), time in seconds of the first frame in each cell in which the person was seen.
            end: (C,), time in seconds at which the last such frame ends.
        """
        rows = zip(cells.tolist(), start.tolist(), end.tolist(), probabilities, unknown.tolist(), strict=True)
        for cell, first, last, own, score in rows:
            total = self._open.get((cell, person)) or _Sum(np.zeros(len(own)), 0.0, 0, first, last)
            self._open[cell, person] = total.plus(own, score, first, last)

    def settled(self, before: int) -> Iterator[Cell[Person]]:
        """Yield the cells below a number, in order. Call this when no further window covers them."""
        for key in sorted((key for key in self._open if key[0] < before), key=lambda key: key[0]):
            total = self._open.pop(key)
            mean, unknown = total.probabilities / total.count, total.unknown / total.count
            yield Cell(key[1], key[0], mean, unknown, total.start, total.end)


class Joiner(Generic[Person]):
    """Joins neighbouring cells of a person that have the same predicted class.

    Args:
        rejection: When the action in a cell is unknown.
    """

    def __init__(self, rejection: Rejection) -> None:
        self._rejection = rejection
        # By person: number of the newest cell, class, and the sum over the cells.
        self._open: dict[Person, tuple[int, int | None, _Sum]] = {}

    def answer(self, probabilities: np.ndarray, unknown: float) -> int | None:
        """Return the most probable class; None if the action is unknown."""
        best = int(probabilities.argmax())
        return None if self._rejection.applies_to(float(probabilities[best]), unknown) else best

    def add(self, cell: Cell[Person]) -> Segment[Person] | None:
        """Add a person's next cell; return the segment that it completes, if any."""
        number = self.answer(cell.probabilities, cell.unknown)
        before = self._open.get(cell.person)
        if before is not None and before[:2] == (cell.cell - 1, number):
            total = before[2].plus(cell.probabilities, cell.unknown, before[2].start, cell.end)
            self._open[cell.person] = (cell.cell, number, total)
            return None
        total = _Sum(cell.probabilities, cell.unknown, 1, cell.start, cell.end)
        self._open[cell.person] = (cell.cell, number, total)
        return None if before is None else self._segment(cell.person, *before[1:])

    def ended(self, before: int | None = None) -> Iterator[Segment[Person]]:
        """Yield segments of persons without a cell from `before` - 1 on; with None, all segments that are open."""
        for person in [who for who, held in self._open.items() if before is None or held[0] < before - 1]:
            yield self._segment(person, *self._open.pop(person)[1:])

    @staticmethod
    def _segment(person: Person, number: int | None, total: _Sum) -> Segment[Person]:
        mean, unknown = total.probabilities / total.count, total.unknown / total.count
        return Segment(person, total.start, total.end, number, mean, unknown)
