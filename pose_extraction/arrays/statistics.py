"""Median and mean of many values, the same bit for bit whether they are in memory or in a file.

Values in a file (see `arrays.mapped`) are read in blocks.
"""

import numpy as np

from pose_extraction.arrays.mapped import is_mapped, new_array, release

# Number of values that are read at a time.
VALUES = 1 << 16


class Values:
    """Collects numbers for statistics.

    Args:
        most: Largest number of values.
        dtype: Type of the values: float32 or float64.
    """

    def __init__(self, most: int, dtype: type[np.floating] = np.float64) -> None:
        self._array = new_array((most,), dtype)
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def add(self, values: np.ndarray) -> None:
        """Add values (N,), none of them NaN."""
        self._array[self._count : self._count + len(values)] = values
        self._count += len(values)
        release(self._array)

    def subtract(self, number: float) -> None:
        """Replace all values by their distances from a number."""
        for first in range(0, self._count, VALUES):
            some = self._array[first : min(first + VALUES, self._count)]
            np.abs(np.subtract(some, number, out=some), out=some)
            release(self._array)

    def median(self) -> float:
        """Return the median of at least one value, all of them float64 and >= 0; their order is lost."""
        values = self._array[: self._count]
        if not is_mapped(values):
            return float(np.median(values, overwrite_input=True))
        return 0.5 * (self._ordered((self._count - 1) // 2) + self._ordered(self._count // 2))

    def mean(self) -> float:
        """Return the mean of at least one value; see `numpy.mean`."""
        values = self._array[: self._count]
        if not is_mapped(values):
            return float(values.mean())
        return float(self._sum(0, self._count) / values.dtype.type(self._count))

    def _ordered(self, rank: int) -> float:
        """Return the value with this number in ascending order."""
        # The bits of floating-point numbers >= 0 sort like the numbers. Each round finds 16 of the 64 bits.
        digits = 0
        for shift in (48, 32, 16, 0):
            counts = np.zeros(1 << 16, np.int64)
            for first in range(0, self._count, VALUES):
                bits = self._array[first : min(first + VALUES, self._count)].view(np.int64) >> shift
                counts += np.bincount(bits[bits >> 16 == digits] & 0xFFFF, minlength=1 << 16)
                release(self._array)
            below = counts.cumsum()
            digit = int(np.searchsorted(below, rank, side="right"))
            rank -= int(below[digit] - counts[digit])
            digits = digits << 16 | digit
        return float(np.int64(digits).view(np.float64))

    def _sum(self, first: int, stop: int) -> np.floating:
        """Return the sum of some values, which are halved like in NumPy's pairwise summation."""
        if stop - first <= VALUES:
            total: np.floating = np.add.reduce(self._array[first:stop])
            release(self._array)
            return total
        half = (stop - first) // 2
        middle = first + half - half % 8
        return self._sum(first, middle) + self._sum(middle, stop)
