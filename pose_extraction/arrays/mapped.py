"""Arrays that are in a temporary file when they are large.

All code can use such an array like any other: the system reads a page of the file when it is used, and keeps it in the
memory of the process. `release` takes the pages out of it again; `row_blocks` does so after each block of rows.

Each array in a file keeps a file descriptor open until it is garbage. If a process is forked, what the child writes to
such an array is visible in the parent.
"""

import math
import mmap
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import DTypeLike

from pose_extraction.cache import default_cache_dir

# Arrays of at least this many bytes are in files.
LARGE = 1 << 20
# Number of rows that are used at a time.
BLOCK = 4096
# Number of zeros that are written at a time.
_ZEROS = 1 << 20


def temporary_file() -> tuple[BinaryIO, Path]:
    """Open a file without a name, which disappears with the process; return it and its folder.

    It is in the cache folder, because the folder for temporary files is often in memory. That folder is used only if
    the cache folder cannot be written to.

    Raises:
        OSError: The file can be created in neither of them.
    """
    folder = default_cache_dir()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        return tempfile.TemporaryFile(dir=folder), folder
    except OSError:
        with storing_in(folder):
            return tempfile.TemporaryFile(), Path(tempfile.gettempdir())


@contextmanager
def storing_in(folder: Path) -> Iterator[None]:
    """Errors of the system in this block state which folder is full or cannot be written to, and what helps.

    Args:
        folder: Contains the temporary file that is written.

    Raises:
        OSError: The error with this message.
    """
    try:
        yield
    except OSError as error:
        message = (
            f"cannot store temporary arrays in {folder} ({error.strerror}); free space there or set SKELPIPE_CACHE"
        )
        raise OSError(error.errno, message) from error


def new_array(shape: tuple[int, ...], dtype: DTypeLike) -> np.ndarray:
    """Return an array of zeros, which is in a file if it is large.

    Args:
        shape: Shape of the array.
        dtype: Its type: numbers or booleans.

    Raises:
        OSError: The file cannot be created, or the disk is full.
    """
    size = math.prod(shape) * np.dtype(dtype).itemsize
    if not size or size < LARGE:
        return np.zeros(shape, dtype)
    file, folder = temporary_file()
    with storing_in(folder), file:
        _reserve(file, size)
        return map_array(file, 0, shape, dtype, writable=True)


def _reserve(file: BinaryIO, size: int) -> None:
    """Fill an empty file with zeros that have a place on the disk.

    Without it, the system would end the process when it uses the array on a full disk.
    """
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(file.fileno(), 0, size)
        return
    for start in range(0, size, _ZEROS):
        file.write(bytes(min(_ZEROS, size - start)))
    file.flush()


def map_array(
    file: BinaryIO, start: int, shape: tuple[int, ...], dtype: DTypeLike, *, writable: bool = False
) -> np.ndarray:
    """Return the array at a position of a file. The file may be closed afterwards.

    Args:
        file: Contains the array from `start` on.
        start: Position in bytes, a multiple of the size of an element.
        shape: Shape of the array, with at least one element.
        dtype: Its type.
        writable: Whether changes of the array go to the file; otherwise, it is read-only.
    """
    count = math.prod(shape)
    before = start % mmap.ALLOCATIONGRANULARITY
    mapping = mmap.mmap(
        file.fileno(),
        before + count * np.dtype(dtype).itemsize,
        access=mmap.ACCESS_WRITE if writable else mmap.ACCESS_READ,
        offset=start - before,
    )
    return np.frombuffer(mapping, dtype, count, before).reshape(shape)


def is_mapped(array: np.ndarray) -> bool:
    """Return whether an array is in a file."""
    return _mapping_of(array) is not None


def release(*arrays: np.ndarray) -> None:
    """Take the pages of arrays in files, or of the arrays that they are parts of, out of the memory of the process."""
    for array in arrays:
        mapping = _mapping_of(array)
        if mapping is not None and hasattr(mmap, "MADV_DONTNEED"):
            mapping.madvise(mmap.MADV_DONTNEED)


def row_blocks(length: int, *arrays: np.ndarray) -> Iterator[slice]:
    """Yield blocks of at most `BLOCK` rows, at least one block; after each, release arrays.

    Args:
        length: Number of rows.
        arrays: Arrays whose rows are used; those in memory are left as they are.
    """
    for first in range(0, max(length, 1), BLOCK):
        yield slice(first, max(min(first + BLOCK, length), first))
        release(*arrays)


def _mapping_of(array: np.ndarray) -> mmap.mmap | None:
    base: Any = array
    while isinstance(base, np.ndarray):
        base = base.base
    if isinstance(base, memoryview):
        base = base.obj
    return base if isinstance(base, mmap.mmap) else None
