"""Arrays that are in a temporary file when they are large.

All code can use such an array like any other: the system reads a page of the file when it is used, and keeps it in the
memory of the process. `release` takes the pages out of it again; `row_blocks` does so after each block of rows.
"""

import math
import mmap
import os
import tempfile
from collections.abc import Iterator
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import DTypeLike

from pose_extraction.cache import default_cache_dir

# Arrays of at least this many bytes are in files.
LARGE = 1 << 20
# Number of rows that are used at a time.
BLOCK = 4096


def temporary_file() -> BinaryIO:
    """Open a file without a name, which disappears with the process.

    It is in the cache folder, because the folder for temporary files is often in memory.

    Raises:
        OSError: The file cannot be created.
    """
    folder = default_cache_dir()
    folder.mkdir(parents=True, exist_ok=True)
    return tempfile.TemporaryFile(dir=folder)


def new_array(shape: tuple[int, ...], dtype: DTypeLike) -> np.ndarray:
    """Return an array of zeros, which is in a file if it is large.

    Args:
        shape: Shape of the array.
        dtype: Its type: numbers or booleans.

    Raises:
        OSError: The file cannot be created, or the disk is full.
    """
    size = math.prod(shape) * np.dtype(dtype).itemsize
    if size < max(LARGE, 1):
        return np.zeros(shape, dtype)
    with temporary_file() as file:
        if hasattr(os, "posix_fallocate"):
            # Without the space, the process would be killed when it uses the array on a full disk.
            os.posix_fallocate(file.fileno(), 0, size)
        else:
            file.truncate(size)
        return map_array(file, 0, shape, dtype, writable=True)


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
