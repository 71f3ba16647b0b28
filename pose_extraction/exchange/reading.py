"""Reading files of unknown origin: of bounded size, as plain data, and with messages that name the file."""

import importlib
import json
from pathlib import Path
from types import ModuleType
from typing import Any
from xml.etree import ElementTree
from xml.parsers import expat

import numpy as np

from pose_extraction.errors import AnnotationError, BackendError, installing
from pose_extraction.exchange.clips import MOST_VALUES

# Larger files are not read into memory as a whole.
MOST_BYTES = 2 << 30


def library(name: str, format_name: str) -> ModuleType:
    """Import a package that one format needs.

    Raises:
        BackendError: It is not installed.
    """
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise BackendError(
            f"the format {format_name} needs the package {name.split('.')[0]} ({error}); run {installing('formats')}"
        ) from error


def read_bytes(path: Path) -> bytes:
    """Read a file.

    Raises:
        AnnotationError: It cannot be read, or is too large.
    """
    try:
        size = path.stat().st_size
        if size > MOST_BYTES:
            raise AnnotationError(f"{path}: has {size:,} bytes, more than {MOST_BYTES:,}; split it into shorter clips")
        return path.read_bytes()
    except OSError as error:
        raise AnnotationError(f"{path}: cannot be read ({error.strerror or error}); check the path") from error


def read_start(path: Path, count: int) -> bytes:
    """Read the first bytes of a file.

    Raises:
        AnnotationError: It cannot be read.
    """
    try:
        with path.open("rb") as file:
            return file.read(count)
    except OSError as error:
        raise AnnotationError(f"{path}: cannot be read ({error.strerror or error}); check the path") from error


def read_text(path: Path) -> str:
    """Read a text file in UTF-8.

    Raises:
        AnnotationError: It cannot be read, is too large, or is not text.
    """
    try:
        return read_bytes(path).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise AnnotationError(f"{path}: is not text in UTF-8 ({error.reason} at byte {error.start})") from error


def read_json(path: Path) -> Any:
    """Read a JSON file.

    Raises:
        AnnotationError: It cannot be read, is too large, or is not JSON.
    """
    try:
        return json.loads(read_text(path))
    except (ValueError, RecursionError) as error:
        raise AnnotationError(f"{path}: is not valid JSON ({error}); it is damaged or of another type") from error


def read_xml(path: Path) -> ElementTree.Element:
    """Read an XML file without document type, whose entities could expand without limit.

    Raises:
        AnnotationError: It cannot be read, is too large, is not XML, or declares a document type.
    """
    content = read_bytes(path)

    def refuse(*_declaration: Any) -> None:
        raise AnnotationError(f"{path}: declares a document type, which annotation files do not need; remove it")

    parser = expat.ParserCreate()
    parser.StartDoctypeDeclHandler = refuse
    try:
        parser.Parse(content, True)
        return ElementTree.fromstring(content)
    except (expat.ExpatError, ElementTree.ParseError, LookupError, ValueError) as error:
        raise AnnotationError(f"{path}: is not valid XML ({error}); it is damaged or of another type") from error


def check_hdf5(path: Path, format_name: str) -> None:
    """Check that an HDF5 file is readable, holds what fits in memory, and does not refer to other files.

    The sizes come from the headers of the arrays: a compressed file of some bytes can claim any size.

    Raises:
        AnnotationError: It is not, or does.
        BackendError: h5py is not installed.
    """
    h5py = library("h5py", format_name)
    total = 0

    def visit(group: Any, depth: int) -> None:
        nonlocal total
        if depth > 32:
            raise AnnotationError(f"{path}: nests groups more than 32 deep; it is damaged")
        for name in group:
            link = group.get(name, getlink=True)
            if isinstance(link, h5py.ExternalLink):
                raise AnnotationError(f"{path}: {name!r} refers to the other file {link.filename!r}; remove the link")
            if isinstance(link, h5py.SoftLink):
                continue
            entry = group[name]
            if isinstance(entry, h5py.Group):
                visit(entry, depth + 1)
            elif isinstance(entry, h5py.Dataset):
                if entry.external:
                    raise AnnotationError(f"{path}: {name!r} has its values in another file; copy them into the file")
                total += entry.size or 0
                if total > 4 * MOST_VALUES:
                    raise AnnotationError(f"{path}: claims {total:,} numbers; it is damaged, or split it")

    try:
        with h5py.File(path, "r") as file:
            visit(file, 0)
    except OSError as error:
        raise AnnotationError(f"{path}: is not a readable HDF5 file ({error}); it is damaged or truncated") from error


def numbers(values: Any, shape: tuple[int, ...], place: str) -> np.ndarray:
    """Return plain values of a file as float32 array; null and text that is no number are NaN.

    Args:
        values: Lists of numbers.
        shape: Their shape, with -1 for one unknown length.
        place: The file and the place in it, for the message.

    Raises:
        AnnotationError: They are not numbers, or do not have the shape.
    """
    try:
        array = np.asarray(values, np.float32)
        return array.reshape(shape)
    except (TypeError, ValueError, OverflowError) as error:
        wanted = " x ".join("any" if length < 0 else str(length) for length in shape)
        raise AnnotationError(f"{place}: must be {wanted} numbers, got {str(values)[:80]}; fix the file") from error


def whole(value: Any, place: str) -> int:
    """Return a whole number of a file.

    Raises:
        AnnotationError: It is none, or larger than any frame or person number.
    """
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    if isinstance(value, str) and value.strip().lstrip("-").isdigit():
        value = int(value)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool) or abs(value) > 10**12:
        raise AnnotationError(f"{place}: must be a whole number, got {value!r:.80}; fix the file")
    return value
