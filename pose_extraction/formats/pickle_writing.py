"""Deterministic writing of pickles of arrays and plain containers.

Equal data results in identical bytes, so that repeated merging creates identical files. Arrays are written as
calls of `numpy.ndarray` with a `bytearray`, which work with NumPy 1 and 2. NumPy's own format refers to a module
(`numpy._core.multiarray`) that does not exist in the NumPy versions used with PYSKL.
"""

import pickle
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from pose_extraction.arrays.mapped import release
from pose_extraction.errors import AnnotationError
from pose_extraction.files import atomic_write

# Protocol 4 is supported by Python 3.7, the oldest version used with PYSKL and MMAction2.
PROTOCOL = 4
# Arrays of at least this many bytes are written without a copy. It is larger than the frames of a pickle (64 KiB).
LARGE = 1 << 20
# Number of bytes of a large array that are written at a time.
CHUNK = 1 << 20


@dataclass(eq=False, slots=True)
class _Content:
    """The bytes of an array, which the pickle holds as a `bytearray`."""

    array: np.ndarray


class _ArrayWriter:
    """The file of a pickler, which writes arrays instead of the zeros that stand for them.

    A pickler keeps all objects that it has written until it ends, and so would keep copies of all arrays. Instead of a
    large array, it gets zeros of the same length, for which the system provides no memory until they are read. The
    pickler passes them on to `write` as they are.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._waiting: dict[int, tuple[bytes, np.ndarray]] = {}

    def stand_in(self, array: np.ndarray) -> bytes:
        """Return the zeros for an array."""
        zeros = bytes(array.nbytes)
        self._waiting[id(zeros)] = (zeros, array)
        return zeros

    def write(self, content: Any) -> int:
        """Write bytes, or the array for which they stand."""
        _, array = self._waiting.pop(id(content), (None, None))
        if array is None:
            return self._file.write(content)
        data = _bytes_of(array)
        for first in range(0, len(data), CHUNK):
            self._file.write(data[first : first + CHUNK])
            # An array in a file would be read into memory as a whole.
            release(array)
        return len(data)

    def end(self) -> None:
        """Check that no array is missing.

        Raises:
            RuntimeError: The pickler has copied zeros, and so written them.
        """
        if self._waiting:
            raise RuntimeError("this Python copies large bytes when it writes a pickle; please report this as a bug")


def _bytes_of(array: np.ndarray) -> memoryview:
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8).data


class _PortablePickler(pickle.Pickler):
    """Writes arrays as calls of `numpy.ndarray`."""

    def __init__(self, file: _ArrayWriter) -> None:
        super().__init__(file, PROTOCOL)
        self._file = file

    def reducer_override(self, value: Any) -> Any:
        if isinstance(value, np.ndarray):
            return np.ndarray, (value.shape, sys.intern(value.dtype.str), _Content(value))
        if isinstance(value, _Content):
            is_large = value.array.nbytes >= LARGE
            return bytearray, (self._file.stand_in(value.array) if is_large else value.array.tobytes(),)
        return NotImplemented


def _canonical(value: Any, strings: dict[str, str], place: str) -> Any:
    """Return a copy in which equal strings are the same object and no other objects are shared.

    Pickle writes references for objects it has already written, by identity. Without this, the bytes would depend on
    which strings are shared in memory.
    """
    if isinstance(value, np.generic):
        # Before the next line, because NumPy floats are instances of float.
        return _canonical(value.item(), strings, place)
    # Compare exact types: members of enumerations are also int or str, and would be written as class references.
    if value is None or type(value) in (bool, int, float, bytes):
        return value
    if type(value) is str:
        return strings.setdefault(value, value)
    if isinstance(value, np.ndarray) and value.dtype.kind in "biufcSU":
        return value
    if type(value) is dict:
        return {
            _canonical(key, strings, place): _canonical(item, strings, f"{place}[{key!r}]")
            for key, item in value.items()
        }
    if type(value) is list:
        return [_canonical(item, strings, f"{place}[{index}]") for index, item in enumerate(value)]
    if type(value) is tuple:
        return tuple([_canonical(item, strings, f"{place}[{index}]") for index, item in enumerate(value)])
    raise AnnotationError(
        f"{place} has type {type(value).__name__}: a skeleton file may contain only arrays and plain data"
    )


def write_pickle(path: Path, data: Any) -> None:
    """Write arrays and plain containers atomically, with identical bytes for equal data.

    Args:
        path: Output file.
        data: Arrays and plain containers.

    Raises:
        AnnotationError: `data` contains anything else; the message names the place.
    """
    try:
        canonical = _canonical(data, {}, "data")
    except RecursionError as error:
        raise AnnotationError(
            "data contains itself, or is nested too deeply: a skeleton file may contain only arrays and plain data"
        ) from error
    with atomic_write(path) as file:
        writer = _ArrayWriter(file)
        _PortablePickler(writer).dump(canonical)
        writer.end()
