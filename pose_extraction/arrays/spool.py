"""Arrays that move from memory to a temporary file when there are many."""

import io
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

from pose_extraction.arrays import mapped
from pose_extraction.arrays.mapped import map_array, storing_in, temporary_file

# Bytes that a spool keeps in memory.
HELD = 16 << 20
# Arrays start at multiples of this many bytes, so that processors read them fast.
_ALIGNMENT = 64


@dataclass(frozen=True, slots=True)
class Stored:
    """Where a spool keeps an array.

    Args:
        start: Position of the first byte.
        shape: Shape of the array.
        dtype: Its type.
    """

    start: int
    shape: tuple[int, ...]
    dtype: np.dtype

    @property
    def nbytes(self) -> int:
        """Number of bytes of the array."""
        return int(np.prod(self.shape, dtype=np.int64)) * self.dtype.itemsize


class Spool:
    """Keeps arrays that are written once, and reads them one at a time.

    Args:
        held: Number of bytes that stay in memory; more of them go to a file, see `temporary_file`.
    """

    def __init__(self, held: int = HELD) -> None:
        self._held = held
        self._file: BinaryIO = io.BytesIO()
        # Folder of the file; None in memory.
        self._folder: Path | None = None
        self._end = 0

    def add(self, array: np.ndarray) -> Stored:
        """Store an array of numbers or booleans, of any shape; return where it is.

        Raises:
            OSError: The file cannot be written.
        """
        stored = self.reserve(array.shape, array.dtype)
        self.write(stored, 0, array)
        return stored

    def reserve(self, shape: tuple[int, ...], dtype: np.dtype) -> Stored:
        """Return a place for an array, all of whose rows are written later.

        Raises:
            OSError: The file cannot be created or written.
        """
        stored = Stored(-(-self._end // _ALIGNMENT) * _ALIGNMENT, shape, dtype)
        self._end = stored.start + stored.nbytes
        if self._folder is None and self._end > self._held:
            self._move_to_file()
        return stored

    def write(self, stored: Stored, first: int, rows: np.ndarray) -> None:
        """Write rows of an array.

        Args:
            stored: Where the array is.
            first: Number of the first row.
            rows: The rows.

        Raises:
            OSError: The file cannot be written.
        """
        if not rows.size:
            return
        with nullcontext() if self._folder is None else storing_in(self._folder):
            self._file.seek(stored.start + first * (stored.nbytes // stored.shape[0]))
            self._file.write(np.ascontiguousarray(rows, stored.dtype).reshape(-1).view(np.uint8).data)
            # A full disk is an error of this write, and not of a later read.
            self._file.flush()

    def read(self, stored: Stored) -> np.ndarray:
        """Return a copy of an array.

        Raises:
            OSError: The file cannot be read, or is shorter than it was.
        """
        array = np.empty(stored.shape, stored.dtype)
        if not array.size:
            return array
        self._file.seek(stored.start)
        content = array.reshape(-1).view(np.uint8).data
        if self._file.readinto(content) != len(content):  # type: ignore[attr-defined]
            raise OSError("a temporary file in the cache folder has been cut off; run the command again")
        return array

    def open(self, stored: Stored) -> np.ndarray:
        """Return an array as it is in the file, or a copy if it is small or in memory; both are read-only.

        Raises:
            OSError: The file cannot be read.
        """
        if self._folder is None or not stored.nbytes or stored.nbytes < mapped.LARGE:
            array = self.read(stored)
            array.setflags(write=False)
            return array
        return map_array(self._file, stored.start, stored.shape, stored.dtype)

    def _move_to_file(self) -> None:
        assert isinstance(self._file, io.BytesIO)
        file, folder = temporary_file()
        with storing_in(folder):
            file.write(self._file.getbuffer())
            file.flush()
        self._file, self._folder = file, folder
