"""Safe reading of pickles of arrays and plain containers.

Unpickling can execute arbitrary code. This reader creates only dicts, lists, tuples, sets, strings, numbers
and arrays of numbers. NumPy's reconstruction functions are replaced by the small substitutes in this module, so that
not even NumPy's `__setstate__` receives untrusted data (a forged dtype state can make NumPy treat numbers as pointers).
The substitutes are converted to arrays after the whole pickle has been read.
"""

import io
import math
import mmap
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from pose_extraction.errors import AnnotationError
from pose_extraction.formats.pickle_memo import check_memo
from pose_extraction.formats.shards.manifest import is_shards, read_manifest

# First bytes of pickles of dictionaries and lists, and of ordered dictionaries: protocols from 2 on, and 0 and 1.
_STARTS = b"\x80(}]c"
# Exceptions that damaged or malicious pickles cause in the unpickler.
_DAMAGE = (
    pickle.UnpicklingError,
    AttributeError,
    EOFError,
    ImportError,
    LookupError,
    MemoryError,
    OverflowError,
    RecursionError,
    TypeError,
    ValueError,
)


class _Dtype:
    """Substitute for a NumPy dtype of booleans, numbers or text while reading."""

    __slots__ = ("dtype",)
    # Unhashable, like all substitutes in this module, so that none can be the key of a dictionary.
    __hash__ = None  # type: ignore[assignment]

    def __init__(self, spec: Any, align: bool = False, copy: bool = False) -> None:
        if not isinstance(spec, str):
            raise ValueError("the dtype of an array must be a name")
        try:
            self.dtype = np.dtype(spec)
        except SyntaxError as error:
            raise ValueError(f"{spec!r} is not a dtype") from error
        if self.dtype.kind not in "biufcSU":
            raise ValueError(f"arrays of {self.dtype.name} are not allowed, only numbers, booleans and text")

    def __setstate__(self, state: Any) -> None:
        _, byte_order, subarray, names, fields = state[:5]
        if not subarray is names is fields is None:
            raise ValueError("structured arrays are not allowed")
        self.dtype = self.dtype.newbyteorder(byte_order)


class _Bytearray:
    """Substitute for a `bytearray` while reading. It keeps the bytes of the pickle instead of copying them."""

    __slots__ = ("data",)
    __hash__ = None  # type: ignore[assignment]

    def __init__(self, data: bytes) -> None:
        self.data = data


class _Array:
    """Substitute for an array while reading. `array` is the actual array once its data has been read.

    It may be read-only, over bytes of the pickle. The unpickler keeps all of them until it ends, so copies would double
    the memory; `writable` copies one array at a time afterwards.
    """

    __slots__ = ("array",)
    __hash__ = None  # type: ignore[assignment]

    def __init__(self, array: np.ndarray | None = None) -> None:
        self.array = array

    def writable(self) -> np.ndarray:
        """Return the array, which shares its memory with no other object, and may be written to."""
        if self.array is None:
            raise ValueError("an array has no data")
        if not self.array.flags.writeable:
            self.array = self.array.copy(order="K")
        return self.array

    def __setstate__(self, state: Any) -> None:
        _, shape, dtype, is_fortran, data = state
        self.array = _array_of(data, dtype, shape, "F" if is_fortran else "C")


def _array_of(data: Any, dtype: Any, shape: Any, order: str) -> np.ndarray:
    """Return an array of the given shape over `data`, which must have the exact number of bytes."""
    if not isinstance(dtype, _Dtype):
        dtype = _Dtype(dtype)
    if isinstance(data, _Bytearray):
        data = data.data
    if not isinstance(data, bytes | bytearray):
        raise ValueError("arrays of Python objects are not allowed, only numbers, booleans and text")
    shape = tuple(shape)
    if any(type(size) is not int or size < 0 for size in shape):
        raise ValueError(f"{shape!r} is not a valid array shape")
    if len(data) != math.prod(shape) * dtype.dtype.itemsize:
        raise ValueError(f"{len(data)} bytes do not match an array of shape {shape!r} and type {dtype.dtype}")
    if not data:
        return np.zeros(shape, dtype.dtype)
    return np.frombuffer(data, dtype.dtype).reshape(shape, order="F" if order == "F" else "C")


def _reconstruct(subtype: Any, shape: Any, typecode: Any) -> _Array:
    return _Array()


def _ndarray(shape: Any, dtype: Any, data: Any) -> _Array:
    return _Array(_array_of(data, dtype, shape, "C"))


def _frombuffer(data: Any, dtype: Any, shape: Any, order: Any, axis_order: Any = None) -> _Array:
    array = _array_of(data, dtype, shape, "F" if order == "F" else "C")
    return _Array(array if axis_order is None else array.transpose(axis_order))


def _scalar(dtype: Any, data: Any) -> Any:
    return _array_of(data, dtype, (), "C").item()


def _encode(text: Any = "", encoding: Any = "latin1") -> bytes:
    # Protocols 0 to 2 encode bytes in this way. Other codecs (such as zlib) could expand a small file without limit.
    if encoding not in ("latin1", "latin-1"):
        raise ValueError(f"the text encoding {encoding!r} is not allowed")
    return str(text).encode("latin1")


def _bytearray(data: Any = b"", encoding: Any = "latin1") -> bytearray | _Bytearray:
    if isinstance(data, str):
        return bytearray(_encode(data, encoding))
    if not isinstance(data, bytes | bytearray):
        # bytearray(n) would allocate n bytes.
        raise ValueError("a bytearray must be created from bytes")
    return _Bytearray(data) if isinstance(data, bytes) else bytearray(data)


class _Maker:
    """Substitute for a function in a pickle. The pickle can call it, but cannot set attributes."""

    __slots__ = ("_function",)
    __hash__ = None  # type: ignore[assignment]

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function = function

    def __call__(self, *arguments: Any) -> Any:
        return self._function(*arguments)

    def __setstate__(self, state: Any) -> None:
        raise ValueError("functions have no state")


_NUMPY_CORE = ("numpy.core", "numpy._core")
_ADMITTED: dict[tuple[str, str], Callable[..., Any]] = {
    ("numpy", "ndarray"): _ndarray,
    ("numpy", "dtype"): _Dtype,
    **{(f"{core}.multiarray", "_reconstruct"): _reconstruct for core in _NUMPY_CORE},
    **{(f"{core}.multiarray", "scalar"): _scalar for core in _NUMPY_CORE},
    **{(f"{core}.numeric", "_frombuffer"): _frombuffer for core in _NUMPY_CORE},
    ("_codecs", "encode"): _encode,
    ("collections", "OrderedDict"): dict,
    **{(builtins, "bytes"): _encode for builtins in ("builtins", "__builtin__")},
    **{(builtins, "bytearray"): _bytearray for builtins in ("builtins", "__builtin__")},
    **{(builtins, "set"): set for builtins in ("builtins", "__builtin__")},
    **{(builtins, "frozenset"): frozenset for builtins in ("builtins", "__builtin__")},
}


class _RestrictedUnpickler(pickle.Unpickler):
    """Creates plain containers and `_Array`s, and refuses all other names before calling anything."""

    def __init__(self, file: Any, place: Path) -> None:
        super().__init__(file)
        self._place = place

    def find_class(self, module: str, name: str) -> Any:
        try:
            return _Maker(_ADMITTED[module, name])
        except KeyError:
            raise AnnotationError(
                f"{self._place}: refused to load {module}.{name}: a skeleton file must contain only arrays and plain "
                "containers, but this file contains code, which was not executed. Get the file from a trusted "
                "source, or save it again without Python objects"
            ) from None


def _with_arrays(value: Any, done: dict[int, tuple[Any, Any]]) -> Any:
    """Replace the `_Array`s in a tree of plain containers. Lists and dicts keep their identity.

    `done` maps the id of each container to the container (which keeps the id valid) and its replacement.
    """
    if isinstance(value, _Array):
        return value.writable()
    if isinstance(value, _Bytearray):
        return bytearray(value.data)
    if not isinstance(value, dict | list | tuple):
        if isinstance(value, _Dtype | _Maker):
            raise ValueError("found a dtype or function instead of data")
        return value
    if id(value) in done:
        return done[id(value)][1]
    done[id(value)] = (value, value)
    if isinstance(value, dict):
        for key in value:
            value[key] = _with_arrays(value[key], done)
    elif isinstance(value, list):
        value[:] = [_with_arrays(item, done) for item in value]
    else:
        done[id(value)] = (value, tuple(_with_arrays(item, done) for item in value))
    return done[id(value)][1]


def check_readable(path: Path) -> None:
    """Check that a skeleton file or a data set in shards can be opened, and how it begins, without reading it.

    Raises:
        AnnotationError: It cannot, or is certainly no pickle of a data set.
    """
    if is_shards(path):
        read_manifest(path)
        return
    try:
        with path.open("rb") as file:
            start = file.read(1)
    except OSError as error:
        raise _unreadable(path, error) from error
    if not start or start not in _STARTS:
        raise AnnotationError(
            f"{path}: not a skeleton pickle; it is empty or of another type: create or download it again"
        )


def _unreadable(path: Path, error: OSError) -> AnnotationError:
    return AnnotationError(f"{path}: cannot be read ({error.strerror or error}); check the path and its permissions")


def read_pickle(path: Path) -> Any:
    """Read a pickle of arrays and plain containers without executing code from it.

    Args:
        path: Pickle of any protocol, written with NumPy 1 or 2.

    Returns:
        Dicts, lists, tuples, sets, strings, bytes, numbers and writable arrays of numbers, booleans or text. NumPy
        scalars become Python scalars.

    Raises:
        AnnotationError: The file cannot be opened, is damaged or truncated, or contains anything else. The message
            names the file and the reason.
    """
    try:
        with path.open("rb") as file:
            if not path.is_file() or not os.fstat(file.fileno()).st_size:
                # Pipes and empty files cannot be mapped.
                return plain_from_bytes(file.read(), path)
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
                return _plain(content, file, path)
    except OSError as error:
        raise _unreadable(path, error) from error


def plain_from_bytes(content: bytes, place: Path) -> Any:
    """Read a pickle within another file, with the same restrictions as `read_pickle`.

    Args:
        content: The pickle.
        place: The file that contains it, for messages.

    Raises:
        AnnotationError: It is damaged, or contains anything but arrays and plain containers.
    """
    return _plain(content, io.BytesIO(content), place)


def _plain(content: bytes | mmap.mmap, file: Any, path: Path) -> Any:
    try:
        check_memo(content)
        return _with_arrays(_RestrictedUnpickler(file, path).load(), {})
    except _DAMAGE as error:
        raise AnnotationError(
            f"{path}: not a valid skeleton pickle ({type(error).__name__}: {error}); it is damaged, truncated or of "
            "another type: create or download it again"
        ) from error
