"""Pickles of arrays and plain containers: read without running anything in them, written the same way every time.

Reading. A pickle is a program. This reader lets it build `dict`, `list`, `tuple`, `set`, strings, numbers and arrays
of numbers, and nothing else. NumPy's own reconstruction functions are admitted by name only: what answers to those
names here are the small stand-ins below, so that not even NumPy's `__setstate__` sees bytes that somebody else chose
(a forged dtype state can make NumPy take numbers for pointers). The stand-ins for arrays are replaced by real arrays
once the whole pickle has been read.

Writing. Equal data give equal bytes, so that a file merged twice is the same file. Arrays are written as calls of
`numpy.ndarray` over a `bytearray`, names that NumPy 1 and 2 share; NumPy's own way names a module
(`numpy._core.multiarray`) that the NumPy of PYSKL's days does not have.
"""

import io
import math
import pickle
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from pose_extraction.errors import AnnotationError
from pose_extraction.files import atomic_write

# Protocol 4 is what Python 3.7 reads, the oldest that PYSKL and MMAction2 run on.
PROTOCOL = 4

# What a damaged or dishonest pickle makes the interpreter of pickles raise.
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
    """Stands in for a NumPy dtype of booleans, numbers or text while a pickle is read."""

    __slots__ = ("dtype",)
    # Unhashable, as all stand-ins here, so that none can hide as the key of a dictionary.
    __hash__ = None  # type: ignore[assignment]

    def __init__(self, spec: Any, align: bool = False, copy: bool = False) -> None:
        if not isinstance(spec, str):
            raise ValueError("an array's type must be given by name")
        self.dtype = np.dtype(spec)
        if self.dtype.kind not in "biufcSU":
            raise ValueError(f"arrays of {self.dtype.name} are not admitted, only those of numbers, booleans and text")

    def __setstate__(self, state: Any) -> None:
        _, byte_order, subarray, names, fields = state[:5]
        if not subarray is names is fields is None:
            raise ValueError("structured arrays are not admitted")
        self.dtype = self.dtype.newbyteorder(byte_order)


class _Array:
    """Stands in for an array while a pickle is read; `array` is the real one, once its bytes have come."""

    __slots__ = ("array",)
    __hash__ = None  # type: ignore[assignment]

    def __init__(self, array: np.ndarray | None = None) -> None:
        self.array = array

    def __setstate__(self, state: Any) -> None:
        _, shape, dtype, is_fortran, data = state
        self.array = _array_of(data, dtype, shape, "F" if is_fortran else "C")


def _array_of(data: Any, dtype: Any, shape: Any, order: str) -> np.ndarray:
    """A writable array of `shape` over `data`, which must have exactly as many bytes as that takes."""
    if not isinstance(dtype, _Dtype):
        dtype = _Dtype(dtype)
    if not isinstance(data, bytes | bytearray):
        raise ValueError("arrays of Python objects are not admitted, only those of numbers, booleans and text")
    shape = tuple(shape)
    if any(type(size) is not int or size < 0 for size in shape):
        raise ValueError(f"{shape!r} is not the shape of an array")
    if len(data) != math.prod(shape) * dtype.dtype.itemsize:
        raise ValueError(f"{len(data)} bytes cannot fill an array of shape {shape!r} and type {dtype.dtype}")
    if not data:
        return np.zeros(shape, dtype.dtype)
    # A bytearray is this array's own already; bytes are shared and read-only.
    buffer = data if isinstance(data, bytearray) else bytearray(data)
    return np.frombuffer(buffer, dtype.dtype).reshape(shape, order="F" if order == "F" else "C")


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
    # How protocols 0 to 2 spell bytes; other codecs (zlib, for one) would let a small file grow without limit.
    if encoding not in ("latin1", "latin-1"):
        raise ValueError(f"text encoded as {encoding!r} is not admitted")
    return str(text).encode("latin1")


def _bytearray(data: Any = b"", encoding: Any = "latin1") -> bytearray:
    if isinstance(data, str):
        return bytearray(_encode(data, encoding))
    if not isinstance(data, bytes | bytearray):
        # bytearray(n) is a demand for n bytes of memory.
        raise ValueError("a bytearray must be made of bytes")
    return bytearray(data)


class _Maker:
    """A function under the name that a pickle knows it by. A pickle can call it, but not set anything on it."""

    __slots__ = ("_function",)
    __hash__ = None  # type: ignore[assignment]

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function = function

    def __call__(self, *arguments: Any) -> Any:
        return self._function(*arguments)

    def __setstate__(self, state: Any) -> None:
        raise ValueError("a function has no state")


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
    """Builds plain containers and `_Array`s; refuses every other name before anything is called."""

    def __init__(self, file: Any, place: Path) -> None:
        super().__init__(file)
        self._place = place

    def find_class(self, module: str, name: str) -> Any:
        try:
            return _Maker(_ADMITTED[module, name])
        except KeyError:
            raise AnnotationError(
                f"{self._place}: refused to load {module}.{name}, for a skeleton file holds arrays and plain "
                "containers only and this one carries code; nothing of it was run. Get the file from a source "
                "you trust, or save it again without Python objects"
            ) from None


def _with_arrays(value: Any, done: dict[int, tuple[Any, Any]]) -> Any:
    """Replaces the `_Array`s in a tree of plain containers; lists and dicts keep their identity.

    `done` maps the id of each container to itself (so that the id stays its own) and to what became of it.
    """
    if isinstance(value, _Array):
        if value.array is None:
            raise ValueError("an array has no content")
        return value.array
    if not isinstance(value, dict | list | tuple):
        if isinstance(value, _Dtype | _Maker):
            raise ValueError("a type or a function stands where data should be")
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


def read_pickle(path: Path) -> Any:
    """Reads a pickle of arrays and plain containers without running anything that it holds.

    Args:
        path: A pickle of any protocol, written under NumPy 1 or 2.

    Returns:
        Dicts, lists, tuples, sets, strings, bytes, numbers and writable arrays of numbers, booleans or text. NumPy
        scalars come back as Python's.

    Raises:
        AnnotationError: The file cannot be opened, is damaged or cut off, or asks for anything else; the message
            names the file and what was refused.
    """
    try:
        with path.open("rb") as file:
            return _with_arrays(_RestrictedUnpickler(file, path).load(), {})
    except OSError as error:
        raise AnnotationError(
            f"{path}: cannot be read ({error.strerror or error}); check the name and rights"
        ) from error
    except _DAMAGE as error:
        raise AnnotationError(
            f"{path}: not a whole skeleton pickle ({type(error).__name__}: {error}); it is damaged, cut off or of "
            "another kind: make it again, or get it again"
        ) from error


class _PortablePickler(pickle.Pickler):
    def reducer_override(self, value: Any) -> Any:
        if isinstance(value, np.ndarray):
            return np.ndarray, (value.shape, sys.intern(value.dtype.str), bytearray(value.tobytes()))
        return NotImplemented


def _canonical(value: Any, strings: dict[str, str], place: str) -> Any:
    """A copy in which equal strings are one object and all else is nobody else's.

    A pickle refers back to objects that it has seen, by identity; so without this the bytes would depend on which
    strings happen to be shared in memory.
    """
    if isinstance(value, np.generic):
        # Before the next line: a NumPy float is a float as well.
        return _canonical(value.item(), strings, place)
    # Exact types: a member of an enumeration is an int or str, too, and would be written as a reference to its class.
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
        f"{place} is of type {type(value).__name__}: a skeleton file holds arrays and plain data only"
    )


def pickle_bytes(data: Any) -> bytes:
    """The bytes that `write_pickle` would write: equal for equal data.

    Raises:
        AnnotationError: `data` holds something besides arrays and plain containers; the message says where.
    """
    buffer = io.BytesIO()
    _PortablePickler(buffer, PROTOCOL).dump(_canonical(data, {}, "data"))
    return buffer.getvalue()


def write_pickle(path: Path, data: Any) -> None:
    """Writes arrays and plain containers so that the file appears whole or not at all, with equal bytes for equal data.

    Raises:
        AnnotationError: `data` holds something besides arrays and plain containers; the message says where.
    """
    canonical = _canonical(data, {}, "data")
    with atomic_write(path) as file:
        _PortablePickler(file, PROTOCOL).dump(canonical)
