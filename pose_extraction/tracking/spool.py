"""Arrays that move from memory to a temporary file when there are many."""

import io
import tempfile
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np

from pose_extraction.cache import default_cache_dir

# Bytes that a spool keeps in memory.
HELD = 16 << 20


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


class Spool:
    """Keeps arrays that are written once, and reads them one at a time.

    The file has no name, so that it disappears with the process. It is in the cache folder, because the folder for
    temporary files is often in memory.

    Args:
        held: Number of bytes that stay in memory; more of them go to the file.
    """

    def __init__(self, held: int = HELD) -> None:
        self._held = held
        self._file: BinaryIO = io.BytesIO()
        self._in_memory = True

    def add(self, array: np.ndarray) -> Stored:
        """Store an array of numbers or booleans; return where it is.

        Raises:
            OSError: The file cannot be written.
        """
        start = self._file.seek(0, io.SEEK_END)
        if self._in_memory and start + array.nbytes > self._held:
            self._move_to_file()
        self._file.write(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
        return Stored(start, array.shape, array.dtype)

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

    def _move_to_file(self) -> None:
        assert isinstance(self._file, io.BytesIO)
        folder = default_cache_dir()
        folder.mkdir(parents=True, exist_ok=True)
        file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 - open as long as the spool
        file.write(self._file.getbuffer())
        self._file, self._in_memory = file, False
